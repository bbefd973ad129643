"""Approve what nobody needs to review: releases of patients who do not exist."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ihdsi.bundle.approval import approve, publish_pending
from ihdsi.bundle.keys import load_signing_key, load_transport_key
from ihdsi.bundle.manifest import MANIFEST, Manifest, content_sha256
from ihdsi.bundle.open import MAXIMUM_MANIFEST_BYTES, parse_document, read_bounded
from ihdsi.bundle.places import SitePlaces
from ihdsi.bundle.trust import load_trust_store
from ihdsi.disclosure.ledger import Ledger
from ihdsi.errors import InputError, Problem
from ihdsi.study import study_hash

__all__ = ["approve_simulated_release"]

_REASON = "simulated patients, approved without review"


def approve_simulated_release(
    places: SitePlaces, steward_key: Path | str, exchange: Path | str, now: datetime
) -> None:
    """Release a candidate with a practice key, or leave the last release if it says the same.

    Parameters
    ----------
    places
        The site of a simulated study.
    steward_key
        Private key of the practice steward.
    exchange
        Root of the exchange.
    now
        Time of the decision, with its zone.

    Raises
    ------
    InputError
        If the study is not simulated, or as `ihdsi.bundle.approval.approve`.
    """
    study, site = places.study, places.site.site
    if not study.simulated:
        raise InputError(
            Problem(
                f"the study '{study.study}' is not simulated",
                f"The data steward decides: `ihdsi release approve {site}`.",
                column="simulated",
            )
        )
    content = read_bounded(places.candidate, MANIFEST, MAXIMUM_MANIFEST_BYTES)
    drafted = content_sha256(parse_document(content, Manifest, places.candidate / MANIFEST))
    with Ledger(places.release.ledger) as ledger:
        last = ledger.last_release()
    if last is not None and last.content_sha256 == drafted:
        publish_pending(places.release.ledger, exchange)
        return
    approve(
        places.candidate,
        places.release.ledger,
        exchange,
        populations=places.populations,
        store=load_trust_store(places.trust_store),
        study=study.study,
        study_hash=study_hash(study),
        site=site,
        steward_signer=load_signing_key(steward_key),
        reason=_REASON,
        sender=load_transport_key(places.release.transport_key),
        now=now,
    )
