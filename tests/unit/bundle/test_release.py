"""A release goes from candidate to sealed to opened, and no step accepts what is not its own."""

import json
import shutil
from datetime import date

import pytest

import releases
import signed_bundles as bundles
from ihdsi.bundle.manifest import MANIFEST_TYPE
from ihdsi.bundle.release import RELEASE_FILES, open_release, sign_candidate, verify_candidate
from ihdsi.bundle.signature import add_signature, verify
from ihdsi.errors import InputError
from ihdsi.files import sha256_of

KEYS = bundles.trust_store().sites["north"].producer


@pytest.fixture
def candidate(tmp_path):
    releases.draft(tmp_path / "candidate")
    return tmp_path / "candidate"


@pytest.fixture
def exchange(tmp_path, candidate):
    copy = shutil.copytree(candidate, tmp_path / "approved")
    releases.publish(copy, tmp_path / "exchange")
    return tmp_path / "exchange"


@pytest.fixture
def working(tmp_path):
    (tmp_path / "working").mkdir()
    return tmp_path / "working"


def check(folder, **changes):
    arguments = {
        "study_hash": releases.STUDY_HASH,
        "site": "north",
        "producer_keys": KEYS,
        "on": bundles.TODAY,
    } | changes
    return verify_candidate(folder, **arguments)


def refuse(exchange, working, match, **changes):
    before = releases.files_of(exchange)
    with pytest.raises(InputError, match=match) as caught:
        releases.opened(exchange, working, **changes)
    assert not list(working.iterdir())
    assert releases.files_of(exchange) == before
    assert caught.value.problems[0].remedy
    assert "working" not in str(caught.value)


def test_a_candidate_is_verified(candidate):
    assert set(releases.files_of(candidate)) == RELEASE_FILES
    assert check(candidate).manifest.sequence == 1
    assert check(candidate, producer_keys=None).manifest.site == "north"


def test_drafting_again_removes_the_old_signature_first(candidate, monkeypatch):
    monkeypatch.setattr(releases, "sign_candidate", lambda folder, signer: None)
    releases.draft(candidate, mean=4.0)
    with pytest.raises(InputError, match="lacks this file"):
        check(candidate)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"site": "south"}, "bundle of site 'north'"),
        ({"study_hash": "cd" * 32}, "another protocol"),
        ({"on": date(2027, 1, 1)}, "expired"),
        ({"producer_keys": ()}, "another key"),
        ({"producer_keys": bundles.trust_store().sites["south"].producer}, "another key"),
    ],
)
def test_a_candidate_of_another(candidate, changes, match):
    with pytest.raises(InputError, match=match):
        check(candidate, **changes)


@pytest.mark.parametrize("keys", [KEYS, None])
def test_a_candidate_whose_manifest_was_changed_after_signing(candidate, keys):
    path = candidate / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"0.1.0"', b'"0.1.1"'))
    with pytest.raises(InputError, match="not the one that was signed"):
        check(candidate, producer_keys=keys)


def test_what_is_approved_already_is_no_candidate(candidate):
    path = candidate / "manifest.dsse.json"
    path.write_bytes(add_signature(path.read_bytes(), MANIFEST_TYPE, bundles.NORTH.steward))
    with pytest.raises(InputError, match="producer alone"):
        check(candidate)


def test_what_is_sealed_opens(exchange, working, candidate):
    found = releases.opened(exchange, working)
    assert {path.name for path in exchange.iterdir()} == {"bundle-1.tar.c4gh", "seal.dsse.json"}
    assert list(working.iterdir()) == [found.folder]
    files = releases.files_of(found.folder)
    expected = releases.files_of(candidate)
    assert set(files) == RELEASE_FILES
    changed = {name for name in files if files[name] != expected[name]}
    assert changed == {"manifest.dsse.json"}
    assert found.seal.sequence == found.bundle.manifest.sequence == 1
    assert found.seal.manifest_sha256 == sha256_of(candidate / "manifest.json")
    assert found.signatures.payload == expected["manifest.json"]
    assert found.signatures.producer == KEYS[0]
    table = releases.tables()["mutation_burden"]
    assert found.bundle.tables["mutation_burden"].equals(table)


def test_both_signatures_are_in_the_envelope(tmp_path, exchange):
    envelope = (tmp_path / "approved" / "manifest.dsse.json").read_bytes()
    found = verify(envelope, MANIFEST_TYPE, bundles.trust_store(), "north", bundles.TODAY)
    assert found.payload == (tmp_path / "approved" / "manifest.json").read_bytes()


def test_a_later_release_stands_beside_the_first(tmp_path, exchange, working):
    first = releases.opened(exchange, working).seal.manifest_sha256
    second = tmp_path / "second"
    releases.draft(second, mean=4.0, sequence=2, earlier_manifests=[first])
    assert releases.publish(second, exchange).sequence == 2
    assert (exchange / "bundle-1.tar.c4gh").exists()
    found = releases.opened(exchange, working)
    assert found.bundle.manifest.earlier_manifests == [first]
    (exchange / "bundle-1.tar.c4gh").unlink()
    releases.opened(exchange, working)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"study": "other"}, "sealed for study"),
        ({"study_hash": "cd" * 32}, "another protocol"),
        ({"site": "south"}, "key of site 'north'"),
        ({"recipient": bundles.STRANGER.transport}, "not sealed for this coordinator"),
        ({"on": date(2027, 1, 1)}, "expired"),
        ({"store": bundles.trust_store(producer={"revoked": bundles.TODAY})}, "revoked"),
        ({"store": bundles.trust_store(steward={"revoked": bundles.TODAY})}, "revoked"),
        ({"store": bundles.trust_store(transport={"revoked": bundles.TODAY})}, "no transport key"),
    ],
)
def test_what_the_coordinator_does_not_expect(exchange, working, changes, match):
    refuse(exchange, working, match, **changes)


def test_no_release_at_all(tmp_path, working):
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", working, "cannot be read")


def test_no_place_to_work(exchange, tmp_path):
    with pytest.raises(InputError, match="no folder can be made"):
        releases.opened(exchange, tmp_path / "absent")


def test_a_bundle_without_its_seal_is_not_looked_at(exchange, working):
    (exchange / "seal.dsse.json").unlink()
    refuse(exchange, working, "cannot be read")


def test_a_seal_before_its_bundle(exchange, working):
    (exchange / "bundle-1.tar.c4gh").unlink()
    refuse(exchange, working, "cannot be read")


def test_sealing_refuses_what_is_no_signed_candidate(tmp_path, candidate):
    def attempt(change, match):
        copy = shutil.copytree(candidate, tmp_path / "copy")
        change(copy)
        with pytest.raises(InputError, match=match):
            releases.publish(copy, tmp_path / "exchange")
        shutil.rmtree(copy)
        assert not (tmp_path / "exchange" / "seal.dsse.json").exists()

    def other_manifest(copy):
        path = copy / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b'"0.1.0"', b'"0.1.1"'))

    attempt(other_manifest, "another manifest")
    attempt(lambda copy: (copy / "manifest.dsse.json").unlink(), "lacks this file")
    attempt(lambda copy: (copy / "notes.txt").touch(), "no part of it")
    attempt(lambda copy: sign_candidate(copy, bundles.NORTH.steward), "signed already")
    attempt(lambda copy: releases.publish(copy, tmp_path / "elsewhere"), "producer alone")


def test_another_steward_than_the_seals(exchange, tmp_path, working):
    second = bundles.signing_key(44)
    content = bundles.trust_store().model_dump()
    content["sites"]["north"]["steward"].append(bundles.entry(second))
    store = type(bundles.trust_store()).model_validate(content)
    releases.opened(exchange, working, store=store)
    files = releases.resigned(releases.files_of(tmp_path / "approved"), second=second)
    shutil.rmtree(working)
    working.mkdir()
    releases.put(exchange, files)
    refuse(exchange, working, "another steward", store=store)


@pytest.mark.parametrize(
    ("seal", "match"),
    [
        ({"sequence": 2}, "says sequence 1, the seal says 2"),
        ({"manifest_sha256": "0" * 64}, "inside"),
    ],
)
def test_seal_and_manifest_that_differ(exchange, tmp_path, working, seal, match):
    releases.put(exchange, releases.files_of(tmp_path / "approved"), **seal)
    refuse(exchange, working, match)


def test_a_study_in_the_manifest_that_is_not_the_seals(exchange, tmp_path, working):
    files = releases.relisted(releases.files_of(tmp_path / "approved"), study="other")
    releases.put(exchange, releases.resigned(files))
    refuse(exchange, working, "says study other, the seal says demo")


def test_messages_hold_no_control_characters_and_are_short(exchange, tmp_path, working):
    files = releases.files_of(tmp_path / "approved")
    hostile = "\x1b[2J\x1b]0;owned\x07\n" + "x" * 150
    files = releases.relisted(files, study_hash="cd" * 32, study_version=hostile)
    releases.put(exchange, releases.resigned(files))
    with pytest.raises(InputError, match="another protocol") as caught:
        releases.opened(exchange, working)
    assert str(caught.value).isprintable()
    document = json.loads(files["manifest.json"]) | {"k" * 100_000: 1}
    files["manifest.json"] = json.dumps(document).encode()
    releases.put(exchange, releases.resigned(files))
    with pytest.raises(InputError) as caught:
        releases.opened(exchange, working)
    assert len(str(caught.value)) < 1500


def test_only_input_errors_are_rewritten(exchange, working, monkeypatch):
    from ihdsi.bundle import release as module

    monkeypatch.setattr(module, "open_bundle", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_release(
            exchange,
            store=bundles.trust_store(),
            study=bundles.STUDY,
            study_hash=releases.STUDY_HASH,
            site="north",
            recipient=bundles.COORDINATOR,
            on=bundles.TODAY,
            working=working,
        )
    assert not list(working.iterdir())
