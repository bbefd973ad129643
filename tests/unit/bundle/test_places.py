"""What is missing to release and to take in, said with its place."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from ihdsi.bundle.places import faults_of_intake, faults_of_release, places_of_site
from ihdsi.errors import InputError
from ihdsi.simulate.practice_keys import create_practice_keys
from ihdsi.study import IntakeSettings, Site, Study, load_study, study_hash

TODAY = date(2026, 1, 1)


@pytest.fixture
def configured(tmp_path, study_document):
    """A study with keys and one site, as files."""
    store = create_practice_keys(tmp_path / "keys", study_document["participants"], TODAY)
    study = {**study_document, "trust_store": str(store)}
    site = {
        "site": "alpha",
        "title": "Alpha",
        "country": "LU",
        "study": study["study"],
        "study_version": study["version"],
        "samples": "samples.tsv",
        "release": {
            "producer_key": str(tmp_path / "keys/alpha/producer"),
            "transport_key": str(tmp_path / "keys/alpha/transport"),
            "ledger": str(tmp_path / "ledger.sqlite"),
        },
    }
    return tmp_path, study, site


def written(folder, study, site):
    run = {"study": str(folder / "study.yaml"), "sites": [str(folder / "site.yaml")]}
    for name, document in (("study", study), ("site", site), ("config", run)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder / "config.yaml"


def test_places_of_a_site_that_has_everything(configured):
    folder, study, site = configured
    places = places_of_site(written(folder, study, site), "alpha")
    assert places.candidate == Path("results/tiny/sites/alpha/candidate")
    assert places.exchange == Path("exchange/tiny/alpha")
    assert places.populations == Path("results/tiny/sites/alpha/cleared/populations.parquet")
    assert places.release.ledger == str(folder / "ledger.sqlite")
    assert places.trust_store == folder / "keys/trust_store.yaml"


def test_a_site_that_is_not_run_here(configured):
    folder, study, site = configured
    with pytest.raises(InputError, match=r"'beta' is not run here \(sites: alpha\)"):
        places_of_site(written(folder, study, site), "beta")


def test_everything_that_is_missing_is_said_at_once(configured):
    folder, study, site = configured
    site["release"]["producer_key"] = str(folder / "absent")
    site["release"]["transport_key"] = str(folder / "gone")
    study["trust_store"] = str(folder / "nowhere.yaml")
    with pytest.raises(InputError) as caught:
        places_of_site(written(folder, study, site), "alpha")
    problems = caught.value.problems
    assert [problem.column for problem in problems[1:]] == [
        "release.producer_key",
        "release.transport_key",
    ]
    assert all(problem.row for problem in problems[1:])
    assert "nowhere.yaml" in str(problems[0].file)


def test_settings_that_are_missing(configured):
    folder, study, site = configured
    written(folder, study, site)
    without = Study.model_validate({**study, "trust_store": None})
    hospital = Site.model_validate({**site, "release": None})
    found = faults_of_release(without, "study.yaml", {"alpha": hospital}, {"alpha": "site.yaml"})
    assert [(problem.file, problem.column) for problem in found] == [
        ("study.yaml", "trust_store"),
        ("site.yaml", "release"),
    ]
    found = faults_of_intake(without, "study.yaml", None, "config.yaml", makes_keys=False)
    assert [problem.column for problem in found] == ["trust_store", "intake"]


def test_a_site_that_the_trust_store_does_not_know(configured):
    folder, study, site = configured
    create_practice_keys(folder / "keys", ["beta"], TODAY)
    found = faults_of_release(
        Study.model_validate(study),
        "study.yaml",
        {"alpha": Site.model_validate({**site, "release": None})},
        {"alpha": "site.yaml"},
    )
    assert "the trust store has no site 'alpha'" in found[0].what


def test_only_a_run_that_makes_practice_keys_does_without_their_files(study_document):
    study = Study.model_validate(
        {
            **study_document,
            "simulated": True,
            "trust_store": "results/tiny/simulated/keys/trust_store.yaml",
        }
    )
    intake = IntakeSettings(
        transport_key="results/tiny/simulated/keys/coordinator/transport",
        audit_log="results/tiny/meta/audit.jsonl",
    )
    assert faults_of_intake(study, "s.yaml", intake, "c.yaml", makes_keys=True) == []
    absent = faults_of_intake(study, "s.yaml", intake, "c.yaml", makes_keys=False)
    assert len(absent) == 2


def test_the_trust_store_is_no_part_of_the_protocol(configured):
    folder, study, site = configured
    written(folder, study, site)
    here = load_study(folder / "study.yaml")
    there = here.model_copy(update={"trust_store": "/elsewhere/trust.yaml"})
    assert study_hash(here) == study_hash(there)
