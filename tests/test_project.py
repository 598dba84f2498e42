"""The house: pins agree, floors hold, derivations need SymPy alone, data and errors are what they say."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest
import torch
import yaml
from typer.testing import CliRunner

from replication import cli
from replication.data import registry
from replication.data.dataset import MissingData
from replication.experiments import registry as experiments
from replication.experiments.autoencoder.experiment import AUTOENCODER
from replication.experiments.experiment import Plan
from replication.files import digest, write_atomically
from replication.paper import COEFFICIENTS
from replication.provenance import source_hash

ROOT = Path(__file__).parents[1]
THEORY = ["entropy", "dense", "convolutions", "corollary-6", "losses", "limits"]


def pins(path: str) -> dict[str, str]:
    lines = (ROOT / path).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_conda_and_pip_have_the_same_versions():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert dict(pin.split("==") for pin in pip) == pins("requirements.txt")


def test_constraints_hold_every_requirement_at_its_pin():
    constraints = {name.lower().replace("_", "-"): version for name, version in pins("constraints.txt").items()}
    for name, version in pins("requirements.txt").items():
        if name != "ruff":
            assert constraints[name.lower().replace("_", "-")] == version, name


def test_requirements_cover_what_pyproject_declares():
    named = set()
    for path in ("pyproject.toml", "replication/pyproject.toml"):
        project = tomllib.loads((ROOT / path).read_text())["project"]
        listed = [*project["dependencies"], *project.get("optional-dependencies", {}).get("test", [])]
        named |= {re.split(r"[<>=]", name)[0] for name in listed}
    assert named - {"entropy_lib"} == set(pins("requirements.txt"))


def contracts(folder: Path) -> subprocess.CompletedProcess:
    """What import-linter says of the two packages in a folder."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


FORBIDDEN = {
    "the library imports the replication": ("entropy_lib/flow.py", "import replication.files"),
    "from its package": ("entropy_lib/flow.py", "from replication import files"),
    "within a function": ("entropy_lib/theory/exact.py", "def f():\n    from replication.files import digest"),
    "theory imports guidance": ("entropy_lib/theory/change.py", "from entropy_lib import guidance"),
    "another library": ("entropy_lib/layers.py", "import matplotlib.pyplot"),
    "a floor above": ("replication/sweep/store.py", "from replication.experiments import registry"),
    "an experiment imports a verdict": (
        "replication/experiments/training.py",
        "from replication.verdicts import ledger",
    ),
    "training imports a plot": ("replication/experiments/cnn/experiment.py", "from replication.pages import plots"),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    for package in ("entropy_lib", "replication"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_import_is_refused(copied, name):
    path, line = FORBIDDEN[name]
    before = (copied / path).read_text()
    (copied / path).write_text(f"{before}\n{line}\n")
    try:
        said = contracts(copied)
    finally:
        (copied / path).write_text(before)
    assert said.returncode != 0 and "BROKEN" in said.stdout


def test_the_floors_hold(copied):
    said = contracts(copied)
    assert said.returncode == 0 and " 0 broken" in said.stdout, said.stdout


def live_cells(name: str) -> list[str]:
    notebook = jupytext.read(ROOT / "notebooks" / f"{name}.md")
    return [cell.source for cell in notebook.cells if "live" in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("name", THEORY)
def test_derivations_run_with_sympy_alone(name):
    """In a fresh process, in order, with every other third-party import refused."""
    cells = live_cells(name)
    assert len(cells) >= 8
    program = "\n".join(
        [
            "import sys, sympy",
            "class Refuse:",
            "    def find_spec(self, name, path=None, target=None):",
            "        if name.split('.')[0] in 'torch numpy scipy matplotlib pandas entropy_lib replication'.split():",
            "            raise ImportError(f'a derivation imports {name}')",
            "sys.meta_path.insert(0, Refuse())",
            *cells,
        ]
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.count("✓") >= 8


@pytest.mark.parametrize("name", THEORY + ["autoencoder", "entropy-flow", "classifiers", "imagenette", "unet"])
def test_every_chapter_has_two_exercises_with_solutions(name):
    text = (ROOT / "notebooks" / f"{name}.md").read_text()
    exercises = re.findall(r"\{exercise-start\}\n:label: (\S+)", text)
    assert len(exercises) >= 2 and exercises == re.findall(r"\{solution-start\} (\S+)", text)


def test_a_false_step_fails():
    check = live_cells("dense")[0]
    program = check + '\ncheck(1 == 2, "one is two")'
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode != 0 and "this step is false: one is two" in finished.stderr


def test_importing_the_library_or_its_plots_needs_no_torch():
    program = "import sys, replication.pages.plots, replication.paper; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_public_names_need_only_what_the_package_requires():
    """`pip install .` brings torch, numpy, scipy and pandas; importing must ask for no more."""
    extra = {
        "matplotlib",
        "replication",
        "pydantic",
        "sklearn",
        "statsmodels",
        "pyarrow",
        "yaml",
        "tqdm",
        "distributed",
        "typer",
        "sympy",
        "IPython",
        "papermill",
    }
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {extra!r}:
            raise ImportError(name)
import torch, pandas, scipy.linalg
sys.meta_path.insert(0, Refuse())
import entropy_lib
for name in entropy_lib.__all__:
    getattr(entropy_lib, name)
entropy_lib.filter_flow(torch.nn.Linear(3, 2))
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-1000:]


def test_no_outputs_are_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert not [name for name in tracked if name.endswith(".ipynb")]


def test_write_atomically_leaves_nothing_behind_on_failure(tmp_path):
    target = tmp_path / "deep" / "file"
    write_atomically(target, lambda path: path.write_text("old"))

    def fail(path):
        path.write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_atomically(target, fail)
    assert target.read_text() == "old" and [p.name for p in target.parent.iterdir()] == ["file"]


def test_digest_separates_its_parts():
    assert digest("ab", "c") != digest("a", "bc") and len(digest("x")) == 16 and source_hash() == source_hash()


def test_digits_have_disjoint_splits_in_the_unit_interval():
    digits = registry.load("digits")
    assert [len(digits.labels[split]) for split in ("train", "validation", "test")] == [1197, 300, 300]
    images = torch.cat(list(digits.images.values()))
    assert images.shape == (1797, 1, 8, 8) and images.min() == 0 and images.max() == 1
    assert digits.flat("test").shape == (300, 64)


def test_missing_mnist_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_DATA", str(tmp_path))
    with pytest.raises(MissingData, match="entropy-book data mnist"):
        registry.load("mnist")
    with pytest.raises(KeyError, match="digits, mnist"):
        registry.load("imagenet")


def test_sweep_runs_on_processes_and_on_a_local_cluster(tmp_path, monkeypatch):
    tiny = [Plan.of("digits", [0], latent=[4, 5], coefficient=list(COEFFICIENTS), horizon=1)]
    small = replace(AUTOENCODER, profiles={"quick": tiny})
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"autoencoder": small})
    arguments = ["sweep", "autoencoder", "--data", "digits", "--records", str(tmp_path)]
    for extra, done in ((["--workers", "2"], "14 trials trained"), ([], "14 were there")):
        finished = CliRunner().invoke(cli.app, [*arguments, *extra])
        assert finished.exit_code == 0 and done in finished.output, finished.output
    elsewhere = CliRunner().invoke(cli.app, [*arguments[:-1], str(tmp_path / "dask"), "--cluster", "local"])
    assert "14 trials trained" in elsewhere.output, elsewhere.output
    refused = CliRunner().invoke(cli.app, ["sweep", "autoencoder", "--data", "mnist"])
    assert isinstance(refused.exception, KeyError) and "it has digits" in str(refused.exception)


COMMANDS = {
    "no arguments": ([], 2, "Usage"),
    "help": (["--help"], 0, "sweep"),
    "records": (["records", "results"], 0, "are valid"),
    "data": (["data", "digits"], 0, "UCI"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    words, status, text = COMMANDS[name]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == status and text in result.output


MISTAKES = {
    "chapter": (["run", "autoencodre"], "autoencoder, claims"),
    "profile": (["run", "autoencoder", "--profile", "huge"], "quick, laptop, paper"),
    "parameter": (["run", "autoencoder", "-p", "sedes", "3"], "device, latents, profile, seeds"),
    "assignment": (["run", "autoencoder", "-p", "seeds"], "-p takes a name and a value"),
    "experiment": (["sweep", "autoencodre"], "autoencoder, cnn, flow"),
    "sweep profile": (["sweep", "autoencoder", "--profile", "huge"], "quick, laptop, paper"),
    "records": (["records", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_that_lists_the_right_words(name, monkeypatch, capsys):
    words, text = MISTAKES[name]
    monkeypatch.setattr(sys, "argv", ["entropy-book", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("error: ") and text in error and error.count("\n") == 1
