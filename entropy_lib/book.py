"""From sources to a built book: run chapters with papermill, stage them, call Jupyter Book.

Sources hold no outputs. An executed notebook lies in `_build/executed` beside the key of what it
was made from; staging puts its outputs into the current source, so that a change of prose costs no
run. Nothing reaches `_build/html` before every chapter has run and the build has had no warning.
"""

import ast
import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext
import nbformat
import papermill
from filelock import FileLock
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from entropy_lib import publish
from entropy_lib.files import digest, source_hash, write_atomically
from entropy_lib.sweep.run import machine

ROOT = Path(__file__).parent.parent
SOURCES, PROSE, BUILD = ROOT / "notebooks", ROOT / "book", ROOT / "_build"
PROFILES = ("quick", "laptop", "paper")


class BookError(RuntimeError):
    """A chapter failed or the book could not be built; the message says which, where and why."""


@dataclass(frozen=True)
class Chapter:
    """One notebook source, `notebooks/<name>.md`."""

    name: str

    @cached_property
    def source(self) -> nbformat.NotebookNode:
        return jupytext.read(SOURCES / f"{self.name}.md")

    @cached_property
    def parameters(self) -> dict[str, object]:
        """Names and defaults of the cell tagged `parameters`."""
        for cell in self.source.cells:
            if "parameters" in cell.metadata.get("tags", []):
                assigned = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
                return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assigned}
        return {}

    @property
    def executed(self) -> Path:
        return BUILD / "executed" / f"{self.name}.ipynb"

    def key(self, parameters: Mapping[str, object]) -> str:
        """Fingerprint of all that the outputs depend on: code, parameters, library, files read."""
        code = [cell.source for cell in self.source.cells if cell.cell_type == "code"]
        library = source_hash() if any("entropy_lib" in cell for cell in code) else ""
        reads = self.source.metadata.get("reads", [])
        files = sorted(path for read in reads for path in _files_below(ROOT / read))
        # Records are immutable: their names stand for them. Other files are small.
        seen = [path.name if path.suffix in (".parquet", ".npz") else path.read_text() for path in files]
        elsewhere = os.environ.get("ENTROPY_RESULTS", "")
        return digest(json.dumps([code, dict(parameters), library, seen, elsewhere], sort_keys=True))


def _files_below(path: Path) -> list[Path]:
    """Dotfiles are left out: a killed write may have left a temporary one."""
    children = [path] if path.is_file() else path.rglob("*")
    return [child for child in children if child.is_file() and not child.name.startswith(".")]


def chapters(names: Iterable[str] = ()) -> list[Chapter]:
    """The named chapters, or all of them.

    Raises:
        KeyError: an unknown chapter; the message lists those that exist.
    """
    known = sorted(path.stem for path in SOURCES.glob("*.md"))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise KeyError(f"unknown chapter {unknown[0]!r}; the chapters are {', '.join(known)}")
    return [Chapter(name) for name in (names or known)]


def run(
    names: Iterable[str] = (),
    profile: str = "quick",
    device: str = "cpu",
    parameters: Mapping[str, object] | None = None,
    force: bool = False,
) -> list[str]:
    """Execute the chapters whose key has changed, two at a time; return their names.

    Raises:
        KeyError: unknown chapter, or a parameter that none of the chapters has.
        ValueError: unknown profile.
        BookError: a cell failed.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; the profiles are {', '.join(PROFILES)}")
    wanted, parameters = chapters(names), dict(parameters or {})
    offered = sorted({name for chapter in wanted for name in chapter.parameters})
    for name in parameters:
        if name not in offered:
            raise KeyError(f"unknown parameter {name!r}; these chapters take {', '.join(offered) or 'none'}")
    given = {"profile": profile, "device": device, **parameters}
    with _one_at_a_time():
        return _run_stale(wanted, given, force)


def _run_stale(wanted: list[Chapter], given: Mapping[str, object], force: bool) -> list[str]:
    jobs = []
    for chapter in wanted:
        chosen = {**chapter.parameters, **{k: v for k, v in given.items() if k in chapter.parameters}}
        if force or _recorded_key(chapter) != chapter.key(chosen):
            jobs.append((chapter.name, chosen))
    # Chapters with parameters train networks: they go first, the others fill the second core.
    jobs.sort(key=lambda job: (not job[1], job[0]))
    with ProcessPoolExecutor(max_workers=2) as pool:
        pending = {pool.submit(_execute, name, chosen): name for name, chosen in jobs}
        for done in tqdm(as_completed(pending), total=len(jobs), desc="running chapters", disable=not jobs):
            try:
                done.result()
            except BookError:
                pool.shutdown(cancel_futures=True)
                raise
    return [name for name, _ in jobs]


def _one_at_a_time() -> FileLock:
    """Two builds in one folder wait for each other."""
    BUILD.mkdir(exist_ok=True)
    return FileLock(BUILD / ".lock")


def _recorded_key(chapter: Chapter) -> str | None:
    if not chapter.executed.exists():
        return None
    return nbformat.read(chapter.executed, as_version=4).metadata["entropy_book"]["key"]


def _execute(name: str, parameters: dict[str, object]) -> None:
    """Run one chapter in a kernel of this environment; keep the result only when every cell succeeded."""
    chapter = Chapter(name)
    failed = BUILD / "failed" / f"{name}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    # One core each while two run: small matrices lose by a second thread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTHONPATH"] = str(ROOT)
    key = chapter.key(parameters)
    source = failed.with_suffix(".source.ipynb")
    jupytext.write(chapter.source, source)
    try:
        executed = papermill.execute_notebook(
            str(source), str(failed), parameters, kernel_name="python3", progress_bar=False, cwd=str(ROOT)
        )
    except PapermillExecutionError as error:
        first = error.source.strip().splitlines()[0]
        raise BookError(
            f"chapter {name!r} failed in cell {error.cell_index} (`{first}`): {error.ename}: {error.evalue}\n"
            f"the notebook with the failing cell is {failed.relative_to(ROOT)}"
        ) from None
    finally:
        source.unlink(missing_ok=True)
    executed.metadata["entropy_book"] = {"key": key, "parameters": parameters, "machine": machine()}
    write_atomically(chapter.executed, lambda path: nbformat.write(executed, path))
    failed.unlink()


def staged(chapter: Chapter) -> nbformat.NotebookNode:
    """The current source with the outputs of its last run, and a line of origin under each figure.

    Raises:
        BookError: the chapter has not been run or has changed since, or a figure has no caption or
            no alternative text.
    """
    if not chapter.executed.exists():
        raise BookError(f"chapter {chapter.name!r} has not been run; `entropy-book run {chapter.name}` does it")
    executed = nbformat.read(chapter.executed, as_version=4)
    made = executed.metadata["entropy_book"]
    if made["key"] != chapter.key(made["parameters"]):
        raise BookError(
            f"chapter {chapter.name!r} has changed since it ran; `entropy-book run {chapter.name}` renews it"
        )
    ran = [
        c for c in executed.cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])
    ]
    notebook = nbformat.from_dict(json.loads(json.dumps(chapter.source)))
    results, cells = iter(ran), []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        result = next(results)
        cell.outputs, cell.execution_count = result.outputs, result.execution_count
        figures = [output for output in cell.outputs if _is_figure(output)]
        if figures:
            _check_described(chapter, cell)
            cells.append(_origin(chapter, figures[-1], made))
    notebook.cells = cells
    return notebook


def _is_figure(output: nbformat.NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def _check_described(chapter: Chapter, cell: nbformat.NotebookNode) -> None:
    options = cell.metadata.get("mystnb", {})
    if not options.get("figure", {}).get("caption") or not options.get("image", {}).get("alt"):
        first = cell.source.strip().splitlines()[0]
        raise BookError(f"chapter {chapter.name!r}: the figure of cell `{first}` needs a caption and an alt text")


def _origin(chapter: Chapter, figure: nbformat.NotebookNode, made: Mapping) -> nbformat.NotebookNode:
    """The line under a figure: notebook, parameters, records and hardware."""
    parts = [
        f"notebooks/{chapter.name}.md",
        ", ".join(f"{name} = {value}" for name, value in made["parameters"].items() if value != "") or "no parameters",
        figure.get("metadata", {}).get("records", "no records, computed on this page"),
        f"page built on {made['machine']['device']}, torch {made['machine']['torch']}",
    ]
    return nbformat.v4.new_markdown_cell(f'<p class="origin">{" · ".join(html.escape(part) for part in parts)}</p>')


def build() -> Path:
    """Stage everything and build the HTML with warnings as errors; return its folder.

    A PDF of the same sources (:func:`pdf`) becomes a part of it.

    Raises:
        BookError: Jupyter Book failed or warned.
    """
    with _one_at_a_time():
        stage, pdf = _stage(), BUILD / "book.pdf"
        printed = stage / "extra" / "downloads" / "book.pdf"
        printed.unlink(missing_ok=True)
        if pdf.exists() and pdf.with_suffix(".key").read_text() == _key(stage):
            shutil.copy(pdf, printed)
        site, fresh = BUILD / "html", BUILD / "html.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(_built(stage, "html"), fresh)
        publish.archive(fresh)
        shutil.rmtree(site, ignore_errors=True)
        return fresh.rename(site)


def pdf() -> Path:
    """The whole book as one PDF, printed by Chromium from a single page; return its path.

    Raises:
        BookError: Jupyter Book failed or warned, or Chromium is missing.
    """
    with _one_at_a_time():
        stage, target = _stage(), BUILD / "book.pdf"
        folder = _built(stage, "singlehtml")
        # Sphinx writes the page beside its first document, with addresses as if it stood at the root.
        page = (folder / "notebooks" / "home.html").replace(folder / "whole.html")
        try:
            publish.print_page(page, target)
        except RuntimeError as error:
            raise BookError(str(error)) from None
        target.with_suffix(".key").write_text(_key(stage))
        return target


def _key(stage: Path) -> str:
    """Fingerprint of what is staged, without what readers download."""
    files = sorted(path for part in ("notebooks", "book", "_static") for path in _files_below(stage / part))
    return digest(*(path.read_bytes() for path in files))


def _stage() -> Path:
    """Bring all sources of the book together, chapters with their outputs; return the folder."""
    stage = BUILD / "stage"
    downloads = stage / "extra" / "downloads"
    for chapter in tqdm(chapters(), desc="staging chapters"):
        with_outputs = nbformat.writes(staged(chapter))
        _write_if_changed(stage / "notebooks" / f"{chapter.name}.ipynb", with_outputs)
        _write_if_changed(downloads / f"{chapter.name}-executed.ipynb", with_outputs)
        _write_if_changed(downloads / f"{chapter.name}.ipynb", nbformat.writes(publish.clean(chapter.source, ROOT)))
    for path in [ROOT / "_config.yml", ROOT / "_toc.yml", *PROSE.rglob("*")]:
        if path.is_file():
            within = path.relative_to(ROOT)
            target = stage / (within.relative_to("book") if within.parts[:2] == ("book", "_static") else within)
            _write_if_changed(target, path.read_bytes())
    return stage


def _built(stage: Path, builder: str) -> Path:
    """Run Jupyter Book, warnings being errors; return the folder of what it made."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(stage), "-W", "--keep-going"]
    command += [] if builder == "html" else ["--builder", "custom", "--custom-builder", builder]
    finished = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BookError("Jupyter Book stopped:\n" + "\n".join(lines or finished.stderr.splitlines()[-20:]))
    return stage / "_build" / builder


def _write_if_changed(path: Path, content: str | bytes) -> None:
    """Leave unchanged files alone: Sphinx rebuilds by modification time."""
    raw = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != raw:
        write_atomically(path, lambda temporary: temporary.write_bytes(raw))
