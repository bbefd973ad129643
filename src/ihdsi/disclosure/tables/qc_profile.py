"""Disclosure control of `qc_profile`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.complementary import RELEASED, protect_grid
from ihdsi.disclosure.tables.judging import (
    Context,
    Judged,
    cell_ranks,
    known,
    marked,
    unmarked,
    unsafe_counts,
    with_status,
    withheld_columns,
)
from ihdsi.disclosure.tables.reasons import PASSED
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.registry import TABLES

__all__ = [
    "DECIDED",
    "control_qc_profile",
]

#: Columns that count samples by what was decided on them.
DECIDED = ("n_passed", "n_warned", "n_failed")


def control_qc_profile(frame: pl.DataFrame, context: Context) -> Judged:
    """Bins of each metric as one column, then passes, warnings and fails against the bins."""
    settings = context.settings
    rows, nulled = [unmarked(frame)], [unmarked(frame)]
    for metric in frame.partition_by("metric", "assay", maintain_order=True):
        bins = metric.sort("bin_lower")
        counts, total = bins["n"].to_numpy(), int(bins["n_total"][0])
        primary = withheld_columns(np.array([total]), 0, settings)[0]
        status = protect_grid(
            counts.reshape(-1, 1),
            np.array([total]),
            settings.minimum_cell_count,
            unsafe_counts(settings),
            withheld_columns=np.array([primary is not None]),
            ranks=cell_ranks([bins], TABLES["qc_profile"], context),
            marked=marked([bins]),
            known=known([bins]),
        )[:, 0]
        judged = with_status(bins, status, primary)
        parts = [None if (n := bins[name][0]) is None else int(n) for name in DECIDED]
        if parts[0] is not None and not _releasable(counts, status, parts, settings):
            nulled.append(judged.filter(pl.col("rule").is_null()))
            judged = judged.with_columns(
                pl.lit(None, dtype=pl.Int64).alias(name) for name in DECIDED
            )
        rows.append(judged)
    return Judged(pl.concat(rows), pl.concat(nulled).with_columns(rule=pl.lit(PASSED)))


def _releasable(
    counts: NDArray[np.int64],
    status: NDArray[np.int64],
    parts: Sequence[int | None],
    settings: DisclosureSettings,
) -> bool:
    """Whether the numbers of passes, warnings and fails may stand beside the released bins.

    Limits are edges of bins as a rule, so that what does not fail, and what passes, are bins next
    to each other. For every such choice that fits, what is withheld within it, outside it and
    between the two has to be safe in sum. A part that the study does not have (None) is no count.
    """
    unsafe = unsafe_counts(settings)
    if any(part is not None and unsafe(part) for part in parts):
        return False
    hidden = status != RELEASED
    if not hidden.any():
        return True
    passed, warned, _ = (part or 0 for part in parts)
    before = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(counts.size)

    def runs(total: int) -> list[NDArray[np.bool_]]:
        return [
            (index >= first) & (index < last)
            for first, last in combinations_with_replacement(range(counts.size + 1), 2)
            if before[last] - before[first] == total
        ]

    unfailed, passes = runs(passed + warned), runs(passed)
    between = [
        outer & ~inner for outer in unfailed for inner in passes if not (inner & ~outer).any()
    ]
    sides = [*unfailed, *(~run for run in unfailed), *passes, *(~run for run in passes), *between]
    return not any(
        part.any() and (unsafe(int(counts[part].sum())) or (part.sum() < 2 and status[part][0]))
        for part in (side & hidden for side in sides)
    )
