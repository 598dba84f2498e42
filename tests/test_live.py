"""Live cells, run by the Python of the page in Node, against the outputs that the book was built with."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.test_book import executed  # noqa: F401
from tests.test_project import ROOT

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


def test_a_chapter_knows_nothing_of_another():
    found = run({"one": ["x = 1"], "two": ["x"]})
    assert not found["two"][0]["ok"] and "NameError" in found["two"][0]["outputs"][0][1]


@pytest.mark.parametrize("name", ["page.js", "editor.js", "worker.js", "pyodide.asm.wasm", "sympy.zip"])
def test_what_a_page_fetches_is_there(name):
    assert (Path(LIVE) / name).stat().st_size > 0
