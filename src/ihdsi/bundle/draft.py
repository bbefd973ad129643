"""Draft a release: what the data steward is asked to approve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

import ihdsi
from ihdsi.bundle.keys import load_signing_key
from ihdsi.bundle.manifest import Manifest
from ihdsi.bundle.populations import bind_populations
from ihdsi.bundle.provenance import software_versions, workflow_commit
from ihdsi.bundle.release import sign_candidate
from ihdsi.bundle.write import write_bundle
from ihdsi.disclosure.ledger import Ledger
from ihdsi.errors import InputError, Problem
from ihdsi.study import Site, Study, study_hash

__all__ = ["draft_release"]


def draft_release(
    folder: Path | str,
    tables: Mapping[str, pl.DataFrame],
    disclosure: Mapping[str, Any],
    compared_with: Sequence[str],
    study: Study,
    site: Site,
    *,
    populations: Path | str,
    project: Path | str,
    now: datetime,
) -> Manifest:
    """Write a site's release candidate, signed by the workflow as producer.

    The candidate takes the number after the last release in the site's ledger and names all
    earlier ones, so that the coordinator sees a release that was lost, repeated or forked.

    Parameters
    ----------
    folder
        Target; an earlier candidate in it is replaced.
    tables, disclosure
        Cleared tables and the disclosure statement.
    compared_with
        SHA-256 of the manifests of the earlier releases with which the tables were compared.
    study, site
        The protocol and the site, whose key and ledger are used.
    populations
        Parquet file of the patients whom the tables count. It is tied to the candidate by a signed
        document beside `folder` (`ihdsi.bundle.populations`), and does not leave the site.
    project
        Folder of the workflow, whose commit is told.
    now
        Time of the draft, with time zone.

    Raises
    ------
    InputError
        If the site names no keys or ledger, they cannot be used, or the ledger holds other
        releases than those with which the tables were compared.
    """
    if site.release is None:
        raise InputError(
            Problem(
                f"the site file of '{site.site}' has no key 'release'",
                "Create keys with `ihdsi keys new` and name them; see config/README.md.",
                column="release",
            )
        )
    # Asked for first, so that nothing is written where the key cannot be read.
    signer = load_signing_key(site.release.producer_key)
    sequence, earlier = 1, list[str]()
    if Path(site.release.ledger).exists():
        with Ledger(site.release.ledger) as ledger:
            sequence, earlier = ledger.next_sequence(), ledger.earlier_manifests()
    if list(compared_with) != earlier:
        raise InputError(
            Problem(
                f"the tables were compared with {len(compared_with)} earlier releases, but the "
                f"ledger holds {len(earlier)}",
                "Clear them again: snakemake --forcerun apply_disclosure_control site",
                file=site.release.ledger,
            )
        )
    manifest = write_bundle(
        folder,
        tables,
        disclosure,
        study=study.study,
        study_version=study.version,
        study_hash=study_hash(study),
        site=site.site,
        sequence=sequence,
        earlier_manifests=earlier,
        workflow_version=ihdsi.__version__,
        workflow_commit=workflow_commit(project),
        created=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        software=software_versions(),
        title=f"{study.title}: {site.title}",
        permit=site.release.permit or "",
    )
    sign_candidate(folder, signer)
    bind_populations(folder, populations, signer)
    return manifest
