"""Intake is all or nothing, and reads only what was verified."""

import json
import types

import polars as pl
import pytest

from ihdsi.errors import InputError, Problem
from ihdsi.meta import intake


@pytest.fixture
def accept(monkeypatch):
    """`accept_bundle` with a bundle verifier that refuses a folder holding the file `bad`."""
    opened = []

    def open_bundle(folder, study_hash, site):
        opened.append(folder)
        if (folder / "bad").exists() or study_hash != "hash":
            raise InputError(Problem("the bundle does not verify", "Release it again.", folder))
        return types.SimpleNamespace(upgraded=(), tables={})

    monkeypatch.setattr(intake, "open_bundle", open_bundle)
    return intake.accept_bundle, opened


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "exchange" / "lih"
    (folder / "tables").mkdir(parents=True)
    pl.DataFrame({"x": [1, 2]}).write_parquet(folder / "tables" / "cohort_profile.parquet")
    (folder / "manifest.json").write_text(json.dumps({"sequence": 3}))
    (folder / "disclosure.json").write_text("{}")
    return folder


def test_a_good_bundle_is_copied_and_recorded(accept, bundle, tmp_path):
    accept_bundle, opened = accept
    target = tmp_path / "meta" / "intake" / "lih"
    record = accept_bundle(bundle, "hash", "lih", target)
    assert sorted(path.name for path in target.iterdir()) == [
        "accepted.json",
        "cohort_profile.parquet",
        "disclosure.json",
    ]
    assert record["manifest"] == {"sequence": 3}
    assert record["tables"]["cohort_profile"]["rows"] == 2
    assert json.loads((target / "accepted.json").read_text()) == record
    assert len(opened) == 2
    assert opened[1] != bundle  # the copy was verified as well


def test_a_bad_bundle_leaves_the_earlier_intake_untouched(accept, bundle, tmp_path):
    accept_bundle, _ = accept
    target = tmp_path / "meta" / "intake" / "lih"
    accept_bundle(bundle, "hash", "lih", target)
    before = (target / "accepted.json").read_bytes()
    (bundle / "bad").touch()
    with pytest.raises(InputError, match="does not verify"):
        accept_bundle(bundle, "hash", "lih", target)
    assert (target / "accepted.json").read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["lih"]


def test_a_later_release_replaces_the_earlier_one_as_a_whole(accept, bundle, tmp_path):
    accept_bundle, _ = accept
    target = tmp_path / "meta" / "intake" / "lih"
    accept_bundle(bundle, "hash", "lih", target)
    (bundle / "tables" / "cohort_profile.parquet").rename(bundle / "tables" / "qc_profile.parquet")
    accept_bundle(bundle, "hash", "lih", target)
    assert not (target / "cohort_profile.parquet").exists()
    assert (target / "qc_profile.parquet").exists()


def test_another_protocol_is_refused(accept, bundle, tmp_path):
    accept_bundle, _ = accept
    with pytest.raises(InputError):
        accept_bundle(bundle, "other", "lih", tmp_path / "intake" / "lih")
    assert not (tmp_path / "intake" / "lih").exists()
