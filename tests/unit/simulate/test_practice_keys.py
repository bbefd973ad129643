"""Keys for practice: complete, private, and known to their trust store."""

import stat
from datetime import date

from ihdsi.bundle.keys import load_signing_key, load_transport_key, public_key_text
from ihdsi.bundle.trust import load_trust_store
from ihdsi.simulate.practice_keys import create_practice_keys, practice_key_files

SITES = ("north", "south")


def test_every_key_is_private_and_stands_in_the_trust_store(tmp_path):
    store = load_trust_store(create_practice_keys(tmp_path / "keys", SITES, date(2026, 1, 1)))
    assert set(store.sites) == set(SITES)
    for site, keys in store.sites.items():
        for role in ("producer", "steward", "transport"):
            path = tmp_path / "keys" / site / role
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert keys.of_role(role)[0].public_key == public_key_text(f"{path}.pub")
            assert keys.of_role(role)[0].refusal(date(2026, 1, 1)) is None
            assert keys.of_role(role)[0].refusal(date(2025, 12, 31)) is not None
        load_signing_key(tmp_path / "keys" / site / "steward")
    pair = load_transport_key(tmp_path / "keys/coordinator/transport")
    assert pair.public == dict(store.public_keys())[("coordinator", "transport")]


def test_the_files_are_those_that_are_named_and_new_each_time(tmp_path):
    folder = tmp_path / "keys"
    first = create_practice_keys(folder, SITES, date(2026, 1, 1)).read_text()
    private = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.suffix}
    assert {p for p in private if "/" in p} == set(practice_key_files(SITES).values())
    assert create_practice_keys(folder, SITES, date(2026, 1, 1)).read_text() != first
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
