"""Every notebook runs at `quick`, staging is honest, failures stop the build."""

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
import yaml

from replication import reads
from replication.files import digest
from replication.pages import book, publish
from replication.parameters import checked
from replication.sweep.store import Store
from replication.verdicts import ledger
from tests.helpers import started, takes_its_workers_along
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


def without(patch, experiment: str) -> None:
    """Let this process find no records of an experiment; on the disk, where other tests read them, they stay."""
    name, seen, files = f"results/{experiment}", reads._fingerprints["records"], Store.files

    def found(store, asked):
        listed = files(store, asked)
        return [] if (store.root, asked) == (ROOT / "results", experiment) else listed

    patch.setitem(reads._fingerprints, "records", lambda folder: digest() if folder == name else seen(folder))
    patch.setattr(Store, "files", found)


def test_removing_the_records_of_an_experiment_makes_stale_what_rests_on_them(executed, tmp_path, monkeypatch):
    """Nothing but that: chapters are asked again without the records, then with them."""
    monkeypatch.setattr(ledger, "KEPT", Path(shutil.copy(ledger.KEPT, tmp_path / "ledger.json")))
    resting = {
        "flow": {"entropy-flow", "claims", "home", "report"},
        "cnn": {"classifiers", "performance", "claims", "guide", "home", "report"},
    }
    for experiment, pages in resting.items():
        with monkeypatch.context() as patch:
            without(patch, experiment)
            ledger.current()
            found = stale()
        assert pages <= found <= pages | {"entropy-flow", "evidence", "unet"}, (experiment, found)
    ledger.current()
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
        assert with_edit("replication.experiments.pace", "spare = 1\n") == {"evidence", "performance", "report"}
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


BLANK = "```{code-cell} python3\nx = 1\n```"


def test_the_kernel_is_the_interpreter_that_runs_the_command_whatever_else_is_called_python3(tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    launched = ["/bin/false", "-f", "{connection_file}"]
    spec = {"argv": launched, "display_name": "of the site", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    chapter = made(tmp_path, monkeypatch, "```{code-cell} python3\nimport sys; print(sys.executable)\n```")
    book.execute("mine", {})
    (cell,) = nbformat.read(chapter.executed, as_version=4).cells[1:]
    assert cell.outputs[0].text.strip() == sys.executable


@pytest.mark.parametrize("content", ["", '{"cells": [', "{}", "[]", '{"cells": [], "metadata": {}, "nbformat": 4}'])
def test_an_executed_notebook_that_is_cut_off_or_foreign_counts_as_none(content, tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, BLANK)
    chapter.executed.parent.mkdir()
    chapter.executed.write_text(content, encoding="utf-8")
    assert chapter.made() is None and chapter.stale({}) == ["never run"]
    book.execute("mine", {})
    assert chapter.stale({}) == []


def test_nothing_that_a_record_says_can_become_markup(tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, BLANK)
    evil = "CPU\n\n```{raw} html\n:file: secret.html\n```\n\n<script>alert(1)</script>"
    figure = nbformat.from_dict({"metadata": {"records": evil}})
    line = book._origin(
        chapter, figure, book.Made("", {"profile": evil}, {"device": evil, "torch": "2"}, {}, {})
    ).source
    assert "\n" not in line and "<script" not in line and line.count("<details") == 1


PARAMETERS = {
    "profile": ("huge", "profile must be one of quick, laptop, paper, got 'huge'"),
    "device": ("cuda:77", "device must be a device of this machine: cpu, and"),
    "devices": ("gpu", "device must be cpu, cuda or cuda:NUMBER, got 'gpu'"),
    "seeds": (-1, "seeds must be a whole number from 0 to 1000, 0 for as many as the profile has, got -1"),
    "seeds as a number": (float("nan"), "seeds must be a whole number"),
    "seeds as a switch": (True, "seeds must be a whole number"),
    "latents": ("abc", "latents must be whole numbers from 1 to 784, such as '20, 100', or empty, got 'abc'"),
    "latents as a number": (8.5, "latents must be whole numbers"),
    "latents in a list": ([8, 0], "latents must be whole numbers"),
    "latent": (0, "latent must be a whole number from 1 to 784, got 0"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_refused_before_a_kernel_starts(name, monkeypatch):
    value, message = PARAMETERS[name]
    parameter = "device" if name == "devices" else name.split()[0]
    monkeypatch.setattr(book, "_run_stale", lambda *_: pytest.fail("a kernel would have started"))
    with pytest.raises(ValueError, match=re.escape(message)):
        book.run(["autoencoder", "mechanism"], **({"parameters": {}} | _as_given(parameter, value)))


def _as_given(parameter, value):
    return {parameter: value} if parameter in ("profile", "device") else {"parameters": {parameter: value}}


def test_parameters_are_what_the_code_uses():
    found = checked(latents=[8, "20"], seeds="3", device="cpu")
    assert found == {"latents": (8, 20), "seeds": 3, "device": "cpu"}
    assert checked(latents="20, 100")["latents"] == (20, 100) and checked(latents="")["latents"] == ()
    with pytest.raises(ValueError, match="seeds must .*; latents must"):
        checked(seeds="many", latents="all")
    with pytest.raises(KeyError, match="no parameter 'seed'"):
        checked(seed=1)


@pytest.mark.parametrize("name", [chapter.name for chapter in book.chapters() if chapter.parameters])
def test_a_chapter_checks_its_parameters_itself_for_those_who_run_it_by_hand(name):
    chapter = book.Chapter(name)
    checked(**chapter.parameters)
    call = f"given = checked({', '.join(f'{each}={each}' for each in chapter.parameters)})"
    assert any(call in cell.source for cell in chapter.source.cells if cell.cell_type == "code")


@pytest.mark.parametrize("name", ["claims", "performance"])
def test_a_chapter_runs_from_any_folder_as_jupyter_runs_it(name, tmp_path, monkeypatch):
    """Jupyter starts a kernel in the notebook's folder."""
    source = tmp_path / f"{name}.ipynb"
    jupytext.write(book.Chapter(name).source, source)
    made_by_hand = papermill.execute_notebook(
        str(source), str(tmp_path / "out.ipynb"), kernel_name=book._own_kernel(), progress_bar=False, cwd=str(tmp_path)
    )
    assert made_by_hand.cells and {path.name for path in tmp_path.iterdir()} == {source.name, "out.ipynb"}


KILLED = """
import os, sys, time
from pathlib import Path
from concurrent.futures import ProcessPoolExecutor
from replication.pages import book
folder = Path(sys.argv[1])
def work(name, chosen):
    (folder / f"pid-{os.getpid()}").touch()
    time.sleep(120)
book.execute = work
book._run_stale([book.Chapter("guide"), book.Chapter("dense")], {}, force=True)
"""


def test_a_killed_build_takes_its_workers_along(tmp_path):
    assert takes_its_workers_along(started(tmp_path, KILLED), tmp_path)


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A book of a page of prose and a chapter, without the project's extensions."""
    made(tmp_path, monkeypatch, BLANK)
    prose = tmp_path / "book"
    prose.mkdir()
    monkeypatch.setattr(book, "PROSE", prose)
    monkeypatch.setattr(book, "chapters", lambda names=(): [book.Chapter(p.stem) for p in book.SOURCES.glob("*.md")])
    (tmp_path / "_config.yml").write_text(
        "title: Small\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\nhtml: {extra_footer: ''}\n"
        "sphinx: {config: {html_extra_path: [extra]}}\n",
        encoding="utf-8",
    )

    def write(chapters=("mine",), text="Words."):
        listed = "".join(f"  - file: notebooks/{name}\n" for name in chapters)
        (tmp_path / "_toc.yml").write_text(f"format: jb-book\nroot: book/prose\nchapters:\n{listed}", encoding="utf-8")
        (prose / "prose.md").write_text(f"# Prose\n\n{text}\n", encoding="utf-8")
        for chapter in book.chapters():
            if chapter.stale({}):
                book.execute(chapter.name, {})

    return write


@pytest.mark.slow
def test_two_builds_in_a_row_refuse_the_same_warning_and_the_old_book_stays(small_book):
    small_book()
    site = book.build()
    before = (site / "book" / "prose.html").read_text(encoding="utf-8")
    small_book(text="See {ref}`no-such-label`.")
    for _ in range(2):
        with pytest.raises(book.BookError, match="no-such-label"):
            book.build()
        assert (site / "book" / "prose.html").read_text(encoding="utf-8") == before
    small_book(text="Other words.")
    assert "Other words" in (book.build() / "book" / "prose.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_that_is_retracted_is_gone_from_the_book_its_downloads_and_its_archive(small_book, tmp_path):
    second = book.SOURCES / "second.md"
    second.write_text(
        (book.SOURCES / "mine.md").read_text(encoding="utf-8").replace("# Mine", "# Two"), encoding="utf-8"
    )
    small_book(("mine", "second"))
    everywhere = ["notebooks/second.html", "downloads/second.ipynb", "downloads/second-executed.ipynb"]
    site = book.build()
    assert all((site / page).exists() for page in everywhere)
    second.unlink()
    small_book()
    # What a killed build left is mended or in nobody's way.
    site.rename(site.with_name("html.old"))
    (book.BUILD / "book.pdf").touch()
    site = book.build()
    assert not any((site / page).exists() for page in everywhere)
    assert not [name for name in zipfile.ZipFile(site / "downloads" / "book.zip").namelist() if "second" in name]
    assert not (book.BUILD / "html.old").exists()


@pytest.mark.slow
def test_a_printed_book_is_offered_as_long_as_it_is_one_of_the_same_sources(small_book, tmp_path):
    (book.PROSE / "_ext").mkdir()
    shutil.copy(ROOT / "book" / "_ext" / "downloads.py", book.PROSE / "_ext")
    config = tmp_path / "_config.yml"
    config.write_text(config.read_text().replace("sphinx: {", "sphinx: {local_extensions: {downloads: book/_ext/}, "))
    (tmp_path / "CITATION.cff").touch()
    small_book()

    def offered():
        """Whether the PDF lies in the book, and whether its first page leads to it."""
        site = book.build()
        told = "book.pdf" in (site / "book" / "prose.html").read_text(encoding="utf-8")
        return (site / "downloads" / "book.pdf").exists(), told

    assert offered() == (False, False)
    (book.BUILD / "book.pdf").write_bytes(b"%PDF")
    (book.BUILD / "book.key").write_text(book._key(book.BUILD / "stage"))
    assert offered() == (True, True)  # though no page has changed
    small_book(text="Other words.")
    assert offered() == (False, False)


FIGURE = "```{code-cell} python3\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);\n```"


def test_a_figure_without_caption_or_alt_text_is_refused(tmp_path, monkeypatch):
    chapter = made(tmp_path, monkeypatch, FIGURE)
    book.execute("mine", {})
    with pytest.raises(book.BookError, match="needs a caption and an alt text"):
        book.staged(chapter)


def test_a_chapter_that_has_not_changed_is_staged_the_same_again(tmp_path, monkeypatch):
    """Or Sphinx would build it anew each time, and a PDF of it would never be one of the same sources."""
    described = "---\nmystnb:\n  figure:\n    caption: Two.\n  image:\n    alt: Two points.\n---\n"
    chapter = made(tmp_path, monkeypatch, FIGURE.replace("python3\n", f"python3\n{described}"))
    book.execute("mine", {})
    first, second = (nbformat.writes(book.staged(book.Chapter("mine"))) for _ in range(2))
    assert first == second and len(nbformat.reads(first, 4).cells) == len(chapter.source.cells) + 1


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


NUMBERED = [
    Path(entry["file"]).name
    for part in yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    if part.get("numbered")
    for entry in part["chapters"]
]


@pytest.mark.parametrize("name", NUMBERED)
def test_every_chapter_says_what_it_needs_and_teaches_and_ends_in_three_lines(name):
    text = (ROOT / "notebooks" / f"{name}.md").read_text(encoding="utf-8")
    box = re.search(r"```\{admonition\} Before you begin\n:class: chapter\n(.*?)```", text, re.S)[1]
    assert re.findall(r"(?m)^\*\*([^*]+)\*\*", box) == ["You need", "You will learn", "In the paper"]
    assert text.index("Before you begin") < text.index("\n## ")
    recap = text.partition("## In three lines\n")[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^\d\.", recap) == ["1.", "2.", "3."]


def test_every_figure_of_the_book_states_its_origin(executed):
    figures = 0
    for name in executed:
        cells = book.staged(book.Chapter(name)).cells
        for cell, following in zip(cells, cells[1:] + [None], strict=True):
            if cell.cell_type == "code" and any(book.is_figure(output) for output in cell.outputs):
                figures += 1
                assert re.match(
                    rf'<details class="origin"><summary>[^<]+</summary>notebooks/{name}\.md', following.source
                )
                if name == "autoencoder":
                    assert re.search("trials on|the ledger", following.source)
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
    assert "import replication\nexcept ImportError" in first and "--editable ./entropy/replication" in first
    assert re.search(r"checkout --quiet ([0-9a-f]{40}|main)$", first, re.M)
    assert [cell.source for cell in known.cells[1:]] == [cell.source for cell in source.cells]
    assert not any(cell.get("outputs") for cell in known.cells)
    assert nbformat.writes(known) == nbformat.writes(publish.clean(source, ROOT))
    nbformat.validate(known)


ADDRESSES = {
    "https://github.com/o/n.git": "https://github.com/o/n",
    "https://github.com/o/n/": "https://github.com/o/n",
    "git@github.com:o/n.git": "https://github.com/o/n",
    "ssh://git@github.com/o/n.git": "https://github.com/o/n",
    "": "",
}


@pytest.mark.parametrize("given", ADDRESSES)
def test_the_projects_address_is_one_for_browsers(given, monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", given)
    assert publish.repository() == ADDRESSES[given]


@pytest.mark.parametrize("given", ["github.com/o/n", "ftp://x/y", "https://x/a b", "https://"])
def test_an_address_that_is_none_is_refused(given, monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", given)
    with pytest.raises(ValueError, match="BOOK_REPOSITORY must be such as"):
        publish.repository()


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
