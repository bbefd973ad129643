"""Keys for practice: whoever has this folder can sign for every site of the study in it.

They let one machine play all parts of a study of simulated or public data, with the real
signatures, seals and checks. Keys of a real study are made by their holders, each on the machine
where it is used (`ihdsi keys new`), and never lie together.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import yaml

from ihdsi.bundle.keys import create_signing_key, create_transport_key, public_key_text
from ihdsi.files import write_text

__all__ = ["PRACTICE_HOLDER", "TRUST_STORE", "create_practice_keys", "practice_key_files"]

TRUST_STORE = "trust_store.yaml"
COORDINATOR_KEY = "coordinator/transport"
#: Who answers for practice keys, as stands in the trust store, the ledger and the report.
PRACTICE_HOLDER = "practice key, no person"
_SIGNING_ROLES, _ROLES = ("producer", "steward"), ("producer", "steward", "transport")
_VALID = timedelta(days=3650)


def practice_key_files(sites: Sequence[str]) -> dict[str, str]:
    """Names of the private keys below the folder: site and role (``lih/steward``), coordinator."""
    files = {f"{site}/{role}": f"{site}/{role}" for site in sites for role in _ROLES}
    return {**files, "coordinator": COORDINATOR_KEY}


def create_practice_keys(folder: Path | str, sites: Sequence[str], today: date) -> Path:
    """Create all keys of a study, and the trust store that names them.

    Parameters
    ----------
    folder
        Its content is replaced as a whole.
    sites
        Ids of the study's sites.
    today
        First day of validity; the last is ten years later.

    Returns
    -------
    Path
        The trust store, ``<folder>/trust_store.yaml``. The private keys are
        ``<folder>/<site>/<producer|steward|transport>`` and ``<folder>/coordinator/transport``.

    Raises
    ------
    InputError
        If a key cannot be written.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".keys-") as scratch:
        fresh = Path(scratch) / "keys"
        for place in practice_key_files(sites).values():
            path = fresh / place
            path.parent.mkdir(parents=True, exist_ok=True)
            create = create_signing_key if path.name in _SIGNING_ROLES else create_transport_key
            create(path)

        def entry(place: str) -> dict[str, object]:
            return {
                "public_key": public_key_text(fresh / f"{place}.pub"),
                "holder": PRACTICE_HOLDER,
                "valid_from": today,
                "valid_until": today + _VALID,
            }

        document = {
            "coordinator": {"transport": public_key_text(fresh / f"{COORDINATOR_KEY}.pub")},
            "sites": {site: {role: [entry(f"{site}/{role}")] for role in _ROLES} for site in sites},
        }
        write_text(yaml.safe_dump(document, sort_keys=False), fresh / TRUST_STORE)
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)
    return target / TRUST_STORE
