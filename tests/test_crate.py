"""The archive for libraries: what it says agrees with the citation, and it names what lies in it."""

import json

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
    crate.described(parts, cited, "abc123", "2026-01-02T03:04:05+00:00")
    graph = json.loads((parts / "ro-crate-metadata.json").read_text())["@graph"]
    told = {entity["@id"]: entity for entity in graph}
    root = told["./"]
    assert {part["@id"].rstrip("/") for part in root["hasPart"]} == set(crate.PARTS)
    assert (root["name"], root["version"], root["description"]) == (cited["title"], cited["version"], cited["abstract"])
    assert root["identifier"] == "commit abc123" and root["datePublished"] == "2026-01-02T03:04:05+00:00"
    assert told[root["author"]["@id"]]["name"] == cited["authors"][0]["name"]
    assert root["license"]["@id"].endswith(cited["license"])
    (paper,) = cited["references"]
    assert told[root["isBasedOn"]["@id"]]["name"] == paper["title"] and paper["doi"] in root["isBasedOn"]["@id"]
    assert told["claims.yml"]["contentSize"] == "4"


def test_what_an_archive_lacks_is_named(parts):
    (parts / "claims.yml").unlink()
    with pytest.raises(FileNotFoundError, match=r"the archive lacks claims.yml"):
        crate.described(parts, crate.citation(), "abc123", "2026-01-02")


def test_an_archive_is_one_of_a_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(crate, "BUILD", tmp_path)
    with pytest.raises(FileNotFoundError, match="make book"):
        crate.archive()
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("")
    monkeypatch.setattr(crate, "_git", lambda *words: " M claims.yml\n")
    with pytest.raises(RuntimeError, match=r"not committed: claims.yml"):
        crate.archive()
    monkeypatch.undo()
    monkeypatch.setattr(crate, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="checkout of git"):
        crate._git("status")
