"""The replication: experiments, their records, verdicts and pages, in a checkout of the project."""

from pathlib import Path

ROOT = Path(__file__).parent.parent

if not (ROOT / "claims.yml").is_file():
    raise ImportError(
        f"the replication works in a checkout of the project, and {ROOT} is none: claims, records and notebooks are "
        "not there; fetch the project and run `pip install --editable . --editable ./replication` in it"
    )
