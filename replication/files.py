"""Files that are either whole or absent, and fingerprints of what they hold."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

_DAY = 24 * 60 * 60


def cache_path() -> Path:
    """Where decoded photographs and checkpoints lie: `$ENTROPY_CACHE`, or `~/.cache/entropy_lib`."""
    return Path(os.environ.get("ENTROPY_CACHE", Path.home() / ".cache" / "entropy_lib"))


def cache_folder() -> Path:
    """The same folder, made for whoever writes there.

    Raises:
        OSError: it cannot be made; the message says what names another.
    """
    found = cache_path()
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the cache {found} cannot be made ({error}); ENTROPY_CACHE names another folder") from error
    return found


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary neighbour of `path`, then rename it: a killed run leaves no half file.

    The neighbour has a random name, for two machines that share a folder may count processes alike. What a killed
    run left of it a day ago is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        if left.stat().st_mtime < time.time() - _DAY:
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write(temporary)
        with temporary.open("rb") as written:  # else a power cut could leave the new name with nothing in it
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def digest(*parts: bytes | memoryview | str) -> str:
    """Sixteen hexadecimal digits of SHA-256 over the parts, each preceded by its length."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "big"))
        total.update(raw)
    return total.hexdigest()[:16]
