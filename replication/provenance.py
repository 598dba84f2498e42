"""Where a record comes from: the code, the commit, the versions and the machine."""

import ast
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from entropy_lib import __version__
from replication import ROOT
from replication.files import digest

PACKAGES = ("entropy_lib", "replication")
# What draws and prints: no training and no verdict rests on it.
_SHOWN = ("replication/pages", "replication/cli.py", "figures.py")


def modules() -> dict[str, Path]:
    """Every module of the two packages, with its file."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = {}
    for path in files:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def code(names: Iterable[str]) -> dict[str, str]:
    """Fingerprint of the code of each named module; comments, docstrings and layout do not count."""
    files = modules()
    return {name: _code(files[name], files[name].stat().st_mtime_ns) for name in sorted(names) if name in files}


@cache
def _code(path: Path, changed: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:]
    return digest(ast.dump(tree))


def computing() -> dict[str, str]:
    """Fingerprints of the modules on which trainings and verdicts rest."""
    files = {name: path.relative_to(ROOT).as_posix() for name, path in modules().items()}
    return code(name for name, path in files.items() if not any(part in path for part in _SHOWN))


def source_hash() -> str:
    """Fingerprint of every source file of the library and the replication."""
    files = modules().values()
    # As text: a checkout may have other ends of lines.
    texts = ((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files)
    return digest(*(part for both in texts for part in both))


@cache
def commit() -> str:
    """The commit of the checkout, with a plus where files differ from it; empty without git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + "+" * bool(dirty.stdout.strip())


def machine(device: str = "cpu") -> dict[str, object]:
    """Versions and hardware, as records and figures state them."""
    cuda = torch.device(device).type == "cuda"
    return {
        "library": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
    }
