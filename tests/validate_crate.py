"""Validate an archive with the RO-Crate validator, in an environment that holds it: `make archive` calls this.

    python tests/validate_crate.py ARCHIVE.zip

The vocabulary that crates refer to is answered from the copy that the library rocrate carries: no network is needed.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import requests
import rocrate
from requests_cache import CachedRequest, CachedResponse, CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings

CONTEXT = "https://w3id.org/ro/crate/1.3/context"


def remember(cache: Path) -> None:
    """Put the vocabulary into a cache, as if it had been fetched."""
    asked = requests.Request("GET", CONTEXT).prepare()
    content = (Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_bytes()
    with CachedSession(str(cache), backend="sqlite", expire_after=-1) as session:
        told = {"Content-Type": "application/ld+json"}
        answer = CachedResponse(
            status_code=200, url=CONTEXT, content=content, headers=told, request=CachedRequest.from_request(asked)
        )
        session.cache.save_response(answer, session.cache.create_key(asked))


def faults(archive: Path) -> list[str]:
    """What the format requires and the archive lacks."""
    with tempfile.TemporaryDirectory() as folder:
        cache, opened = Path(folder, "cache"), Path(folder, "opened")
        remember(cache)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(opened)
        settings = ValidationSettings(
            rocrate_uri=str(opened), profile_identifier="ro-crate", requirement_severity=Severity.REQUIRED,
            cache_path=cache, offline=True, skip_availability_check=True,
        )  # fmt: skip
        found = services.validate(settings)
        return [f"{issue.check.identifier}: {issue.message}" for issue in found.get_issues()]


if __name__ == "__main__":
    (archive,) = sys.argv[1:]
    wrong = faults(Path(archive))
    print("\n".join(wrong) or f"{archive} is a valid RO-Crate")
    sys.exit(bool(wrong))
