"""Every notebook runs at `quick`, staging is honest, failures stop the build."""

import re
import shutil
import zipfile

import nbformat
import pytest

from replication.pages import book, publish
from replication.verdicts import ledger
from tests.test_project import ROOT


@pytest.fixture(scope="session")
def executed():
    """Run what is out of date, as `make book` does; up-to-date chapters have run with this very code."""
    book.run()
    return {chapter.name: nbformat.read(chapter.executed, as_version=4) for chapter in book.chapters()}


@pytest.mark.parametrize("name", [chapter.name for chapter in book.chapters()])
def test_notebook_ran_to_its_end_at_quick(executed, name):
    notebook = executed[name]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source.strip())
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    parameters = notebook.metadata["entropy_book"]["parameters"]
    assert parameters.get("profile", "quick") == "quick"


def test_nothing_is_rerun_when_nothing_changed(executed):
    assert book.run() == []


def test_a_change_of_prose_reruns_nothing_and_one_of_code_does(executed, tmp_path, monkeypatch):
    text = (book.SOURCES / "guide.md").read_text()
    chapter = book.Chapter("guide")
    before = chapter.key({})
    monkeypatch.setattr(book, "SOURCES", tmp_path)
    (tmp_path / "guide.md").write_text(text.replace("Should you use it?", "Ought you to?"))
    changed = book.Chapter("guide")
    assert changed.key({}) == before
    assert "Ought you to?" in nbformat.writes(book.staged(changed))
    (tmp_path / "guide.md").write_text(text.replace("range(5)", "range(6)"))
    assert book.Chapter("guide").key({}) != before
    assert book.Chapter("guide").key({"seeds": 1}) != book.Chapter("guide").key({})


def stale() -> set[str]:
    """The chapters that would run again as they last ran."""
    return {chapter.name for chapter in book.chapters() if chapter.stale(chapter.made().parameters)}


def test_removing_the_records_of_an_experiment_makes_stale_what_rests_on_them(executed, tmp_path):
    """Nothing but that: chapters are asked again with the records away, then with them back."""
    resting = {"flow": {"entropy-flow", "claims", "home"}, "cnn": {"classifiers", "claims", "home"}}
    for experiment, pages in resting.items():
        away = shutil.move(ROOT / "results" / experiment, tmp_path / experiment)
        try:
            ledger.current()
            found = stale()
        finally:
            shutil.move(away, ROOT / "results" / experiment)
            ledger.current()
        # A verdict that several experiments share stands on the pages of all of them.
        shared = set(ledger.rows().loc[lambda rows: rows.id.isin(["flow-hypothesis", "flow-consistent"])].section)
        assert pages <= found <= pages | {"entropy-flow", "unet"}, (experiment, found, shared)
    assert stale() == set()


def test_a_page_rests_on_the_modules_that_it_imports_and_on_no_comment(executed, monkeypatch):
    from replication import provenance

    dense, autoencoder = (book.Chapter(name).made().modules for name in ("dense", "autoencoder"))
    assert "entropy_lib.theory.completion" in dense and "replication.experiments.unet.figures" not in autoencoder
    assert not [name for name in dense if name.startswith("replication.experiments")]
    whole = provenance.modules()

    def with_edit(name: str, text: str) -> set[str]:
        edited = tmp / f"{name}.py"
        edited.write_text(whole[name].read_text(encoding="utf-8") + text)
        monkeypatch.setattr(provenance, "modules", lambda: whole | {name: edited})
        return stale()

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        assert with_edit("replication.experiments.cnn.tables", "# a remark\n") == set()
        assert with_edit("replication.cli", "spare = 1\n") == set()
        assert with_edit("replication.experiments.cnn.tables", "spare = 1\n") == {"classifiers"}
    monkeypatch.undo()


HEAD = (book.SOURCES / "guide.md").read_text().split("---")[1]


def made(tmp_path, monkeypatch, body: str) -> book.Chapter:
    """A chapter of one's own, in folders of its own."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "mine.md").write_text(f"---{HEAD}---\n\n# Mine\n\n{body}\n")
    monkeypatch.setattr(book, "SOURCES", tmp_path / "notebooks")
    monkeypatch.setattr(book, "BUILD", tmp_path)
    monkeypatch.setattr(book, "ROOT", tmp_path)
    return book.Chapter("mine")


def test_a_failing_notebook_names_cell_and_cause_and_is_not_kept(tmp_path, monkeypatch):
    chapter = made(
        tmp_path, monkeypatch, "```{code-cell} python3\nx = 1\n```\n\n```{code-cell} python3\nassert x == 2, 'no'\n```"
    )
    with pytest.raises(book.BookError, match=r"'mine' failed in cell 2 \(`assert x == 2, 'no'`\): AssertionError: no"):
        book.execute("mine", {})
    assert not chapter.executed.exists()
    assert (tmp_path / "failed" / "mine.ipynb").exists()


FIGURE = "```{code-cell} python3\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);\n```"


def test_a_figure_without_caption_or_alt_text_is_refused(tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, FIGURE)
    book.execute("mine", {})
    with pytest.raises(book.BookError, match="needs a caption and an alt text"):
        book.staged(chapter)


def test_staging_refuses_what_has_not_run_or_has_changed(tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, "```{code-cell} python3\nx = 1\n```")
    with pytest.raises(book.BookError, match="has not been run; `entropy-book run mine`"):
        book.staged(chapter)
    book.execute("mine", {})
    book.staged(chapter)
    source = book.SOURCES / "mine.md"
    source.write_text(source.read_text().replace("x = 1", "x = 2"))
    with pytest.raises(book.BookError, match="has changed since it ran"):
        book.staged(book.Chapter("mine"))


def test_every_figure_of_the_book_states_its_origin(executed):
    figures = 0
    for name in executed:
        cells = book.staged(book.Chapter(name)).cells
        for cell, following in zip(cells, cells[1:] + [None], strict=True):
            if cell.cell_type == "code" and any(book.is_figure(output) for output in cell.outputs):
                figures += 1
                assert following.source.startswith(f'<p class="origin">notebooks/{name}.md')
                if name == "autoencoder":
                    assert "trials on" in following.source
    assert figures >= 12


# --- What readers take along -----------------------------------------------------------------------


def test_a_notebook_to_take_along_is_clean_and_says_where_the_project_is(monkeypatch):
    source = book.Chapter("dense").source
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    unknown = publish.clean(source, ROOT)
    assert unknown.cells[0].cell_type == "markdown" and "make book" in unknown.cells[0].source
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/someone/something/")
    known = publish.clean(source, ROOT)
    first = known.cells[0].source
    assert "git clone --quiet https://github.com/someone/something entropy" in first
    assert "import replication" in first and "--editable . --editable ./replication" in first
    assert re.search(r"checkout --quiet ([0-9a-f]{40}|main)$", first, re.M)
    assert [cell.source for cell in known.cells[1:]] == [cell.source for cell in source.cells]
    assert not any(cell.get("outputs") for cell in known.cells)
    assert nbformat.writes(known) == nbformat.writes(publish.clean(source, ROOT))
    nbformat.validate(known)


def test_the_zip_holds_the_whole_site_and_not_itself(tmp_path):
    (tmp_path / "site" / "notebooks").mkdir(parents=True)
    (tmp_path / "site" / "notebooks" / "a.html").write_text("page")
    for _ in range(2):
        packed = publish.archive(tmp_path / "site")
    assert packed == tmp_path / "site" / "downloads" / "book.zip"
    assert [name for name in zipfile.ZipFile(packed).namelist() if not name.endswith("/")] == ["notebooks/a.html"]


def test_notebooks_with_outputs_tell_nothing_of_the_machines_folders(executed):
    for name in executed:
        assert str(ROOT) not in nbformat.writes(book.staged(book.Chapter(name))), name
