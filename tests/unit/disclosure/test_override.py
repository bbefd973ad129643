"""More membership power only with the steward's signature for this study, site and day."""

import base64
import json
from datetime import date

import pytest

from ihdsi.bundle.manifest import canonical_json
from ihdsi.bundle.signature import add_signature, sign
from ihdsi.disclosure.override import (
    OVERRIDE_TYPE,
    MembershipOverride,
    create_override,
    maximum_power_in_force,
    verify_override,
)
from ihdsi.errors import InputError
from ihdsi.study import DisclosureSettings
from signed_bundles import NORTH, SOUTH, STRANGER, TODAY, trust_store

HASH = "a" * 64
SETTINGS = DisclosureSettings()


def override(**changes):
    return MembershipOverride(
        **{
            "study": "demo",
            "study_hash": HASH,
            "site": "north",
            "maximum_membership_power": 0.3,
            "reason": "Data-access committee, minutes of 2 March 2026",
            "valid_until": date(2026, 6, 30),
        }
        | changes
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "override.dsse.json"


def in_force(path, settings=SETTINGS, store=None, study_hash=HASH, site="north", on=TODAY):
    store = trust_store() if store is None else store
    return maximum_power_in_force(settings, path, store, study_hash, site, on)


def test_a_signed_override_raises_the_limit_and_nothing_else(path):
    create_override(path, override(), NORTH.steward)
    assert verify_override(path, trust_store(), HASH, "north", TODAY) == override()
    settings, raised = in_force(path)
    assert raised
    assert settings == SETTINGS.model_copy(update={"maximum_membership_power": 0.3})


def test_without_an_override_and_with_a_lower_one_the_limit_stays(path):
    assert maximum_power_in_force(SETTINGS, None, None, HASH, "north", TODAY) == (SETTINGS, False)
    create_override(path, override(maximum_membership_power=0.06), NORTH.steward)
    assert in_force(path) == (SETTINGS, False)


@pytest.mark.parametrize(
    ("signer", "message"),
    [
        (NORTH.producer, "signed by the producer"),
        (SOUTH.steward, "expected site 'north'"),
        (STRANGER.steward, "does not know"),
    ],
)
def test_only_the_sites_own_steward_signs(path, signer, message):
    create_override(path, override(), signer)
    with pytest.raises(InputError, match=message):
        in_force(path)


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"study_hash": "b" * 64}, {}, "another study"),
        ({"site": "south"}, {}, "for site 'south'"),
        ({"valid_until": date(2026, 5, 31)}, {}, "expired after 2026-05-31"),
        ({}, {"on": date(2027, 1, 1)}, "expired"),
        ({}, {"study_hash": "b" * 64}, "another study"),
        ({}, {"store": trust_store(steward={"revoked": TODAY})}, "revoked"),
    ],
)
def test_an_override_of_something_else_stops_the_run(path, changes, given, message):
    create_override(path, override(**changes), NORTH.steward)
    with pytest.raises(InputError, match=message):
        in_force(path, **given)


def test_the_last_day_counts(path):
    create_override(path, override(valid_until=TODAY), NORTH.steward)
    assert in_force(path)[1]


def test_other_documents_and_altered_ones_are_refused(path):
    with pytest.raises(InputError, match="cannot be read"):
        in_force(path)
    payload = canonical_json(override().model_dump(mode="json"))
    path.write_bytes(sign(payload, "application/vnd.ihdsi.manifest+json", NORTH.steward))
    with pytest.raises(InputError, match="another kind of document"):
        in_force(path)
    envelope = sign(payload, OVERRIDE_TYPE, NORTH.steward)
    path.write_bytes(add_signature(envelope, OVERRIDE_TYPE, NORTH.producer))
    with pytest.raises(InputError, match="no place here"):
        in_force(path)
    create_override(path, override(), NORTH.steward)
    # Another limit in the base64 of the payload (0.3 to 0.9) under the old signature.
    document = json.loads(path.read_text())
    altered = base64.b64decode(document["payload"]).replace(b"0.3", b"0.9")
    document["payload"] = base64.b64encode(altered).decode()
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="does not fit the content"):
        in_force(path)
    path.write_bytes(sign(b'{"study": "demo"}', OVERRIDE_TYPE, NORTH.steward))
    with pytest.raises(InputError, match="malformed"):
        in_force(path)
    create_override(path, override(), NORTH.steward)
    with pytest.raises(InputError, match="no trust store"):
        maximum_power_in_force(SETTINGS, path, None, HASH, "north", TODAY)
