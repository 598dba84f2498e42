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
        # The first frame is this function's own.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        emit("error", "".join(traceback.format_exception(error)))
        return False
    finally:
        sys.stdout, sys.stderr = before
    return True


def _show(value, emit):
    latex = getattr(value, "_repr_latex_", lambda: None)()
    emit("latex", latex) if latex else emit("text", f"{value!r}\n")
