"""What a page or a verdict was made from, noted by the code that reads it.

Whoever opens records, data or a file calls :func:`note`; :func:`recording` collects what was noted meanwhile. A read is
a kind and a name with the fingerprint of what was there; :func:`changed` asks later whether that is still so.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from replication import ROOT
from replication.files import digest

_fingerprints: dict[str, Callable[[str], str]] = {}
# Of this whole process, a chapter's kernel for instance; above it the recordings that are open.
session: dict[str, str] = {}
_open = [session]


def offer(kind: str, fingerprint: Callable[[str], str]) -> None:
    """Make a kind of read known, with the function that gives the fingerprint that a name has now."""
    _fingerprints[kind] = fingerprint


def note(kind: str, name: str, fingerprint: str | None = None) -> None:
    """Something was read; the fingerprint is taken now unless given."""
    _open[-1][f"{kind} {name}"] = _fingerprints[kind](name) if fingerprint is None else fingerprint


def note_once(kind: str, name: str) -> None:
    """As :func:`note`, for what does not change while a process runs and takes time to look through."""
    if f"{kind} {name}" not in _open[-1]:
        note(kind, name)


@contextmanager
def recording() -> Iterator[dict[str, str]]:
    """Collect what is read within the block, apart from what was read outside of it."""
    noted: dict[str, str] = {}
    _open.append(noted)
    try:
        yield noted
    finally:
        _open.pop()


def changed(noted: Mapping[str, str]) -> list[str]:
    """Which of these reads would find something else now."""
    return [key for key, fingerprint in noted.items() if _now(key) != fingerprint]


def _now(key: str) -> str:
    kind, _, name = key.partition(" ")
    return _fingerprints[kind](name) if kind in _fingerprints else "unknown"


def read_text(path: Path) -> str:
    """A file's text, noted."""
    text = path.read_text(encoding="utf-8")
    note("file", _within(path), digest(text))
    return text


def is_file(path: Path) -> bool:
    """Whether there is such a file, noted: it may come."""
    if not path.is_file():
        note("file", _within(path))
    return path.is_file()


def _file(name: str) -> str:
    path = ROOT / name
    return digest(path.read_text(encoding="utf-8")) if path.is_file() else "absent"


def _records(name: str) -> str:
    """Names and contents: records never change, but disks do."""
    files = sorted(path for path in (ROOT / name).glob("[!.]*") if path.suffix in (".parquet", ".npz"))
    return digest(*(part for path in files for part in (path.name, path.read_bytes())))


def records(folder: Path) -> None:
    """The records in a folder were read; those that a build made for itself do not count."""
    name = _within(folder)
    if not name.startswith("_build/"):
        note("records", name)


def _within(path: Path) -> str:
    """Relative to the project where it lies there, so that a checkout may be moved."""
    path = path.absolute()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


offer("file", _file)
offer("records", _records)
