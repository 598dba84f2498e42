"""The archive that libraries keep: book, records, claims, verdicts, environment and code, described as an RO-Crate.

What is said of the project stands in `CITATION.cff` alone; the crate and Zenodo's metadata are made from it.
Source of the format: RO-Crate 1.3, https://w3id.org/ro/crate/1.3.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from replication import ROOT
from replication.files import write_atomically
from replication.pages.verdicts import disagreeing
from replication.verdicts import ledger

BUILD = ROOT / "_build"
_MIT = "https://spdx.org/licenses/MIT"
# What a library's reader is told of, a file or a folder each; the rest of the checkout lies beside it.
PARTS: Mapping[str, tuple[str, str]] = {
    "html": (
        "The book",
        "All pages as they were built, to be opened at index.html; nothing is fetched from elsewhere.",
    ),
    "verdicts.json": (
        "Verdicts",
        "Each claim with its verdict, its effect and the ends of its 95% interval, null where there is none.",
    ),
    "claims.yml": ("Claims", "What the paper and others say, where, and the test of each, fixed before its runs."),
    "plan.yml": ("Plan", "Runs that were fixed beforehand: measures, windows, margins, cells and seeds."),
    "results": ("Records", "Parquet files of trained networks, immutable, each with its settings and a checksum."),
    "notebooks": ("Chapters", "The pages that compute, as notebooks in MyST Markdown without outputs."),
    "entropy_lib": ("The library", "Entropy changes of layers, and the losses built on them, for PyTorch."),
    "replication": ("The replication", "Data, networks, experiments, tests of claims, and what builds the book."),
    "tests": ("Tests", "The test suite, with a second reading of every empirical claim."),
    "constraints.txt": ("Environment for pip", "Every version that the project was built and tested with."),
    "environment.yml": ("Environment for conda", "The same versions of what the project uses directly."),
    "Dockerfile": ("Environment for Docker", "An image from the same versions that builds and serves the book."),
    "README.md": ("Read me", "How to read the book, rerun a chapter, and use the library."),
    "CITATION.cff": ("Citation", "How to cite the replication, and the paper."),
    "LICENSE": ("License", "The MIT License."),
}


def citation() -> dict[str, Any]:
    """What `CITATION.cff` says."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return found


def zenodo(cited: Mapping[str, Any]) -> dict[str, Any]:
    """Zenodo's metadata of a citation, as `.zenodo.json` holds it.

    Source of the names: Zenodo's developers' documentation, deposit metadata.
    """
    (paper,) = cited["references"]
    return {
        "title": cited["title"],
        "upload_type": "software",
        "version": cited["version"],
        "publication_date": str(cited["date-released"]),
        "description": cited["abstract"],
        "creators": [{"name": author["name"]} for author in cited["authors"]],
        "keywords": cited["keywords"],
        "license": cited["license"].lower(),
        "related_identifiers": [
            {"identifier": paper["doi"], "relation": "isDerivedFrom", "scheme": "doi"},
            {"identifier": paper["url"], "relation": "isDerivedFrom", "scheme": "url"},
        ],
    }


def described(folder: Path, cited: Mapping[str, Any], commit: str) -> None:
    """Write `ro-crate-metadata.json` into a folder that holds the parts.

    Args:
        folder: what is described.
        cited: what `CITATION.cff` says.
        commit: of the checkout that the folder was made from.

    Raises:
        FileNotFoundError: a part that the folder lacks.
    """
    crate = ROCrate()
    root = crate.root_dataset
    (author,) = cited["authors"]
    crate.add(ContextEntity(crate, "#founders", {"@type": "Organization", "name": author["name"]}))
    license_ = {"@type": "CreativeWork", "name": "MIT License", "description": "Do what you like, keep the notice."}
    crate.add(ContextEntity(crate, _MIT, license_))
    (paper,) = cited["references"]
    address = f"https://doi.org/{paper['doi']}"
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    article = {"name": paper["title"], "author": names, "sameAs": paper["url"], "datePublished": str(paper["year"])}
    crate.add(ContextEntity(crate, address, {"@type": "ScholarlyArticle", **article}))
    root.properties().update({
        "name": cited["title"], "description": cited["abstract"], "version": cited["version"],
        "datePublished": str(cited["date-released"]),
        "keywords": cited["keywords"], "author": {"@id": "#founders"}, "publisher": {"@id": "#founders"},
        "license": {"@id": _MIT}, "isBasedOn": {"@id": address}, "citation": {"@id": address},
        "identifier": f"commit {commit}",
    })  # fmt: skip
    for path, (name, description) in PARTS.items():
        place = folder / path
        if not place.exists():
            raise FileNotFoundError(f"the archive lacks {path}: {name.lower()}")
        about = {"name": name, "description": description}
        if place.is_dir():
            crate.add_dataset(place, path, properties=about)
        else:
            crate.add_file(place, path, properties=about | {"contentSize": str(place.stat().st_size)})
    crate.metadata.write(folder)


def archive() -> Path:
    """One zip of the built book, the verdicts, and every file of the commit that is checked out; return its path.

    Former archives are removed.

    Raises:
        FileNotFoundError: there is no built book.
        RuntimeError: one that says something else than the records; no checkout of git, or one with changes that are
            not committed.
    """
    rows = ledger.rows()
    if stale := disagreeing(BUILD / "html", rows):
        raise RuntimeError(f"the built book is of other records ({', '.join(stale)}); `make book` renews it")
    if changed := _git("status", "--porcelain", "--untracked-files=no").split("\n")[:-1]:
        raise RuntimeError(f"an archive is one of a commit; not committed: {', '.join(line[3:] for line in changed)}")
    cited = citation()
    folder = BUILD / "archive" / f"entropy-replication-{cited['version']}"
    shutil.rmtree(folder.parent, ignore_errors=True)
    for name in _git("ls-files", "-z").split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(BUILD / "html", folder / "html")
    rows.to_json(folder / "verdicts.json", orient="records", indent=1, force_ascii=False)
    described(folder, cited, _git("rev-parse", "HEAD").strip())
    target = folder.with_name(f"{folder.name}.zip")
    write_atomically(target, lambda path: Path(shutil.make_archive(str(path), "zip", folder)).replace(path))
    shutil.rmtree(folder)
    return target


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"an archive is made in a checkout of git: {found.stderr.strip()}")
    return found.stdout


if __name__ == "__main__":  # `make versions` keeps the output as .zenodo.json
    print(json.dumps(zenodo(citation()), indent=2, ensure_ascii=False))
