"""A key counts for one role of one site on its days, and for nothing else."""

import base64
from datetime import date

import pytest
import yaml

from ihdsi.bundle.trust import load_trust_store
from ihdsi.errors import InputError


def text(kind, number):
    return f"{kind}:{base64.b64encode(bytes([number]) * 32).decode()}"


def entry(kind, number, **changes):
    return {
        "public_key": text(kind, number),
        "holder": f"Holder {number}",
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
    } | changes


def document():
    return {
        "coordinator": {"transport": text("x25519", 1)},
        "sites": {
            site: {
                "producer": [entry("ed25519", start)],
                "steward": [entry("ed25519", start + 1)],
                "transport": [entry("x25519", start + 2)],
            }
            for site, start in (("north", 10), ("south", 20))
        },
    }


def load(folder, content):
    path = folder / "trust.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_trust_store(path)


def test_a_store_yields_the_keys_of_each_role(tmp_path):
    store = load(tmp_path, document())
    assert store.sites["south"].of_role("steward")[0].raw == bytes([21]) * 32
    assert store.sites["south"].of_role("producer")[0].raw == bytes([20]) * 32
    assert store.sites["south"].of_role("transport")[0].raw == bytes([22]) * 32
    assert len(list(store.public_keys())) == 7


@pytest.mark.parametrize(
    ("day", "revoked", "reason"),
    [
        (date(2025, 12, 31), None, "only from"),
        (date(2026, 1, 1), None, None),
        (date(2026, 12, 31), None, None),
        (date(2027, 1, 1), None, "expired"),
        (date(2026, 5, 31), date(2026, 6, 1), None),
        (date(2026, 6, 1), date(2026, 6, 1), "revoked"),
        (date(2026, 6, 2), date(2026, 6, 1), "revoked"),
    ],
)
def test_a_key_counts_on_its_days(tmp_path, day, revoked, reason):
    content = document()
    content["sites"]["north"]["producer"][0]["revoked"] = revoked
    found = load(tmp_path, content).sites["north"].producer[0].refusal(day)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("site", "role", "kind", "number"),
    [
        ("north", "steward", "ed25519", 10),  # producer of the same site
        ("south", "producer", "ed25519", 10),  # same role of another site
        ("south", "steward", "ed25519", 10),  # other role of another site
        ("south", "transport", "x25519", 12),
        ("south", "transport", "x25519", 1),  # the coordinator's
        ("south", "transport", "x25519", 10),  # the same bytes as another kind of key
    ],
)
def test_a_key_in_two_places_is_refused_with_both(tmp_path, site, role, kind, number):
    content = document()
    load(tmp_path, content)
    content["sites"][site][role][0] = entry(kind, number)
    with pytest.raises(InputError, match="stands also at") as error:
        load(tmp_path, content)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].row is not None


def test_a_revoked_key_cannot_return(tmp_path):
    content = document()
    content["sites"]["north"]["steward"] = [
        entry("ed25519", 11, revoked=date(2026, 2, 1)),
        entry("ed25519", 11),
    ]
    with pytest.raises(InputError, match="stands also at"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"public_key": text("x25519", 10)}, "public_key"),
        ({"public_key": "ed25519:AAAA"}, "public_key"),
        ({"holder": " "}, "holder"),
        ({"valid_from": "2026-01-01"}, "valid_from"),
        ({"valid_from": 20260101}, "valid_from"),
        ({"valid_until": date(2025, 1, 1)}, "0"),
        ({"revoked": "never"}, "revoked"),
        ({"private_key": "x"}, "private_key"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path, change, column):
    content = document()
    content["sites"]["north"]["producer"][0] |= change
    with pytest.raises(InputError) as error:
        load(tmp_path, content)
    assert error.value.problems[0].column == f"sites.north.producer.{column}".replace(
        "producer.", "producer.0." if column != "0" else "producer."
    )


def test_every_role_needs_a_key(tmp_path):
    for role in ("producer", "steward", "transport"):
        content = document()
        content["sites"]["north"][role] = []
        with pytest.raises(InputError):
            load(tmp_path, content)
