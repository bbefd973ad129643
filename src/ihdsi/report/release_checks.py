"""What can be checked of a candidate once more, for the one who decides on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ihdsi.report.release_changes import TableChanges
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES

__all__ = [
    "Check",
    "check_budget",
    "check_changes",
    "check_counts",
    "check_history",
    "check_membership",
    "count_columns",
]


@dataclass(frozen=True)
class Check:
    """One finding in words; what is not fine asks for the steward's attention."""

    fine: bool
    text: str


def count_columns(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Find the smallest count above zero, and the number of zeros, of every count column.

    Returns
    -------
    polars.DataFrame
        table, column, smallest (null where all counts are zero or missing) and zeros; tables
        without rows have none here.
    """
    rows = []
    for name, spec in TABLES.items():
        for column in spec.columns:
            if column.role != "count" or tables[name].is_empty():
                continue
            values = tables[name][column.name].drop_nulls()
            smallest = values.filter(values > 0).min()
            rows.append((name, column.name, smallest, (values == 0).sum()))
    return pl.DataFrame(
        rows,
        schema={
            "table": pl.String,
            "column": pl.String,
            "smallest": pl.Int64,
            "zeros": pl.Int64,
        },
        orient="row",
    )


def check_counts(counts: pl.DataFrame, limits: DisclosureSettings) -> list[Check]:
    """Compare the smallest counts (see `count_columns`) with the thresholds in force."""
    smallest = min(counts["smallest"].drop_nulls().to_list(), default=None)
    least = limits.minimum_cell_count
    checks = [
        Check(True, "No count above zero leaves.")
        if smallest is None
        else Check(
            smallest >= least,
            f"The smallest count above zero that leaves is {smallest}; {least} is the least "
            "allowed.",
        )
    ]
    if not limits.zero_cells_allowed:
        zeros = int(counts["zeros"].sum())
        checks.append(Check(zeros == 0, f"Zeros must not leave; {zeros:,} are in the tables."))
    return checks


def check_membership(membership: Mapping[str, Any] | None) -> list[Check]:
    """Compare the predicted power of membership inference with what is allowed."""
    if not membership:
        return []
    checks = []
    power, limit = membership.get("power_after"), membership.get("maximum_power")
    if isinstance(power, (int, float)) and isinstance(limit, (int, float)):
        checks.append(
            Check(
                power <= limit,
                f"The membership test would recognise {100 * power:.3g} % of the patients; at "
                f"most {100 * limit:.3g} % is allowed.",
            )
        )
    if membership.get("exceeded_before"):
        checks.append(
            Check(
                False,
                "Earlier releases alone exceed the power allowed: only frequencies that left "
                "before, unchanged, leave again.",
            )
        )
    if membership.get("override"):
        checks.append(
            Check(
                False,
                "The power allowed is larger than the study's: a steward of this site signed for "
                "it.",
            )
        )
    return checks


def check_history(
    history: pl.DataFrame | None, earlier: list[str], manifest_sha256: str
) -> list[Check]:
    """Compare the candidate with the site's decisions.

    Parameters
    ----------
    history
        Decisions: sequence (null of a rejection) and manifest_sha256; nothing is checked where
        they are not known.
    earlier
        Releases that the candidate's manifest names.
    manifest_sha256
        Of the candidate.
    """
    if history is None or not {"manifest_sha256", "sequence"} <= set(history.columns):
        return []
    is_release = pl.col("sequence").is_not_null()
    released = history.filter(is_release).sort("sequence")["manifest_sha256"].to_list()
    checks = [
        Check(True, "The candidate names the same earlier releases as the ledger.")
        if released == earlier
        else Check(
            False,
            "The candidate does not name the earlier releases that the ledger has; it has to be "
            "drafted again.",
        )
    ]
    if manifest_sha256 in history.filter(~is_release)["manifest_sha256"].to_list():
        checks.append(
            Check(
                False,
                "This very candidate was rejected before and cannot be approved; see the earlier "
                "decisions.",
            )
        )
    return checks


def check_budget(epsilon: tuple[float, float] | None) -> list[Check]:
    """State what is spent and what remains of the budget of differential privacy."""
    if epsilon is None:
        return []
    spent, remaining = epsilon
    return [
        Check(
            remaining >= 0,
            f"Of the budget of differential privacy, ε = {spent:.4g} is spent and "
            f"{remaining:.4g} remains.",
        )
    ]


def check_changes(changes: Iterable[TableChanges], limits: DisclosureSettings) -> list[Check]:
    """Point out counts that changed by fewer patients than a cell may hold."""
    steps = [difference.smallest_count_change for difference in changes]
    least = min((step for step in steps if step is not None), default=None)
    if least is None:
        return []
    return [
        Check(
            least >= limits.minimum_cell_count,
            f"The count that changed least since the last release changed by {least}. Who has both "
            "releases sees such a difference: it counts the patients who came or went.",
        )
    ]
