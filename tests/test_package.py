"""The package as a user gets it: examples in docstrings, the page of reference, the wheel."""

import doctest
import inspect
import re
import shutil
import subprocess
import sys
import zipfile

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
    assert "entropy_lib/py.typed" in names and "entropy_lib/theory/exact.py" in names
    assert not [name for name in names if not name.startswith("entropy_lib")]
    (points,) = [name for name in names if name.endswith("METADATA")]
    assert not [name for name in names if name.endswith("entry_points.txt")]  # no command that cannot start
    needs = re.findall(r"^Requires-Dist: (\w+)", zipfile.ZipFile(wheel).read(points).decode(), re.M)
    assert needs == ["torch", "numpy", "scipy", "pandas"]


def test_the_changelog_has_this_version():
    assert f"## {entropy_lib.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_calls_targets_that_exist():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {target for step in steps for target in re.findall(r"\bmake (\w+)", step)}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"lint", "test", "book", "pdf"} <= called <= targets


def test_the_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == entropy_lib.__version__ and citation["license"] == "MIT"
    assert "Meni" in [author["family-names"] for author in citation["references"][0]["authors"]]
