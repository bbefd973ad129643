"""Gather what the data steward's review of a site's candidate is made of."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from pathlib import Path

import polars as pl

from ihdsi.bundle.trust import load_trust_store
from ihdsi.disclosure.ledger import Ledger
from ihdsi.disclosure.override import settings_in_force
from ihdsi.errors import InputError
from ihdsi.report.review import ReviewRequest
from ihdsi.study import DisclosureSettings, Site, Study, study_hash

__all__ = ["review_request"]


def review_request(
    study: Study,
    site: Site,
    candidate: Path | str,
    disclosure_log: pl.DataFrame,
    on: date,
    configfile: str | None = None,
) -> ReviewRequest:
    """Describe a candidate for `ihdsi.report.review.write_review`.

    Parameters
    ----------
    study, site
        The protocol and the site, whose ledger tells of earlier releases.
    candidate
        Folder of the candidate.
    disclosure_log
        What was withheld.
    on
        Day of the review.
    configfile
        Run configuration, for the commands that the page shows.

    Raises
    ------
    InputError
        If the ledger or a signed override that the site names cannot be used.
    """
    thresholds, _ = settings_in_force(study, site, on)
    releases, previous, content, spent = None, None, None, 0.0
    if site.release is not None and Path(site.release.ledger).exists():
        with Ledger(site.release.ledger) as ledger:
            releases, spent = ledger.describe(), ledger.spent_epsilon()
            if (last := ledger.last_release()) is not None:
                previous, content = ledger.released_tables(last.sequence), last.content_sha256
    return ReviewRequest(
        study=study.study,
        title=study.title,
        study_version=study.version,
        study_hash=study_hash(study),
        simulated=study.simulated,
        site=site.site,
        site_title=site.title,
        recipients=(f"the coordinator of the study {study.study}",),
        participants=tuple(name for name in study.participants if name != site.site),
        configfile=configfile,
        permit=None if site.release is None else site.release.permit,
        candidate=Path(candidate),
        disclosure_log=disclosure_log,
        previous=previous,
        releases=releases,
        last_content_sha256=content,
        epsilon=_budget(thresholds, spent),
        recipient_key=_coordinator_key(study),
        study_thresholds=study.disclosure,
        thresholds=thresholds,
    )


def _coordinator_key(study: Study) -> str | None:
    """Public key of the coordinator in the study's trust store, if that can be read."""
    if study.trust_store is None:
        return None
    # Who only looks at a candidate needs no trust store; the approval refuses a faulty one.
    with suppress(InputError):
        return load_trust_store(study.trust_store).coordinator.transport
    return None


def _budget(thresholds: DisclosureSettings, spent: float) -> tuple[float, float] | None:
    """Privacy loss of all releases with this one, and what then remains of the budget."""
    noise = thresholds.differential_privacy
    if noise is None:
        return None
    with_this = spent + noise.epsilon
    return with_this, noise.budget - with_this
