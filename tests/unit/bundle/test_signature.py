"""A payload is returned only if the site's keys of the asked roles signed these very bytes."""

import base64
import json
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ihdsi.bundle import foreign_json, signature
from ihdsi.bundle.signature import add_signature, sign, verify, verify_producer
from ihdsi.bundle.trust import TrustStore
from ihdsi.errors import InputError
from signed_bundles import NORTH, SOUTH, STRANGER, TODAY, signing_key, trust_store

TYPE = "application/vnd.ihdsi.test+json"
PAYLOAD = b'{"n": 3}\n'


def envelope(first=NORTH.producer, second=NORTH.steward, payload=PAYLOAD, kind=TYPE):
    return add_signature(sign(payload, kind, first), kind, second)


def check(data, store=None, site="north", on=TODAY, kind=TYPE, **roles):
    return verify(data, kind, store or trust_store(), site, on, "bundle.dsse.json", **roles)


def refused(data, match, **arguments):
    with pytest.raises(InputError, match=match) as error:
        check(data, **arguments)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].file == "bundle.dsse.json"
    assert error.value.problems[0].remedy


def changed(data, change):
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize("payload", [PAYLOAD, b"", bytes(range(256)) * 100])
def test_both_signatures_return_the_payload_in_either_order(payload):
    for data in (
        envelope(payload=payload),
        envelope(NORTH.steward, NORTH.producer, payload=payload),
    ):
        found = check(data)
        assert found.payload == payload
        assert found.producer == trust_store().sites["north"].producer[0]
        assert found.steward == trust_store().sites["north"].steward[0]


def test_the_signatures_are_those_of_the_dsse_specification():
    document = json.loads(envelope())
    message = b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(PAYLOAD), PAYLOAD)
    for entry, signer in zip(document["signatures"], (NORTH.producer, NORTH.steward), strict=True):
        key = bytes.fromhex(signer.public_key.keyval["public"])
        Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(entry["sig"]), message)


@pytest.mark.parametrize("role", ["producer", "steward"])
def test_one_signature_is_not_enough(role):
    other = {"producer": "steward", "steward": "producer"}[role]
    refused(sign(PAYLOAD, TYPE, getattr(NORTH, role)), f"{other} is missing")


def test_the_same_key_twice_is_refused():
    with pytest.raises(InputError, match="signed already"):
        envelope(NORTH.producer, NORTH.producer)
    data = changed(
        sign(PAYLOAD, TYPE, NORTH.producer),
        lambda d: d["signatures"].append(d["signatures"][0]),
    )
    refused(data, "signed twice")


def test_two_keys_of_one_role_are_refused():
    store = trust_store().model_dump()
    store["sites"]["north"]["producer"].append(
        trust_store().sites["south"].producer[0].model_dump()
    )
    del store["sites"]["south"]
    data = envelope(NORTH.producer, SOUTH.producer)
    refused(data, "two keys of the role", store=TrustStore.model_validate(store))


def test_one_key_in_both_roles_of_a_store_in_memory_is_refused():
    store = trust_store().model_dump()
    store["sites"]["north"]["steward"] = store["sites"]["north"]["producer"]
    refused(sign(PAYLOAD, TYPE, NORTH.producer), "missing", store=TrustStore.model_validate(store))


@pytest.mark.parametrize("role", ["producer", "steward"])
def test_where_one_role_is_asked_for_the_other_has_no_place(role):
    other = {"producer": "steward", "steward": "producer"}[role]
    found = check(sign(PAYLOAD, TYPE, getattr(NORTH, role)), roles=(role,))
    assert found.payload == PAYLOAD
    assert dict(found.signers) == {role: trust_store().sites["north"].of_role(role)[0]}
    with pytest.raises(KeyError):
        getattr(found, other)
    refused(envelope(), f"signed by the {other}", roles=(role,))
    refused(sign(PAYLOAD, TYPE, getattr(NORTH, other)), f"signed by the {other}", roles=(role,))
    for party, match in ((STRANGER, "does not know"), (SOUTH, "key of site 'south'")):
        refused(sign(PAYLOAD, TYPE, getattr(party, role)), match, roles=(role,))
    expired = trust_store(**{role: {"valid_until": date(2026, 5, 31)}})
    refused(sign(PAYLOAD, TYPE, getattr(NORTH, role)), "expired", roles=(role,), store=expired)


def test_a_draft_is_signed_by_a_producer_alone():
    keys = trust_store().sites["north"].producer
    draft = sign(PAYLOAD, TYPE, NORTH.producer)
    assert verify_producer(draft, TYPE, keys, TODAY) == PAYLOAD
    assert verify_producer(draft, TYPE, None, TODAY) == PAYLOAD
    other = sign(PAYLOAD, TYPE, STRANGER.producer)
    assert verify_producer(other, TYPE, None, TODAY) == PAYLOAD
    forged = changed(draft, lambda d: d["signatures"][0].update(sig="AAAA"))
    expired = trust_store(producer={"valid_until": date(2026, 5, 31)}).sites["north"].producer
    for data, some, match in (
        (other, keys, "another key"),
        (sign(PAYLOAD, TYPE, NORTH.steward), keys, "another key"),
        (draft, [], "another key"),
        (forged, keys, "does not fit"),
        (draft, expired, "expired"),
        (envelope(), keys, "producer alone"),
        (envelope(), None, "producer alone"),
        (sign(PAYLOAD, "application/other", NORTH.producer), None, "another kind"),
        (b"{}", None, "malformed"),
    ):
        with pytest.raises(InputError, match=match):
            verify_producer(data, TYPE, some, TODAY, "draft.json")


def test_three_signatures_are_refused():
    with pytest.raises(InputError, match="both signatures already"):
        add_signature(envelope(), TYPE, signing_key(40))
    extra = json.loads(sign(PAYLOAD, TYPE, signing_key(40)))["signatures"][0]
    refused(changed(envelope(), lambda d: d["signatures"].append(extra)), "malformed")


@pytest.mark.parametrize("role", ["producer", "steward"])
def test_unknown_keys_and_those_of_other_sites_are_refused(role):
    for party, match in ((STRANGER, "does not know"), (SOUTH, "key of site 'south'")):
        pair = {"producer": NORTH.producer, "steward": NORTH.steward}
        pair[role] = getattr(party, role)
        refused(envelope(pair["producer"], pair["steward"]), match)
    refused(envelope(), "key of site 'north'", site="south")
    refused(envelope(), "no site", site="west")


@pytest.mark.parametrize("role", ["producer", "steward"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"revoked": TODAY}, "revoked"),
        ({"valid_until": date(2026, 5, 31)}, "expired"),
        ({"valid_from": date(2026, 6, 2)}, "only from"),
    ],
)
def test_keys_out_of_date_are_refused(role, change, match):
    check(envelope())
    refused(envelope(), match, store=trust_store(**{role: change}))


def test_another_type_is_refused_even_if_the_envelope_is_relabelled():
    data = envelope(kind="application/other")
    refused(data, "another kind")
    refused(changed(data, lambda d: d.update(payloadType=TYPE)), "does not fit")


def test_another_payload_under_the_signatures_is_refused():
    data = changed(envelope(), lambda d: d.update(payload=base64.b64encode(b"other").decode()))
    refused(data, "does not fit")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no signature envelope"),
        (b"[]", "malformed"),
        (b"{}", "malformed"),
        (b"\xff\xfe", "no signature envelope"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b'{"payload": NaN}', "not JSON"),
        (b'{"payload": ' + b"9" * 10_000 + b"}", "no signature envelope"),
        (b" " * (signature.MAXIMUM_ENVELOPE_BYTES + 1), "more than"),
        (envelope().replace(b'"payload":', b'"payload": "", "payload":'), "twice"),
        (changed(envelope(), lambda d: d.update(more=1)), "malformed"),
        (changed(envelope(), lambda d: d["signatures"][0].update(sig="é")), "no signature"),
        (changed(envelope(), lambda d: d["signatures"][0].update(sig="")), "does not fit"),
        (changed(envelope(), lambda d: d["signatures"][0].update(keyid="x")), "malformed"),
        (changed(envelope(), lambda d: d.update(payload="eyJuIjogM30K\n")), "no signature"),
        (changed(envelope(), lambda d: d.update(signatures=[])), "malformed"),
    ],
)
def test_malformed_envelopes_are_refused(data, match):
    refused(data, match)


def test_the_size_is_checked_before_json_is_parsed(monkeypatch):
    def parsed(*arguments, **options):
        raise AssertionError("parsed")

    monkeypatch.setattr(foreign_json.json, "loads", parsed)
    refused(b"[" * (signature.MAXIMUM_ENVELOPE_BYTES + 1), "more than")
    refused(b"[" * 1000, "nested")


def test_every_flipped_bit_of_an_envelope_is_refused_or_changes_nothing():
    data = envelope()
    for place in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        try:
            found = check(bytes(flipped))
        except InputError:
            continue
        # White space between the tokens is not signed.
        assert found.payload == PAYLOAD
        assert chr(data[place]).isspace()
