"""The command line and the installation, as a machine may have them: odd folders, locales, copies, licences."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from replication import ROOT, cli
from replication.data.dataset import folder
from replication.files import cache_folder
from replication.sweep.checkpoints import forget


def command(monkeypatch, capsys, *arguments):
    """Exit status and what was said."""
    monkeypatch.setattr(sys, "argv", ["entropy-book", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code, " ".join((said.out + said.err).split())


REFUSED = {
    "no GPU": (("sweep", "autoencoder", "--device", "cuda:77"), "device must be a device of this machine"),
    "a device": (("sweep", "autoencoder", "--device", "tpu"), "device must be cpu, cuda or cuda:NUMBER"),
    "a profile": (("sweep", "autoencoder", "--profile", "huge"), "unknown profile 'huge'"),
    "a file for records": (("sweep", "autoencoder", "--records", str(ROOT / "README.md")), "is a file"),
    "a port": (("serve", "--port", "70000"), "Invalid value for '--port'"),
    "an image": (("flow", "vgg16", "--image", "8"), "Invalid value for '--image'"),
    "a section": (("claims", "--section", "99"), "no claim is of section '99'; known: 1, 3"),
    "an empty folder": (("records", str(ROOT / "book")), "there is no record in"),
    "seeds": (("run", "autoencoder", "-p", "seeds", "-1"), "seeds must be a whole number"),
    "latents": (("run", "autoencoder", "-p", "latents", "[0]"), "latents must be whole numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_a_line(name, monkeypatch, capsys):
    arguments, message = REFUSED[name]
    status, said = command(monkeypatch, capsys, *arguments)
    assert status and message in said


def test_a_folder_that_cannot_be_written_is_said_in_a_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENTROPY_CACHE", str(tmp_path / "file" / "cache"))
    forget(["a trial"])  # asks for no folder: most trainings keep no state
    with pytest.raises(OSError, match="ENTROPY_CACHE names another folder"):
        cache_folder()

    def read_only(*_):
        raise OSError(30, "Read-only file system", str(ROOT / "_build"))

    monkeypatch.setattr("replication.pages.book.run", read_only)
    status, said = command(monkeypatch, capsys, "run", "guide")
    assert status == 1 and said.startswith("error: [Errno 30] Read-only file system")


def test_relative_folders_are_the_callers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("ENTROPY_DATA", "ENTROPY_RESULTS", "ENTROPY_CACHE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("PYTHONUTF8", "0")
    cli._settle_environment()
    assert {os.environ[name] for name in ("ENTROPY_DATA", "ENTROPY_RESULTS", "ENTROPY_CACHE")} == {
        str(tmp_path / "mine")
    }
    monkeypatch.delenv("ENTROPY_DATA")
    assert folder() == ROOT / "data"


def test_an_8_bit_locale_is_no_obstacle():
    environment = os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    book = Path(sys.executable).with_name("entropy-book")
    ran = subprocess.run([book, "claims", "--section", "4"], env=environment, capture_output=True)
    assert b"codec" not in ran.stderr and b"holds" in ran.stdout


def test_a_copy_without_its_checkout_is_not_at_hand(tmp_path):
    shutil.copytree(ROOT / "replication", tmp_path / "replication", ignore=shutil.ignore_patterns("__pycache__"))
    alone = "import sys; sys.path.insert(0, '.'); import replication"
    ran = subprocess.run([sys.executable, "-P", "-c", alone], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert "ImportError: the replication works in a checkout" in ran.stderr


def reached(*projects: Path) -> set[str]:
    """Every distribution that the projects' requirements pull in here."""
    names, asked = set(), [line for path in projects for line in path.read_text(encoding="utf-8").splitlines()]
    waiting = [line for line in asked if re.match(r"[A-Za-z]", line)]
    while waiting:
        requirement = Requirement(waiting.pop().partition(" #")[0])
        name = requirement.name.lower().replace("_", "-")
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            waiting += importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        names.add(name)
    return names


def licence(name: str) -> str:
    about = importlib.metadata.metadata(name)
    classifiers = [each for each in about.get_all("Classifier") or [] if each.startswith("License")]
    first = (about.get("License") or "").strip().partition("\n")[0]
    return " ".join(filter(None, [about.get("License-Expression"), first, *classifiers]))


# docutils: public domain but for a few files, of which the one under the GPL is an editor's mode.
MIXED = {"docutils"}


def test_what_is_installed_may_stand_beside_an_mit_project():
    """Nothing asks that the project's own code be given away under its terms: no GPL of any kind but the lesser one."""
    names = reached(ROOT / "requirements.txt")
    assert {"torch", "numpy", "sphinx", "pydantic"} <= names
    strict = re.compile(r"(?<!Lesser )(?<!L)(?:AGPL|GPL|Affero|General Public License|SSPL|Commons Clause)", re.I)
    assert {name: licence(name) for name in names - MIXED if strict.search(licence(name))} == {}


def test_actions_are_pinned_by_commit_and_tokens_stay_out_of_addresses():
    text = (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) for name, _ in used)
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", version) for _, version in used)
    jobs = yaml.safe_load(text)["jobs"].values()
    steps = [step for job in jobs for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert steps and all(step["with"]["persist-credentials"] is False for step in steps)
    assert "x-access-token:$" not in text
