"""Live cells, run by the Python of the page in Node, against the outputs that the book was built with."""

import importlib.util
import json
import math
import re
import subprocess
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special, stats
from torch import Tensor

from entropy_lib import (
    causal_conv_entropy_change,
    circular_conv_entropy_change,
    complete_conv,
    conv_entropy_change,
    conv_matrix,
    gram_entropy_change,
    mahler_measure,
)
from entropy_lib.layers import dense_penalty
from entropy_lib.theory.linalg import log_abs_det
from replication.experiments.autoencoder.training import PENALTIES, forward
from replication.landscape.networks import outputs
from replication.memory.dynamics import odds
from replication.memory.law import Law
from replication.memory.meanfield import stable
from replication.pages import book
from replication.statistics import estimated_entropy
from replication.sweep.stopping import EarlyStopping
from replication.verdicts import reanalysis
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


def test_an_error_is_told_by_the_lines_of_cells_alone():
    """Of a call that fails inside SymPy, two cells deep; and of one that catches SymPy's error and raises its own."""
    told = []
    assert session.run("from sympy import Matrix, sympify\ndef deep():\n    return Matrix([[1, 2]]).det()", print)
    assert not session.run("deep()", lambda kind, text: told.append((kind, text)))
    ((kind, text),) = told
    assert kind == "error" and text.splitlines()[0] == "Traceback (most recent call last):"
    assert text.splitlines()[-1].startswith("sympy.") and "NonSquareMatrixError" in text
    assert re.findall(r'File "([^"]+)"', text) == ["<cell 2>", "<cell 1>"] and "return Matrix([[1, 2]]).det()" in text
    caught = "try:\n    sympify('1 +')\nexcept Exception:\n    raise ValueError('mine')"
    assert not session.run(caught, lambda kind, text: told.append((kind, text)))
    assert "ValueError: mine" in told[-1][1] and "sympy/" not in told[-1][1]


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
        "management-theory",
        {"(kl_u_q + log(K))": "kl_u_q"},
        "smooth = ",
        "AssertionError: this step is false: the smoothed loss, term by term",
    ),
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
        "curved-theory", "landscape-theory", "management-theory",
    }  # fmt: skip


# --- What figures compute as the reader moves them -------------------------------------------------


def measured(expression: str, values: list) -> list:
    """A function of one of the page's modules on each of the values."""
    modules = ("columns", "layouts", "linear", "measures", "statistics", "training")
    program = f"""
        {" ".join(f'import * as {name} from "./{name}.js";' for name in modules)}
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


# --- Matrices in the page ------------------------------------------------------------------------------


def linear_map(layer, n: int) -> np.ndarray:
    """The matrix of a linear layer on n x n pixels, from what it makes of each pixel alone."""
    pixels = torch.eye(n * n, dtype=torch.float64).view(n * n, 1, n, n)
    return layer(pixels).flatten(1).T.numpy()


@pytest.mark.parametrize("n", [3, 5])
def test_the_pages_matrices_of_a_convolution_are_the_librarys_and_torchs(n):
    kernel = torch.randn(3, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    filters = kernel[None, None]
    expected = {
        "valid": conv_matrix(kernel, (n, n)).numpy(),
        "completed": complete_conv(kernel, (n, n)).numpy(),
        "causal": linear_map(lambda x: F.conv2d(F.pad(x, (0, 2, 0, 2)), filters), n),
        "circular": linear_map(lambda x: F.conv2d(F.pad(x, (0, 2, 0, 2), mode="circular"), filters), n),
        "same": linear_map(lambda x: F.conv2d(x, filters, padding=1), n),
    }
    picture = np.random.default_rng(n).random((n, n))
    given = [{"kernel": kernel.tolist(), "picture": picture.tolist()}]
    for padding, matrix in expected.items():
        (found,) = measured(f"layouts.filled(layouts.placed(3, {n}, '{padding}'), value.kernel)", given)
        assert np.array(found) == pytest.approx(matrix, abs=1e-12), padding
        (filtered,) = measured(f"layouts.filtered(value.kernel, value.picture, '{padding}')", given)
        assert np.ravel(filtered) == pytest.approx(matrix @ picture.ravel(), abs=1e-12), padding


def test_the_pages_exact_values_are_the_librarys():
    kernels = torch.randn(8, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    library = {
        "completed": lambda kernel: conv_entropy_change(kernel, (5, 5)),
        "valid": lambda kernel: gram_entropy_change(conv_matrix(kernel, (5, 5))),
        "causal": lambda kernel: causal_conv_entropy_change(kernel, (5, 5)),
        "circular": lambda kernel: circular_conv_entropy_change(kernel, (5, 5)),
        "same": lambda kernel: log_abs_det(
            torch.tensor(linear_map(lambda x: F.conv2d(x, kernel[None, None], padding=1), 5))
        ),
    }
    for padding, exact in library.items():
        found = measured(f"layouts.exact(value, 5, '{padding}')", kernels.tolist())
        assert found == pytest.approx([float(exact(kernel)) for kernel in kernels], abs=1e-9), padding
    papers = [float(conv_entropy_change(kernel, (5, 5))) for kernel in kernels]
    assert measured("layouts.corollary(value, 5)", kernels.tolist()) == pytest.approx(papers)
    # A difference that is blind to what is constant loses it on a circle, and nothing at an edge of zeros.
    difference = [[0, 0, 0], [0, 1, -1], [0, 0, 0]]
    assert measured("layouts.exact(value, 4, 'circular') === -Infinity", [difference]) == [True]
    assert measured("layouts.exact(value, 4, 'same')", [difference]) == pytest.approx([0.0])


def test_the_pages_choices_of_columns_and_volume_are_those_of_cauchy_and_binet():
    weights = np.random.default_rng(5).normal(size=(4, 3, 5))
    assert measured("columns.choices(value, 3)", [5]) == [[list(each) for each in combinations(range(5), 3)]]
    volumes = measured("linear.logVolume(value)", weights.tolist())
    assert volumes == pytest.approx(gram_entropy_change(torch.tensor(weights)).tolist())
    minors = measured(
        "columns.choices(5, 3).map((each) => linear.logDet(columns.taken(value, each)))", weights.tolist()
    )
    assert np.log(np.exp(2 * np.array(minors)).sum(1)) / 2 == pytest.approx(np.array(volumes))


# --- Statistics in the page ---------------------------------------------------------------------------


def test_the_pages_special_functions_are_scipys():
    places = [0.3, 1.0, 4.0, 9.5, 30.0, 600.0]
    assert measured("statistics.digamma(value)", places) == pytest.approx(special.digamma(places), rel=1e-10)
    assert measured("statistics.logGamma(value)", places) == pytest.approx(
        special.gammaln(places), rel=1e-10, abs=1e-12
    )
    given = [[t, freedom] for t in (-3.0, -0.2, 0.0, 0.7, 2.1, 9.0) for freedom in (2, 18, 38)]
    assert measured("statistics.tail(...value)", given) == pytest.approx(
        [stats.t.sf(*each) for each in given], rel=1e-9
    )


def test_the_page_estimates_entropy_as_the_replication_does():
    clouds = [np.random.default_rng(seed).normal(size=(200, 2)) * [1, scale] for seed, scale in enumerate((1, 0.1, 5))]
    found = measured("statistics.estimated(value)", [cloud.tolist() for cloud in clouds])
    assert found == pytest.approx([estimated_entropy(cloud) for cloud in clouds], rel=1e-9)


def test_the_pages_price_of_choosing_is_that_of_the_errata():
    """Nothing chosen: p is even. The best of six: as often below 0.05 as the replication finds it to be."""
    program = (
        "((random) => Array.from({ length: 4000 }, () => statistics.best(value, 10, random)))(measures.chances(3))"
    )
    alone, six = (np.array(each) for each in measured(program, [1, 6]))
    assert stats.kstest(alone, "uniform").pvalue > 0.01
    assert (six < 0.05).mean() == pytest.approx(reanalysis.false_positive_rate(), abs=0.02)


# --- Training in the page -----------------------------------------------------------------------------


def autoencoder(seed: int, latent: int = 5, pixels: int = 12) -> tuple[Tensor, Tensor]:
    """A state as `live/training.js` lays it out, and images."""
    random = torch.Generator().manual_seed(seed)
    state = torch.randn(2 * pixels * latent + latent + pixels, generator=random, dtype=torch.float64)
    return state, torch.rand(7, pixels, generator=random, dtype=torch.float64)


def parts(state: Tensor, latent: int, pixels: int) -> list[Tensor]:
    """The network's parameters as `training.forward` takes them, views on the state."""
    first, bias, back, last = state.split([latent * pixels, latent, pixels * latent, pixels])
    return [first.view(1, latent, pixels), bias.view(1, 1, -1), back.view(1, pixels, latent), last.view(1, 1, -1)]


@pytest.mark.parametrize("coefficient", [0.0, 0.3])
@pytest.mark.parametrize("columns", [[0, 1, 2, 3, 4], [1, 4, 6, 7, 11]])
def test_the_page_trains_as_autograd_the_library_and_torchs_adam_do(coefficient, columns):
    """Three steps of the whole loss, with the library's penalty of the square part."""
    state, images = autoencoder(0)
    program = f"""(() => {{
        const state = Float64Array.from(value.state), gradient = new Float64Array(state.length);
        const step = training.adam(state.length, 0.01);
        const errors = [0, 1, 2].map(() => {{
            const error = training.descended(state, 5, value.images, gradient);
            training.guided(state, 12, {columns}, {coefficient}, gradient);
            step(state, gradient);
            return error;
        }});
        return {{ state: [...state], errors }};
    }})()"""
    (found,) = measured(program, [{"state": state.tolist(), "images": images.tolist()}])
    state.requires_grad_()
    optimiser = torch.optim.Adam([state], lr=0.01)
    for error in found["errors"]:
        optimiser.zero_grad()
        network = parts(state, 5, 12)
        loss = F.mse_loss(forward(network, images[None])[1], images[None])
        assert error == pytest.approx(loss.item(), rel=1e-12)
        (loss + coefficient * dense_penalty(network[0][0][:, columns], "log", 0.0)).backward()
        optimiser.step()
    assert found["state"] == pytest.approx(state.tolist(), abs=1e-8)


def test_the_page_inverts_as_numpy_does_and_knows_the_log_determinant():
    matrices = np.random.default_rng(0).normal(size=(6, 9, 9))
    program = "(({ log, inverse }) => ({ log, inverse: inverse.map((row) => [...row]) }))(linear.inverted(value))"
    for matrix, found in zip(matrices, measured(program, matrices.tolist()), strict=True):
        assert found["log"] == pytest.approx(log_abs_det(torch.tensor(matrix)).item())
        assert np.array(found["inverse"]) == pytest.approx(np.linalg.inv(matrix))


def test_the_page_picks_the_square_part_and_the_images_as_the_replication_does():
    random = np.random.default_rng(1)
    train, images = random.random((40, 12)) * random.random(12), random.random((30, 12))
    given = {"train": train.tolist(), "images": images.tolist()}
    wanted = {"first": range(5), "most": PENALTIES["live"].columns(torch.tensor(train), 5).tolist(),
              "least": sorted(train.var(0).argsort()[:5])}  # fmt: skip
    for which, columns in wanted.items():
        (found,) = measured(f"training.chosen(value.train, 5, '{which}')", [given])
        assert found == list(columns)
        far = ((images[:, columns] - train[:, columns].mean(0)) ** 2).sum(1)
        (order,) = measured(f"training.unusual(value.images, {found}, value.train)", [given])
        assert order == (-far).argsort().tolist()


def test_the_pages_share_of_the_signal_and_errors_are_the_replications():
    state, images = autoencoder(2)
    weight = parts(state, 5, 12)[0][0]
    columns = [0, 3, 4, 8, 9]
    given = [{"state": state.tolist(), "images": images.tolist()}]
    (share,) = measured(f"training.share(value.state, 5, value.images, {columns})", given)
    part, whole = (images[:, at] @ weight[:, at].T for at in (columns, range(12)))
    assert share == pytest.approx((part.var(0).sum() / whole.var(0).sum()).item())
    (errors,) = measured("training.judged(value.state, 5, value.images).map(({ error }) => error)", given)
    output = forward(parts(state, 5, 12), images[None])[1][0]
    assert errors == pytest.approx(((output - images) ** 2).mean(1).tolist())


def test_the_page_stops_where_the_replication_does():
    curves = np.random.default_rng(3).random((30, 40)).tolist()
    for patience in (1, 7, 60):
        for curve, found in zip(curves, measured(f"training.stopped(value, {patience})", curves), strict=True):
            stop = EarlyStopping(patience)(np.array(curve))
            assert (found["epoch"], found["late"]) == (stop.epoch, stop.censored)


def test_networks_of_one_start_in_the_page_differ_by_their_guidance_alone():
    """Two without any stay the same; of the guided one the log-determinant rises above theirs."""
    images = np.random.default_rng(4).random((20, 12)).tolist()
    settings = {"latent": 4, "which": "first", "coefficients": [0, 0, 0.1], "rate": 0.01, "batch": 5, "horizon": 6}
    program = "[...training.trained({ train: value, validation: value, test: value }, %s, measures.chances(1))]"
    (moments,) = measured(program % json.dumps(settings), [images])
    assert [moment["epoch"] for moment in moments] == list(range(7))
    assert all(moment["networks"][0] == moment["networks"][1] for moment in moments)
    first, last = moments[0]["networks"], moments[-1]["networks"]
    assert first[0] == first[2] and last[2]["log"] > last[0]["log"] + 0.5
    assert last[0]["validation"] < first[0]["validation"]
