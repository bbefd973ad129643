"""The crate describes the bundle's files and its run, and says nothing of the machine."""

import getpass
import hashlib
import json
import os
import socket
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

import releases

ARGUMENTS = {
    "title": "A study of β-catenin",
    "permit": "Permit 2026-1",
    "software": {"polars": "2.1.0", "Snakemake": "9.10"},
}


@pytest.fixture
def bundle(tmp_path):
    releases.draft(tmp_path / "bundle", **ARGUMENTS)
    return tmp_path / "bundle"


def graph(folder):
    text = (folder / "ro-crate-metadata.json").read_text(encoding="utf-8")
    entities = json.loads(text)["@graph"]
    assert len({entity["@id"] for entity in entities}) == len(entities)
    return {entity["@id"]: entity for entity in entities}


def test_another_reader_finds_the_run_and_its_files(bundle):
    crate = ROCrate(bundle)
    assert crate.mainEntity.id == "workflow.cwl"
    (run,) = crate.get_by_type("CreateAction")
    assert run["instrument"] == crate.mainEntity
    assert run["agent"]["name"] == "north"
    assert run["startTime"] == run["endTime"] == "2026-06-01T09:00:00+00:00"
    expected = {path.relative_to(bundle).as_posix() for path in bundle.glob("tables/*")}
    assert {file.id for file in run["result"]} == expected | {"disclosure.json"}
    assert ARGUMENTS["title"] in crate.description
    assert ARGUMENTS["permit"] in crate.license["description"]
    software = {s["name"]: s["softwareVersion"] for s in crate.get_by_type("SoftwareApplication")}
    assert software == ARGUMENTS["software"] | {"IHDSI cohort pipeline": "0.1.0"}


def test_files_are_described_as_they_are(bundle):
    files = [e for e in graph(bundle).values() if "File" in e["@type"]]
    assert len(files) == len(list(bundle.glob("tables/*"))) + 2
    for entity in files:
        content = (bundle / entity["@id"]).read_bytes()
        assert entity["contentSize"] == str(len(content))
        if "sha256" in entity:
            assert entity["sha256"] == hashlib.sha256(content).hexdigest()


def test_every_reference_is_to_an_entity_or_an_address(bundle):
    entities = graph(bundle)

    def references(value):
        if isinstance(value, list):
            for part in value:
                yield from references(part)
        elif isinstance(value, dict):
            yield value["@id"]

    for entity in entities.values():
        for value in entity.values():
            for reference in references(value):
                assert reference in entities or reference.startswith("https://"), reference


def test_equal_arguments_give_equal_bytes(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Seoul")
    releases.draft(tmp_path / "again", **ARGUMENTS)
    name = "ro-crate-metadata.json"
    assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes()
    assert hash_of_version(tmp_path, {"polars": "2.1.1"}) != hash_of_version(tmp_path, {})


def hash_of_version(folder, software):
    releases.draft(folder / "other", software=software)
    return hashlib.sha256((folder / "other" / "ro-crate-metadata.json").read_bytes()).digest()


def test_nothing_of_the_machine_is_in_it(bundle):
    text = (bundle / "ro-crate-metadata.json").read_text(encoding="utf-8")
    words = {str(bundle), str(Path.cwd()), str(Path.home()), "arcp:", "file:", "uuid"}
    # A name as common as "root" or "lab" may be part of another word.
    words |= {word for word in (socket.gethostname(), os.uname().nodename) if len(word) > 4}
    words |= {f"/{getpass.getuser()}/", f"/home/{getpass.getuser()}"}
    assert not [word for word in words if word and word in text]


def test_without_a_time_there_is_no_date(tmp_path):
    releases.draft(tmp_path / "bundle", created=None)
    entities = graph(tmp_path / "bundle")
    assert "datePublished" not in entities["./"]
    assert "endTime" not in entities["#run-1"]


def test_software_names_that_would_share_an_identifier(tmp_path):
    releases.draft(
        tmp_path / "bundle", software={"bwa-mem2": "2", "bwa mem2": "3", "BWA-MEM2": "4"}
    )
    found = [e for e in graph(tmp_path / "bundle").values() if e["@type"] == "SoftwareApplication"]
    assert len(found) == 4
