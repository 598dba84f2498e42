"""Live cells, run by the Python of the page in Node, against the outputs that the book was built with."""

import importlib.util
import json
import math
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from entropy_lib import circular_conv_entropy_change, mahler_measure
from replication.landscape.networks import outputs
from replication.memory.dynamics import odds
from replication.memory.law import Law
from replication.memory.meanfield import stable
from replication.pages import book
from tests.test_book import executed  # noqa: F401
from tests.test_project import ROOT

_session = importlib.util.spec_from_file_location("session", ROOT / "live" / "session.py")
session = importlib.util.module_from_spec(_session)
_session.loader.exec_module(session)
answered = session.answered
NODE = ROOT / ".venv" / "bin" / "node"
LIVE = ROOT / "_build" / "live"


def run(chapters: dict[str, list[str]]) -> dict[str, list[dict]]:
    """What the cells of each chapter put out, by `live/check.mjs`."""
    finished = subprocess.run(
        [NODE, "check.mjs", LIVE], cwd=ROOT / "live", input=json.dumps(chapters), capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout)


def live_cells(notebook) -> list:
    return [cell for cell in notebook.cells if "live" in cell.metadata.get("tags", [])]


def words(outputs: list[tuple[str, str]]) -> str:
    """Texts joined, without spaces: Jupyter breaks long lines of lists, the page does not."""
    return "".join("".join(text for _, text in outputs).split())


def built(cell) -> list[tuple[str, str]]:
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.get("text") or data.get("text/latex") or data.get("text/plain")
        found.append((output.output_type, text))
    return found


def test_live_cells_put_out_in_the_page_what_they_did_in_the_book(executed):  # noqa: F811
    chapters = {name: live_cells(notebook) for name, notebook in executed.items() if live_cells(notebook)}
    assert {"entropy", "dense", "convolutions", "corollary-6", "losses", "limits"} <= set(chapters)
    found = run({name: [cell.source for cell in cells] for name, cells in chapters.items()})
    for name, cells in chapters.items():
        for cell, made in zip(cells, found[name], strict=True):
            assert made["ok"], f"{name}: {cell.source}\n{made['outputs']}"
            assert words(made["outputs"]) == words(built(cell)), f"{name}: {cell.source}"


def test_outputs_are_typeset_printed_or_errors_with_their_line():
    cells = [
        "from sympy import symbols, Matrix\nx = symbols('x')",
        "print('one')\nx**2",
        "display(x, Matrix([[x]]))\nNone",
        "x;",
        "y = 1\nassert y == 2, 'y is not 2'",
        "1 +",
        "x",
    ]
    found = run({"chapter": cells})["chapter"]
    assert found[0] == {"ok": True, "outputs": []}
    assert "".join(text for kind, text in found[1]["outputs"] if kind == "text") == "one\n"
    assert found[1]["outputs"][-1] == ["latex", r"$\displaystyle x^{2}$"]
    assert [kind for kind, _ in found[2]["outputs"]] == ["latex", "latex"] and found[3]["outputs"] == []
    (error,) = [text for kind, text in found[4]["outputs"] if kind == "error"]
    assert not found[4]["ok"] and "assert y == 2" in error and "AssertionError: y is not 2" in error
    assert "session" not in error
    assert not found[5]["ok"] and "SyntaxError" in found[5]["outputs"][0][1]
    assert found[6]["ok"]  # a failed cell leaves the names of the others


def answers() -> list[tuple[str, str, str]]:
    """Every answer that the chapters ask for: chapter, right answer, names."""
    pattern = r"```\{answer\} (.+)\n:names: (.*)\n:ask: \"(.+)\"\n```"
    return [
        (path.stem, right, names)
        for path in sorted((ROOT / "notebooks").glob("*.md"))
        for right, names, _ in re.findall(pattern, path.read_text(encoding="utf-8"))
    ]


def test_the_right_answer_to_every_exercise_is_right_and_another_is_not():
    asked = answers()
    assert {chapter for chapter, *_ in TRIES} == {name for name, *_ in asked}
    written = sum(path.read_text(encoding="utf-8").count("```{answer}") for path in (ROOT / "notebooks").glob("*.md"))
    assert len(asked) == written >= 18
    for name, right, names in asked:
        assert answered(right, right, names) == "Right.", (name, right)
        assert answered(f"{right} + 1", right, names).startswith("Not that"), (name, right)


@pytest.mark.parametrize(
    ("given", "right", "names", "said"),
    [
        ("1 + ln(1/r)", "1 - log(r)", "r", "Right."),
        ("log 3 + 2 log(2)", "log(12)", "", "Right."),
        ("w^2", "w**2", "w", "Right."),
        ("2·w − w", "w", "w", "Right."),
        ("2.48", "log(12)", "", "Right."),
        ("2.52", "log(12)", "", "Not that."),
        ("log(r)", "1 - log(r)", "r", "Not that: at r = 2 yours is 0.693, and it should be 0.307."),
        ("log(q)", "1 - log(r)", "r", "What is q? The answer uses r."),
        ("((", "1", "", "This cannot be read; write it as in Python, such as 2*log(3) or w**2/4."),
        ("", "1", "", "Write an answer first."),
    ],
)
def test_answers_are_equal_as_formulas_not_as_texts(given, right, names, said):
    assert answered(given, right, names) == said


def test_a_chapter_knows_nothing_of_another():
    found = run({"one": ["x = 1"], "two": ["x"]})
    assert not found["two"][0]["ok"] and "NameError" in found["two"][0]["outputs"][0][1]


@pytest.mark.parametrize("name", ["page.js", "editor.js", "worker.js", "pyodide.asm.wasm", "sympy.zip"])
def test_what_a_page_fetches_is_there(name):
    assert (Path(LIVE) / name).stat().st_size > 0


# What each "Try it" asks for, and what must come of it: chapter, the edits, the cell that is then run, what it shows.
TRIES = [
    (
        "entropy",
        {"f = [Rational(1, 2), Rational(1, 3), Rational(1, 6)]": "f = [Rational(1, 4)] * 4"},
        "shannon = ",
        "AssertionError: this step is false: for f",
    ),
    (
        "dense",
        {"[0, 4, -2, 1, 5]])": "[3, 0, 9, 1, 5]])"},
        "W = V[:3, :3]",
        "AssertionError: this step is false: det W = 18",
    ),
    (
        "convolutions",
        {
            "C = Matrix([[2, 1], [4, 3], [-2, 1]])": "C = Matrix([[0, 0], [1, 0], [0, 0]])",
            'check(Z == Matrix([[7, 22, 45], [13, 3, 26]]), "Z is the paper\'s feature map (Eq. 9)")': "",
        },
        "def convolve",
        r"\begin{matrix}0 & 0 & 5\\2 & 1 & 0\end{matrix}",
    ),
    (
        "corollary-6",
        {"[[2, 1], [4, 3], [-2, 1]]), 4, 4)": "[[0, 0], [1, 0], [0, 0]]), 4, 4).det()"},
        "def complete_conv",
        r"\displaystyle 0$",
    ),
    (
        "corollary-6",
        {"[[2, 1], [4, 3], [-2, 1]]), 4, 4)": "[[1, 0], [0, 0], [0, 0]]), 4, 4).det()"},
        "def complete_conv",
        r"\displaystyle 1$",
    ),
    (
        "losses",
        {
            "-lam * log_det": "lam / W.det()",
            "check(simplify(change - eta * lam * (a**2 + b**2 + c**2 + d**2) / W.det()**2) == 0,": "(",
        },
        "log_det = ",
        r"{\left(a d - b c\right)^{3}}",
    ),
    (
        "activations",
        {"Matrix([u**2 - v**2, 2 * u * v])": "Matrix([u**3 - 3*u*v**2, 3*u**2*v - v**3])"},
        "square = ",
        "AssertionError: this step is false: det J = 4",
    ),
    (
        "residual",
        {"block = x + sin(x) / 2": "block = x + 2 * sin(x)"},
        "block = ",
        "AssertionError: this step is false: the slope is",
    ),
    (
        "recurrent",
        {
            'W_ho, dc_dh = square("w"), square("q")': 'W_ho, dc_dh = Matrix([[1, 2], [2, 4]]), square("q")',
            'check(not J.det().expand().has(*dc_dh), "what': 'print("det J =", J.det().expand()), ("',
        },
        "do, dh_of_c",
        "det J = 0",
    ),
    (
        "limits",
        {"V = Matrix([[3, 0, 9, -3, 4], [1, 5,": "V = Matrix([[0, 0, 9, -3, 4], [0, 5,"},
        "minors = ",
        "AssertionError: this step is false: the paper takes columns 1, 2, 3",
    ),
    (
        "limits",
        {
            "V = Matrix([[3, 0, 9, -3, 4], [1, 5,": "V = Matrix([[0, 0, 9, -3, 4], [0, 5,",
            'check(minors[(0, 1, 2)] == 18, "the paper takes columns 1, 2, 3: |det| = 18")': "",
            "check((min(minors.values()), max(minors.values())) == (7, 187),": "(",
        },
        "general = ",
        "✓ Example 4: det VVᵀ is the sum of the ten squares",
    ),
    (
        "curved-theory",
        {'"there the next one is positive")': '"there the next one is positive")\nprint(series.subs(g, -1))'},
        "series = ",
        "m**4/30 - m**2/6 + 1",
    ),
    (
        "landscape-theory",
        {"area = (4 * quarter).subs(t, sqrt(ell))": "area = (4 * quarter).subs(t, ell ** Rational(1, 4))"},
        "ell = Symbol",
        "AssertionError: this step is false: the slope tends to 1/2",
    ),
]


def test_what_a_reader_is_asked_to_try_does_what_it_says():
    asked = {}
    for number, (chapter, edits, cell, _) in enumerate(TRIES):
        sources = [c.source for c in live_cells(book.Chapter(chapter).source)]
        last = next(k for k, source in enumerate(sources) if cell in source)
        sources = sources[: last + 1]
        for old, new in edits.items():
            assert sum(old in source for source in sources) == 1, old
            sources = [source.replace(old, new) for source in sources]
        asked[str(number)] = sources
    for (chapter, *_, shown), made in zip(TRIES, run(asked).values(), strict=True):
        assert all(part["ok"] for part in made[:-1]), chapter
        assert shown in "".join(text for _, text in made[-1]["outputs"]), chapter


def test_every_derivation_chapter_asks_the_reader_to_try_something():
    for chapter in {chapter for chapter, *_ in TRIES}:
        assert "{admonition} Try it" in (book.SOURCES / f"{chapter}.md").read_text()
    assert {chapter for chapter, *_ in TRIES} == {
        "entropy", "dense", "convolutions", "corollary-6", "losses", "limits", "activations", "residual", "recurrent",
        "curved-theory", "landscape-theory",
    }  # fmt: skip


# --- What figures compute as the reader moves them -------------------------------------------------


def measured(expression: str, values: list) -> list:
    """A function of `live/measures.js` on each of the values."""
    program = f"""
        import * as measures from "./measures.js";
        const values = {json.dumps(values)};
        console.log(JSON.stringify(values.map((value) => {expression})));
    """
    command = [NODE, "--input-type=module", "--eval", program]
    finished = subprocess.run(command, cwd=ROOT / "live", capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_the_pages_circular_log_det_is_the_librarys():
    kernels = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for n in (8, 11):
        exact = [float(circular_conv_entropy_change(kernel, (n, n))) / n**2 for kernel in kernels]
        assert measured(f"measures.circular(value, {n})", kernels.tolist()) == pytest.approx(exact, abs=1e-9)


def test_the_pages_mahler_measure_is_the_librarys_and_that_of_filters_with_a_known_one():
    """Of a dominant corner it is that corner; of 1 + x + y it is 0.3230659 (Smyth)."""
    kernels = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known = torch.tensor([[[4.0, 1, 0], [1, 0, 0.5], [0, 0, -1]], [[1, 1, 0], [1, 0, 0], [0, 0, 0]]])
    expected = [*mahler_measure(kernels, points=2048).tolist(), math.log(4), 0.3230659]
    found = measured("measures.mahler(value)", [*kernels.tolist(), *known.tolist()])
    assert found == pytest.approx(expected, abs=2e-3)


def test_the_pages_odds_are_those_of_the_replication():
    given = [
        [0.4, 0.01, 2.0, -0.8, 400],
        [1.0, -0.02, 1.3, 0.7, 300],
        [0.2, 0.005, 0.9, 0.0, 100],
        [0.9, -0.5, 3, -1, 400],
    ]
    found = measured("measures.odds(...value)", given)
    assert found == pytest.approx([odds(*map(float, each[:4]), each[4]) for each in given], rel=1e-12)


def test_the_pages_network_keeps_its_books_and_recalls_where_the_mean_field_says():
    random = np.random.default_rng(0)
    patterns = np.sign(random.normal(size=(3, 400))).astype(int).tolist()
    laws = [{"beta": 2, "curvature": -0.8}, {"beta": 2, "curvature": 0}, {"beta": 0.7, "curvature": 0}]
    program = f"measures.recalled({patterns}, {patterns}[0], value, 60, measures.chances(1))"
    for law, course in zip(laws, measured(program, laws), strict=True):
        states, overlaps = (np.array([each[name] for each in course]) for name in ("state", "overlaps"))
        assert set(np.unique(states)) == {-1, 1} and len(course) == 61
        assert overlaps == pytest.approx(states @ np.array(patterns).T / 400)
        assert [each["s"] for each in course] == pytest.approx(((overlaps**2).sum(1) - 3 / 400).tolist())
        expected = max(stable(Law(law["curvature"], law["beta"])))
        assert abs(overlaps[20:, 0].mean()) == pytest.approx(expected, abs=0.06)


def test_the_pages_outputs_of_a_network_are_those_of_the_replication():
    random, widths = np.random.default_rng(0), (2, 5, 4, 3)
    size = sum(units * (fan + 1) for fan, units in pairwise(widths))
    states, points = random.normal(size=(4, size)), random.normal(size=(4, 2))
    given = [[state.tolist(), list(widths), point.tolist()] for state, point in zip(states, points, strict=True)]
    for state, point, found in zip(states, points, measured("measures.outputs(...value)", given), strict=True):
        assert found == pytest.approx(outputs(state, point[:, None], np.array(widths))[:, 0].tolist(), rel=1e-9)


def test_the_pages_crossings_are_where_the_slopes_are_equal():
    found = measured("[measures.crossings(value), value]", [1e-4, 0.01, 0.2, 0.25, 0.3])
    for roots, eps in found:
        assert len(roots) == (0 if eps > 0.25 else 2)
        for x in roots:
            assert (x + eps) ** 2 == pytest.approx(x, rel=1e-9)
