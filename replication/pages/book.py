"""From sources to a built book: run chapters with papermill, stage them, call Jupyter Book.

Sources hold no outputs. An executed notebook lies in `_build/executed` with what it was made from: its code and
parameters, the modules that its kernel imported, and what they read, as noted by the code that reads
(:mod:`replication.reads`). Staging puts its outputs into the current source, so that a change of prose costs no run,
nor does one of a module that the chapter never imports. Nothing reaches `_build/html` before every chapter has run
and the build has had no warning.
"""

import ast
import hashlib
import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import jupytext
import nbformat
import papermill
from filelock import FileLock
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from replication import ROOT, provenance, reads
from replication.files import digest, write_atomically
from replication.pages import printed, publish
from replication.parameters import checked
from replication.provenance import machine
from replication.sweep.workers import end_with_parent
from replication.verdicts import ledger

SOURCES, PROSE, BUILD = ROOT / "notebooks", ROOT / "book", ROOT / "_build"


class BookError(RuntimeError):
    """A chapter failed or the book could not be built; the message says which, where and why."""


@dataclass(frozen=True)
class Made:
    """What a chapter was made from."""

    key: str
    parameters: dict[str, object]
    machine: dict[str, object]
    modules: dict[str, str]  # fingerprint of the code of each module that was imported
    reads: dict[str, str]


# Runs last in every chapter's kernel and says what was imported and read there; it is not a part of the page.
_LAST = """\
import json as _json, sys as _sys
from replication import reads as _reads
print(_json.dumps({"modules": sorted(_sys.modules), "reads": _reads.session}))
"""


@dataclass(frozen=True)
class Chapter:
    """One notebook source, `notebooks/<name>.md`."""

    name: str

    @cached_property
    def source(self) -> nbformat.NotebookNode:
        """Its cells are named by their places: Jupytext draws names, and the same text would be another notebook."""
        read = jupytext.read(SOURCES / f"{self.name}.md")
        for place, cell in enumerate(read.cells):
            cell.id = f"cell-{place}"
        return read

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
        """Fingerprint of what the chapter itself says: its code and parameters, and where records are looked for."""
        code = [cell.source for cell in self.source.cells if cell.cell_type == "code"]
        elsewhere = os.environ.get("ENTROPY_RESULTS", "")
        return digest(json.dumps([code, dict(parameters), elsewhere], sort_keys=True))

    def made(self) -> Made | None:
        """What the chapter was made from when it last ran; None when it has not."""
        if not self.executed.exists():
            return None
        try:
            kept = nbformat.read(self.executed, as_version=4).metadata.get("entropy_book", {})
        except Exception:  # cut off, or no notebook, which its readers say in many ways: as good as none
            return None
        return Made(**kept) if set(kept) == {each.name for each in fields(Made)} else None

    def stale(self, parameters: Mapping[str, object]) -> list[str]:
        """Why the chapter has to run: what has changed since it did."""
        made = self.made()
        if made is None:
            return ["never run"]
        code = provenance.code(made.modules)
        changed = ["its code or parameters"] if made.key != self.key(parameters) else []
        changed += [name for name, fingerprint in made.modules.items() if code.get(name) != fingerprint]
        return changed + reads.changed(made.reads)


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
        ValueError: a parameter of a wrong type, out of range or unknown; before a kernel starts.
        BookError: a cell failed.
    """
    wanted, parameters = chapters(names), dict(parameters or {})
    offered = sorted({name for chapter in wanted for name in chapter.parameters})
    for name in parameters:
        if name not in offered:
            raise KeyError(f"unknown parameter {name!r}; these chapters take {', '.join(offered) or 'none'}")
    given = {"profile": profile, "device": device, **parameters}
    checked(**given)
    with _one_at_a_time():
        return _run_stale(wanted, given, force)


def _run_stale(wanted: list[Chapter], given: Mapping[str, object], force: bool) -> list[str]:
    ledger.current()  # renewed here once, and not by each page that shows some of it
    jobs = []
    for chapter in wanted:
        chosen = {**chapter.parameters, **{k: v for k, v in given.items() if k in chapter.parameters}}
        if force or chapter.stale(chosen):
            jobs.append((chapter.name, chosen))
    # Chapters with parameters train networks: they go first, the others fill the second core.
    jobs.sort(key=lambda job: (not job[1], job[0]))
    with ProcessPoolExecutor(max_workers=2, initializer=end_with_parent) as pool:
        pending = {pool.submit(execute, name, chosen): name for name, chosen in jobs}
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


def _own_kernel() -> str:
    """The name of a kernel that is this interpreter; `python3` may be another one where the user has installed some."""
    name, folder = "entropy-book", BUILD / "jupyter"
    launched = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = json.dumps({"argv": launched, "display_name": "Python 3", "language": "python"})
    write_atomically(folder / "kernels" / name / "kernel.json", lambda path: path.write_text(spec, encoding="utf-8"))
    paths = [str(folder), *filter(None, os.environ.get("JUPYTER_PATH", "").split(os.pathsep))]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(dict.fromkeys(paths))
    return name


def execute(name: str, parameters: dict[str, object]) -> None:
    """Run one chapter in a kernel of this environment; keep the result only when every cell succeeded."""
    chapter = Chapter(name)
    failed = BUILD / "failed" / f"{name}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    # One core each while two run: small matrices lose by a second thread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Of the code as it is before the run: a file that changes meanwhile makes the chapter stale.
    key, code = chapter.key(parameters), provenance.code(provenance.modules())
    source = failed.with_suffix(".source.ipynb")
    whole = nbformat.from_dict(json.loads(json.dumps(chapter.source)))
    whole.cells.append(nbformat.v4.new_code_cell(_LAST, id="last"))
    jupytext.write(whole, source)
    try:
        executed = papermill.execute_notebook(
            str(source), str(failed), parameters, kernel_name=_own_kernel(), progress_bar=False, cwd=str(ROOT)
        )
    except PapermillExecutionError as error:
        first = error.source.strip().splitlines()[0]
        raise BookError(
            f"chapter {name!r} failed in cell {error.cell_index} (`{first}`): {error.ename}: {error.evalue}\n"
            f"the notebook with the failing cell is {failed.relative_to(ROOT)}"
        ) from None
    finally:
        source.unlink(missing_ok=True)
    said = json.loads(executed.cells.pop().outputs[0].text)
    modules = {name: code[name] for name in said["modules"] if name in code}
    executed.metadata["entropy_book"] = asdict(Made(key, parameters, machine(), modules, said["reads"]))
    write_atomically(chapter.executed, lambda path: nbformat.write(executed, path))
    failed.unlink()


def staged(chapter: Chapter) -> nbformat.NotebookNode:
    """The current source with the outputs of its last run, and a line of origin under each figure.

    Raises:
        BookError: the chapter has not been run or has changed since, or a figure has no caption or
            no alternative text.
    """
    made = chapter.made()
    if made is None:
        raise BookError(f"chapter {chapter.name!r} has not been run; `entropy-book run {chapter.name}` does it")
    executed = nbformat.read(chapter.executed, as_version=4)
    if changed := chapter.stale(made.parameters):
        raise BookError(
            f"chapter {chapter.name!r} has changed since it ran ({changed[0]}); "
            f"`entropy-book run {chapter.name}` renews it"
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
        figures = [output for output in cell.outputs if is_figure(output)]
        if figures:
            _check_described(chapter, cell)
            origin = _origin(chapter, figures[-1], made)
            origin.id = f"{cell.id}-origin"
            cells.append(origin)
        tags = cell.metadata.get("tags", [])
        if "hide-input" in tags and not any(map(_can_be_seen, cell.outputs)):
            cell.metadata.tags = ["remove-input" if tag == "hide-input" else tag for tag in tags]
    notebook.cells = cells
    return notebook


def _can_be_seen(output: nbformat.NotebookNode) -> bool:
    """Whether an output is more than numbers that prose takes up: a fold over nothing is not worth its line."""
    return not output.get("data") or any(not kind.startswith("application/papermill") for kind in output.data)


def is_figure(output: nbformat.NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def _check_described(chapter: Chapter, cell: nbformat.NotebookNode) -> None:
    options = cell.metadata.get("mystnb", {})
    if not options.get("figure", {}).get("caption") or not options.get("image", {}).get("alt"):
        first = cell.source.strip().splitlines()[0]
        raise BookError(f"chapter {chapter.name!r}: the figure of cell `{first}` needs a caption and an alt text")


def _origin(chapter: Chapter, figure: nbformat.NotebookNode, made: Made) -> nbformat.NotebookNode:
    """What unfolds under a figure: notebook, parameters, records and hardware."""
    parts = [
        f"notebooks/{chapter.name}.md",
        ", ".join(f"{name} = {value}" for name, value in made.parameters.items() if value != "") or "no parameters",
        figure.get("metadata", {}).get("records", "no records, computed on this page"),
        f"page built on {made.machine['device']}, torch {made.machine['torch']}",
    ]
    # One line: a blank one would end the paragraph, and what follows would be read as Markdown, a directive even.
    lines = [html.escape(" ".join(str(part).split())) for part in parts]
    unfolds = f'<details class="origin"><summary>Where this figure comes from</summary>{" · ".join(lines)}</details>'
    return nbformat.v4.new_markdown_cell(unfolds)


def build() -> Path:
    """Stage everything and build the HTML with warnings as errors; return its folder.

    A PDF of the same sources (:func:`pdf`) becomes a part of it.

    Raises:
        BookError: Jupyter Book failed or warned.
    """
    with _one_at_a_time():
        site, fresh, former = BUILD / "html", BUILD / "html.new", BUILD / "html.old"
        if former.exists() and not site.exists():  # a build was killed between the two renames below
            former.rename(site)
        stage, pdf, key = _stage(), BUILD / "book.pdf", BUILD / "book.key"
        offered = stage / "extra" / "downloads" / "book.pdf"
        for left in (offered, stage / "_build" / "html" / "downloads" / "book.pdf"):  # Sphinx removes nothing
            left.unlink(missing_ok=True)
        if pdf.exists() and key.exists() and key.read_text(encoding="utf-8") == _key(stage):
            shutil.copy(pdf, offered)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(_built(stage, "html"), fresh)
        publish.archive(fresh)
        shutil.rmtree(former, ignore_errors=True)
        if site.exists():
            site.rename(former)
        fresh.rename(site)
        shutil.rmtree(former, ignore_errors=True)
        return site


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
            printed.print_book(page, target)
        except RuntimeError as error:
            raise BookError(str(error)) from None
        key = _key(stage)
        write_atomically(target.with_suffix(".key"), lambda path: path.write_text(key, encoding="utf-8"))
        return target


def _key(stage: Path) -> str:
    """Fingerprint of what is printed: what is staged, without downloads and what a killed write left, and the title."""
    below = [path for part in ("notebooks", "book", "_static") for path in (stage / part).rglob("[!.]*")]
    made_by = [ROOT / "CITATION.cff", Path(printed.__file__), printed.BOOK]
    files = [*sorted(path for path in below if path.is_file()), *made_by]
    return digest(*(path.read_bytes() for path in files))


def _stage() -> Path:
    """Bring all sources of the book together, chapters with their outputs; return the folder."""
    stage = BUILD / "stage"
    downloads = stage / "extra" / "downloads"
    wanted: dict[Path, str | bytes] = {}
    for chapter in tqdm(chapters(), desc="staging chapters"):
        notebook = staged(chapter)
        for name, narrow in _narrow(notebook).items():
            wanted[stage / "_static" / "narrow" / name] = narrow
        with_outputs = nbformat.writes(notebook)
        wanted[stage / "notebooks" / f"{chapter.name}.ipynb"] = with_outputs
        wanted[downloads / f"{chapter.name}-executed.ipynb"] = with_outputs
        wanted[downloads / f"{chapter.name}.ipynb"] = nbformat.writes(publish.clean(chapter.source, ROOT))
    for path in [ROOT / "_config.yml", ROOT / "_toc.yml", *PROSE.rglob("*")]:
        if path.is_file():
            within = path.relative_to(ROOT)
            target = stage / (within.relative_to("book") if within.parts[:2] == ("book", "_static") else within)
            wanted[target] = path.read_bytes()
    for path, content in wanted.items():
        _write_if_changed(path, content)
    _prune(stage, set(wanted))
    return stage


def _narrow(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Take the figures' forms for a phone out of a notebook, by the names that MyST-NB gives the figures themselves."""
    found = {}
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if is_figure(output) and (narrow := output.metadata.pop("narrow", "")):
            whole = os.linesep.join(output.data["image/svg+xml"].splitlines())
            found[f"{hashlib.sha256(whole.encode()).hexdigest()}.svg"] = narrow
    return found


def _prune(stage: Path, wanted: set[Path]) -> None:
    """Remove what is no longer a part of the book, and with it all pages: Sphinx would keep those of removed ones."""
    there = [path for path in stage.rglob("*") if path.is_file() and stage / "_build" not in path.parents]
    left = [path for path in there if path not in wanted and path.name != "book.pdf"]
    for path in left:
        path.unlink()
    if left:
        shutil.rmtree(stage / "_build", ignore_errors=True)


def _built(stage: Path, builder: str) -> Path:
    """Run Jupyter Book, warnings being errors; return the folder of what it made."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(stage), "-W", "--keep-going"]
    command += [] if builder == "html" else ["--builder", "custom", "--custom-builder", builder]
    finished = subprocess.run(
        command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    if finished.returncode:
        # Sphinx takes a page for up to date once it has warned of it; the next build has to warn again.
        shutil.rmtree(stage / "_build", ignore_errors=True)
        lines = [line for line in finished.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BookError("Jupyter Book stopped:\n" + "\n".join(lines or finished.stderr.splitlines()[-20:]))
    return stage / "_build" / builder


def _write_if_changed(path: Path, content: str | bytes) -> None:
    """Leave unchanged files alone: Sphinx rebuilds by modification time."""
    raw = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != raw:
        write_atomically(path, lambda temporary: temporary.write_bytes(raw))
