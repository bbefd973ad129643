"""Candidates for release, and their approval, for tests."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

import signed_bundles as bundles
from ihdsi.bundle.approval import approve
from ihdsi.bundle.populations import bind_populations
from ihdsi.bundle.release import open_release, sign_candidate
from ihdsi.bundle.write import write_bundle
from ihdsi.summaries import TABLES, empty_table

STUDY_HASH = "ab" * 32
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DISCLOSURE = {
    "settings": {"minimum_n": 10, "zero_cells_allowed": True, "maximum_parameter_share": 0.2},
    "withheld": {},
}
POPULATIONS = pl.DataFrame(
    {
        "population": ["tumours", "tumours", "germline"],
        "stratum_variable": ["all", "sex", "all"],
        "stratum": ["all", "female", "all"],
        "patient": ["LIH-0001", "LIH-0001", "LIH-0002"],
    }
)


def tables(mean):
    burden = pl.DataFrame(
        {
            "measure": ["nonsynonymous_mutations"],
            "unit": ["1/Mb"],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n": [40],
            "mean": [mean],
            "variance": [1.5],
        }
    )
    return {name: empty_table(name) for name in TABLES} | {"mutation_burden": burden}


def draft(
    folder,
    *,
    sequence=1,
    earlier=(),
    mean=3.25,
    producer=bundles.NORTH.producer,
    anew=True,
    **changes,
):
    """A signed candidate of site north; `mean` makes its content another."""
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    arguments = {
        "disclosure": DISCLOSURE,
        "study": bundles.STUDY,
        "study_version": "1.0",
        "study_hash": STUDY_HASH,
        "site": "north",
        "workflow_version": "0.1.0",
        "created": "2026-06-01T09:00:00Z",
    } | changes
    disclosure = arguments.pop("disclosure")
    write_bundle(
        folder,
        tables(mean),
        disclosure,
        sequence=sequence,
        earlier_manifests=earlier,
        **arguments,
    )
    sign_candidate(folder, producer)
    count(folder, producer=producer)
    return folder


def populations_path(candidate):
    """File of those whom a candidate counts."""
    return Path(f"{candidate}.populations.parquet")


def count(candidate, frame=POPULATIONS, producer=bundles.NORTH.producer):
    """Have a candidate count the patients of `frame`."""
    frame.write_parquet(populations_path(candidate))
    bind_populations(candidate, populations_path(candidate), producer)


def copy(candidate, root):
    """Copy a candidate, with what lies beside it, into a folder."""
    root.mkdir(parents=True, exist_ok=True)
    for path in candidate.parent.glob(f"{candidate.name}.populations.*"):
        shutil.copy(path, root)
    return shutil.copytree(candidate, root / candidate.name)


def decide(root, decision=approve, **changes):
    """Decide over ``candidate`` below `root`, beside whose ledger and exchange it lies."""
    root = Path(root)
    arguments = {
        "candidate": root / "candidate",
        "ledger_path": root / "ledger.sqlite",
        "exchange": root / "exchange",
        "store": bundles.trust_store(),
        "study": bundles.STUDY,
        "study_hash": STUDY_HASH,
        "site": "north",
        "steward_signer": bundles.NORTH.steward,
        "reason": "looked at every table",
        "now": NOW,
    }
    if decision is approve:
        arguments["sender"] = bundles.NORTH.transport
    arguments |= changes
    if decision is approve:
        arguments.setdefault("populations", populations_path(arguments["candidate"]))
    return decision(
        arguments.pop("candidate"),
        arguments.pop("ledger_path"),
        arguments.pop("exchange"),
        **arguments,
    )


def fetch(root, working, **changes):
    """What the coordinator finds in the exchange."""
    arguments = {
        "store": bundles.trust_store(),
        "study": bundles.STUDY,
        "study_hash": STUDY_HASH,
        "site": "north",
        "recipient": bundles.COORDINATOR,
        "on": bundles.TODAY,
        "working": working,
    } | changes
    return open_release(Path(root) / "exchange" / bundles.STUDY / "north", **arguments)
