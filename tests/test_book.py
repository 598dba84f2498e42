"""Every notebook runs at `quick`, staging is honest, failures stop the build."""

import re
import zipfile

import nbformat
import pytest

from entropy_lib import book, publish
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


def test_new_records_make_the_chapters_that_read_them_stale(monkeypatch, tmp_path):
    for folder in ("notebooks", "results/autoencoder"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "claims.yml").write_text("[]")
    for name in ("claims", "dense"):
        (tmp_path / "notebooks" / f"{name}.md").write_text((ROOT / "notebooks" / f"{name}.md").read_text())
    monkeypatch.setattr(book, "ROOT", tmp_path)
    monkeypatch.setattr(book, "SOURCES", tmp_path / "notebooks")
    keys = [book.Chapter(name).key({}) for name in ("claims", "dense")]
    (tmp_path / "results" / "autoencoder" / "new.parquet").write_bytes(b"")
    renewed = [book.Chapter(name).key({}) for name in ("claims", "dense")]
    assert renewed[0] != keys[0] and renewed[1] == keys[1]


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
        book._execute("mine", {})
    assert not chapter.executed.exists()
    assert (tmp_path / "failed" / "mine.ipynb").exists()


FIGURE = "```{code-cell} python3\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);\n```"


def test_a_figure_without_caption_or_alt_text_is_refused(tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, FIGURE)
    book._execute("mine", {})
    with pytest.raises(book.BookError, match="needs a caption and an alt text"):
        book.staged(chapter)


def test_staging_refuses_what_has_not_run_or_has_changed(tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, "```{code-cell} python3\nx = 1\n```")
    with pytest.raises(book.BookError, match="has not been run; `entropy-book run mine`"):
        book.staged(chapter)
    book._execute("mine", {})
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
            if cell.cell_type == "code" and any(book._is_figure(output) for output in cell.outputs):
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
    assert "git clone --quiet https://github.com/someone/something entropy" in first and '".[book]"' in first
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
