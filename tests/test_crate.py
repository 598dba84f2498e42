"""The archive for libraries: what it says agrees with the citation, and it names what lies in it."""

import json
import subprocess
import zipfile

import numpy as np
import pandas as pd
import pytest

import entropy_lib
from replication.pages import crate
from tests.test_project import ROOT

BUILT = {"html", "verdicts.json"}  # what a checkout lacks and a build adds


@pytest.fixture
def parts(tmp_path):
    """A folder with an empty thing for each part."""
    for name in crate.PARTS:
        if (ROOT / name).is_file() or name == "verdicts.json":
            (tmp_path / name).write_text("one\n")
        else:
            (tmp_path / name).mkdir()
    return tmp_path


def test_zenodo_is_told_what_the_citation_says():
    kept = json.loads((ROOT / ".zenodo.json").read_text())
    assert kept == crate.zenodo(crate.citation()), "`make versions` writes it anew"
    assert kept["version"] == entropy_lib.__version__ and kept["license"] == "mit"


def test_every_part_is_in_the_checkout_or_built():
    assert [name for name in crate.PARTS if not (ROOT / name).exists()] == sorted(BUILT)


def test_the_crate_says_what_the_citation_says_and_names_every_part(parts):
    cited = crate.citation()
    crate.described(parts, cited, "abc123")
    graph = json.loads((parts / "ro-crate-metadata.json").read_text())["@graph"]
    told = {entity["@id"]: entity for entity in graph}
    root = told["./"]
    assert {part["@id"].rstrip("/") for part in root["hasPart"]} == set(crate.PARTS)
    assert (root["name"], root["version"], root["description"]) == (cited["title"], cited["version"], cited["abstract"])
    assert root["identifier"] == "commit abc123" and root["datePublished"] == str(cited["date-released"])
    assert told[root["author"]["@id"]]["name"] == cited["authors"][0]["name"]
    assert root["license"]["@id"].endswith(cited["license"])
    (paper,) = cited["references"]
    assert told[root["isBasedOn"]["@id"]]["name"] == paper["title"] and paper["doi"] in root["isBasedOn"]["@id"]
    assert told["claims.yml"]["contentSize"] == "4"


def test_what_an_archive_lacks_is_named(parts):
    (parts / "claims.yml").unlink()
    with pytest.raises(FileNotFoundError, match=r"the archive lacks claims.yml"):
        crate.described(parts, crate.citation(), "abc123")


@pytest.fixture
def checkout(monkeypatch, tmp_path):
    """A repository of three files, whose built book agrees with the records."""
    (tmp_path / "claims.yml").write_text("one\n")
    (tmp_path / ".gitignore").write_text("_build\n")
    (tmp_path / "CITATION.cff").write_text((ROOT / "CITATION.cff").read_text())
    rows = pd.DataFrame([
        {"id": "first", "verdict": "holds", "effect": 0.5, "low": 0.1, "high": np.inf},
        {"id": "second", "verdict": "fails", "effect": np.nan, "low": np.nan, "high": np.nan},
    ])  # fmt: skip
    page = tmp_path / "_build" / "html" / "notebooks" / "claims.html"
    page.parent.mkdir(parents=True)
    said = "".join(f'<tr data-claim="{row.id}" data-verdict="{row.verdict}">' for row in rows.itertuples())
    page.write_text(said)
    named = {name: about for name, about in crate.PARTS.items() if name in (*BUILT, "claims.yml", "CITATION.cff")}
    for name, value in {"ROOT": tmp_path, "BUILD": tmp_path / "_build", "PARTS": named}.items():
        monkeypatch.setattr(crate, name, value)
    monkeypatch.setattr(crate.ledger, "rows", lambda: rows)
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*who, "commit", "--quiet", "--message", "one")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_an_archive_holds_the_commit_the_book_and_the_verdicts(checkout):
    left = checkout / "_build" / "archive" / "entropy-replication-0.0.1.zip"
    left.parent.mkdir()
    left.touch()
    made = crate.archive()
    assert list(made.parent.iterdir()) == [made]  # neither the folder nor an archive of another version
    packed = zipfile.ZipFile(made)
    files = {name for name in packed.namelist() if not name.endswith("/")}
    assert files == {
        "claims.yml", ".gitignore", "CITATION.cff", "html/notebooks/claims.html", "verdicts.json",
        "ro-crate-metadata.json",
    }  # fmt: skip
    first, second = json.loads(packed.read("verdicts.json"))
    assert (first["effect"], first["low"], first["high"]) == (0.5, 0.1, None) and second["effect"] is None
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    assert commit in packed.read("ro-crate-metadata.json").decode()


def test_an_archive_is_one_of_a_commit_and_of_a_book_of_its_records(checkout, monkeypatch):
    (checkout / "claims.yml").write_text("two\n")
    with pytest.raises(RuntimeError, match=r"not committed: claims.yml"):
        crate.archive()
    page = checkout / "_build" / "html" / "notebooks" / "claims.html"
    page.write_text(page.read_text().replace("fails", "holds"))
    with pytest.raises(RuntimeError, match=r"other records \(second\); `make book`"):
        crate.archive()
    page.unlink()
    with pytest.raises(FileNotFoundError, match="make book"):
        crate.archive()
    monkeypatch.setattr(crate, "ROOT", checkout.parent)
    with pytest.raises(RuntimeError, match="checkout of git"):
        crate._git("status")
