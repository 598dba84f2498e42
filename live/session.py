"""What a live page asks of Python: run a cell as Jupyter would and hand over its outputs as they come."""

import ast
import linecache
import sys
import traceback

_namespace = {"__name__": "__main__"}
_count = 0


class _Written:
    """A standard stream whose text goes to the page."""

    def __init__(self, emit):
        self.emit = emit

    def write(self, text):
        self.emit("text", text)
        return len(text)

    def flush(self):
        pass


def run(source, emit):
    """Run a cell; `emit(kind, text)` gets each output, of kind text, latex or error. True unless it failed."""
    global _count
    _count += 1
    name = f"<cell {_count}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    _namespace["display"] = lambda *values: [_show(value, emit) for value in values] and None
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = _Written(emit)
    try:
        tree = ast.parse(source, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), _namespace)
        if last:
            value = eval(compile(ast.Expression(last.value), name, "eval"), _namespace)
            if value is not None and not source.rstrip().endswith(";"):
                _show(value, emit)
    except BaseException as error:
        emit("error", _told(error))
        return False
    finally:
        sys.stdout, sys.stderr = before
    return True


def _of_cells(stack):
    return [frame for frame in stack if frame.filename.startswith("<cell")]


def _told(error):
    """An error with the lines of cells alone: what happened inside a library is not the reader's."""
    told = seen = traceback.TracebackException.from_exception(error)
    while seen:
        seen.stack = traceback.StackSummary.from_list(_of_cells(seen.stack))
        cause = seen.__cause__ or seen.__context__
        if cause and not _of_cells(cause.stack):
            seen.__cause__ = seen.__context__ = cause = None
        seen = cause
    return "".join(told.format())


def _show(value, emit):
    latex = getattr(value, "_repr_latex_", lambda: None)()
    emit("latex", latex) if latex else emit("text", f"{value!r}\n")


def answered(given, right, names=""):
    """What to say of an answer to an exercise: SymPy decides whether it equals the right one.

    `names` are those of the positive symbols that it may contain, with spaces between them. A decimal number may be
    off by a hundredth of itself.
    """
    from sympy import Abs, Float, Symbol, simplify
    from sympy.parsing import sympy_parser as reading

    known = {name: Symbol(name, positive=True) for name in names.split()}
    loosely = reading.implicit_multiplication, reading.implicit_application, reading.convert_xor
    ways = (*reading.standard_transformations, *loosely)
    plain = given.strip().translate(str.maketrans({"−": "-", "·": "*", "×": "*", "²": "**2", "π": "pi", "ε": "eps"}))
    if not plain:
        return "Write an answer first."
    try:
        mine = simplify(reading.parse_expr(plain, dict(known), transformations=ways))
        unknown = sorted(map(str, mine.free_symbols - set(known.values())))
    except Exception:
        return "This cannot be read; write it as in Python, such as 2*log(3) or w**2/4."
    if unknown:
        return f"What is {', '.join(unknown)}? The answer uses {', '.join(known) or 'numbers alone'}."
    wanted = reading.parse_expr(right, dict(known))
    difference = simplify(mine - wanted)
    if mine.has(Float) and difference.is_number:
        near = Abs(difference) <= Abs(wanted) / 100
        return "Right." if near else "Not that."
    if difference.equals(0):
        return "Right."
    at = {symbol: place + 2 for place, symbol in enumerate(known.values())}
    if not at:
        return "Not that."
    where = ", ".join(f"{symbol} = {value}" for symbol, value in at.items())
    mine_there, right_there = (f"{complex(each.subs(at)).real:.3g}" for each in (mine, wanted))
    return f"Not that: at {where} yours is {mine_there}, and it should be {right_there}."
