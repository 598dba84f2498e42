"""The package as a user gets it: examples in docstrings, the page of reference, the wheel."""

import doctest
import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import entropy_lib
from tests.test_project import ROOT


@pytest.mark.parametrize("name", entropy_lib.__all__)
def test_examples_in_docstrings_run(name):
    names = {"torch": torch, "nn": torch.nn, "pd": pd} | {
        other: getattr(entropy_lib, other) for other in entropy_lib.__all__
    }
    (examples,) = doctest.DocTestFinder(recurse=False).find(names[name], name, globs=names)
    outcome = doctest.DocTestRunner().run(examples)
    assert outcome.attempted > 0 and outcome.failed == 0


def test_every_public_name_is_on_the_page_of_reference_and_has_an_equation_or_shapes():
    page = (ROOT / "book" / "api.md").read_text()
    listed = re.findall(r"^\.\. auto(?:class|function):: (\w+)$", page, re.M)
    assert sorted(listed) == sorted(entropy_lib.__all__)
    for name in entropy_lib.__all__:
        told = inspect.getdoc(getattr(entropy_lib, name))
        assert "Args:" in told and (".. math::" in told or ":math:" in told or "Returns:" in told), name


def test_the_wheel_has_types_and_nothing_of_the_book(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(ROOT / "entropy_lib", source / "entropy_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "replication", source / "replication", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name == f"entropy_lib-{entropy_lib.__version__}-py3-none-any.whl"
    assert {"entropy_lib/py.typed", "entropy_lib/theory/exact.py", "entropy_lib/nonlinear/norms.py"} <= set(names)
    assert not [name for name in names if not name.startswith("entropy_lib")]
    (about,) = [name for name in names if name.endswith("METADATA")]
    assert not [name for name in names if name.endswith("entry_points.txt")]  # no command that cannot start
    needs = re.findall(r"^Requires-Dist: (\w+)", zipfile.ZipFile(wheel).read(about).decode(), re.M)
    assert needs == ["torch", "numpy", "scipy", "pandas"]


def test_the_changelog_has_this_version_and_its_date():
    released = yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"]
    assert f"\n## {entropy_lib.__version__} ({released})\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("name", "least"), [("book", {"lint", "test", "book", "pdf"}), ("release", {"book", "archive"})]
)
def test_the_workflows_call_targets_that_exist(name, least):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {target for step in steps for target in re.findall(r"\bmake (\w+)", step)}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert least <= called <= targets


def test_the_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == entropy_lib.__version__ and citation["license"] == "MIT"
    assert "Meni" in [author["family-names"] for author in citation["references"][0]["authors"]]


# --- Wherever it is asked for ------------------------------------------------------------------------

BARE = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ENTROPY"))}


def bin_of(environment: Path, name: str) -> str:
    return str(environment / "bin" / name)


@pytest.mark.slow
def test_the_library_alone_imports_in_an_empty_environment_and_brings_no_command(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    install = [bin_of(tmp_path / "empty", "pip"), "install", "--quiet", "--disable-pip-version-check", ROOT]
    subprocess.run(install, check=True, cwd=tmp_path)
    program = "import entropy_lib, torch; print(entropy_lib.filter_flow(torch.nn.Linear(3, 2)).exact[0])"
    command = [bin_of(tmp_path / "empty", "python"), "-c", program]
    said = subprocess.run(command, cwd=tmp_path, env=BARE, capture_output=True, text=True)
    assert said.returncode == 0 and float(said.stdout) < 5, said.stderr
    assert not (tmp_path / "empty" / "bin" / "entropy-book").exists()


@pytest.mark.slow
def test_a_chapter_runs_by_papermill_from_any_folder(tmp_path):
    chapter = tmp_path / "claims.ipynb"
    convert = [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", "--output", chapter]
    subprocess.run([*convert, ROOT / "notebooks" / "claims.md"], check=True)
    command = [sys.executable, "-m", "papermill", chapter, tmp_path / "executed.ipynb", "--kernel", "python3"]
    said = subprocess.run(command, cwd=tmp_path, env=BARE, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
    assert "data-claim" in (tmp_path / "executed.ipynb").read_text(encoding="utf-8")


@pytest.mark.slow
def test_dask_workers_started_anywhere_find_the_experiments(tmp_path):
    from distributed import Client

    from replication.experiments.autoencoder.experiment import AUTOENCODER
    from replication.sweep.run import Where, run
    from replication.sweep.store import Store
    from tests.helpers import digits_trials

    dask, known = [sys.executable, "-m", "distributed.cli.dask_scheduler"], tmp_path / "scheduler.json"
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard"]
    started = [
        subprocess.Popen([*dask, "--port", "0", "--no-dashboard", "--scheduler-file", known], cwd=tmp_path, env=BARE),
        subprocess.Popen([*worker, "--scheduler-file", known], cwd=tmp_path, env=BARE),
    ]
    try:
        with Client(scheduler_file=str(known), timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            address = client.scheduler.address
        trials = digits_trials(horizon=1, seeds=(0,))
        assert run(AUTOENCODER, trials, Store(tmp_path / "records"), Where(cluster=address, progress=False)) == 3
    finally:
        for process in started:
            process.terminate()
            process.wait()
