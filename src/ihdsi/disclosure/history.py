"""What a site's ledger says of its earlier releases, as disclosure control needs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.disclosure.differencing import EarlierRelease, earlier_releases
from ihdsi.disclosure.ledger import Ledger

__all__ = ["History", "read_history"]


@dataclass(frozen=True)
class History:
    """Earlier releases of a site.

    Parameters
    ----------
    releases
        What left and whom it counted.
    manifests
        SHA-256 of their manifests, in order.
    populations
        Whom the tables at hand count: names, and patient_hash as in the ledger; their names without
        a ledger.
    spent_epsilon
        Privacy loss of all earlier releases together.
    key
        The ledger's secret order of cells; empty without a ledger.
    """

    releases: Sequence[EarlierRelease] = ()
    manifests: Sequence[str] = ()
    populations: pl.DataFrame | None = None
    spent_epsilon: float = 0.0
    key: bytes = b""

    def as_arguments(self) -> dict[str, Any]:
        """Return them as keywords of `ihdsi.disclosure.apply_disclosure_control`."""
        return {
            "earlier": self.releases,
            "populations": self.populations,
            "spent_epsilon": self.spent_epsilon,
            "key": self.key,
        }

    def manifests_as_json(self) -> str:
        """Return the manifests as a JSON list, on one line."""
        return json.dumps(list(self.manifests)) + "\n"


def read_history(ledger: Path | str | None, populations: pl.DataFrame) -> History:
    """Read a site's earlier releases; a ledger that does not exist yet is made, and holds none.

    It is made here because its secret decides which cells hide others, and has to be the same when
    the site is run again.

    Parameters
    ----------
    ledger
        File of the ledger, if the site has one.
    populations
        Whom the tables at hand count (see `ihdsi.disclosure.differencing.populations_of`).

    Raises
    ------
    InputError
        If the ledger or its archive cannot be read, made, or was changed.
    """
    if ledger is None:
        return History(populations=_without_key(populations))
    with Ledger(ledger) as opened:
        return History(
            earlier_releases(opened),
            opened.earlier_manifests(),
            opened.hash_patients(populations).with_columns(populations["patient"]),
            opened.spent_epsilon(),
            opened.partner_key(),
        )


def _without_key(populations: pl.DataFrame) -> pl.DataFrame:
    """Without a ledger there is no key, and nothing to compare with."""
    hashes = {"patient": "patient_hash", "value": "value_hash"}
    return populations.with_columns(
        pl.col(name).alias(hashed) for name, hashed in hashes.items() if name in populations.columns
    )
