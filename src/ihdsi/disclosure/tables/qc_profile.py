"""Disclosure control of `qc_profile`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    mark,
    marked,
    unmarked,
    unsafe_counts,
    with_status,
    withheld_columns,
)
from ihdsi.disclosure.tables.means import control_cell_composition
from ihdsi.disclosure.tables.models import (
    control_cell_expression_effects,
    control_expression_design,
    control_expression_effects,
    control_matrix_design,
)
from ihdsi.disclosure.tables.reasons import PASSED, TOTALS
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL

__all__ = [
    "DECIDED",
    "control_qc_profile",
]

#: Columns that count samples by what was decided on them.
DECIDED = ("n_passed", "n_warned", "n_failed")


def control_qc_profile(frame: pl.DataFrame, context: Context) -> Judged:
    """Bins of each metric as one column, then passes, warnings and fails against the bins.

    Then the metrics of an assay beside each other, and beside the results of the assay: their
    numbers of samples differ by those who lack a metric or failed before it was measured.
    """
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
    told = _tell_too_few(pl.concat(rows), context)
    keys = ["metric", "assay"]
    withheld = pl.concat([rows[0].select(keys), *told]).with_columns(_told=pl.lit(value=True))
    judged = (
        pl.concat(rows)
        .join(withheld, on=keys, how="left", maintain_order="left")
        .with_columns(mark(pl.col("_told").fill_null(value=False), TOTALS))
        .drop("_told")
    )
    left = pl.concat(nulled).join(withheld, on=keys, how="anti")
    return Judged(judged, left.with_columns(rule=pl.lit(PASSED)))


def _tell_too_few(judged: pl.DataFrame, context: Context) -> list[pl.DataFrame]:
    """List metrics (metric, assay) whose numbers of samples would tell too small a number.

    The numbers that leave of an assay are equal or differ by safe counts: samples with a value of
    one metric and of another, samples that do not fail, and patients in the results. Results come
    first, then metrics of more samples.
    """
    unsafe, few = unsafe_counts(context.settings), []

    def apart(number: int, others: set[int]) -> bool:
        return any(number != other and unsafe(abs(number - other)) for other in others)

    leaving = (
        judged.filter(pl.col("rule").is_null())
        .group_by("assay", "metric")
        .agg(pl.col("n_total", "n_failed").first())
        .sort("assay", "n_total", "metric", descending=[False, True, False])
    )
    for (assay,), metrics in leaving.group_by("assay", maintain_order=True):
        measured, unfailed = _patients_in_results(str(assay), context), set[int]()
        for name, total, n_failed in metrics.drop("assay").iter_rows():
            passed = set() if n_failed is None else {total - n_failed}
            if apart(total, measured | unfailed) or any(apart(n, measured) for n in passed):
                few.append(pl.DataFrame({"metric": [name], "assay": [assay]}))
            else:
                measured.add(total)
                unfailed |= passed
    return few


#: Tables of results by assay (of matrices: all other assays but DNA), with their rules and the
#: number of patients behind a row.
_Results = Mapping[str, tuple[Callable[[pl.DataFrame, Context], Judged], pl.Expr]]
_CASES_AND_CONTROLS = pl.col("n_case") + pl.col("n_control")
_RESULTS: Mapping[str, _Results] = {
    "single_cell": {
        "cell_composition": (
            control_cell_composition,
            pl.when(pl.col("stratum_variable") == ALL).then("n_donors"),
        ),
        "cell_expression_effects": (control_cell_expression_effects, _CASES_AND_CONTROLS),
    },
    "rna": {
        "expression_design": (control_expression_design, pl.col("n")),
        "expression_effects": (control_expression_effects, _CASES_AND_CONTROLS),
    },
    "dna": {},
}


def _patients_in_results(assay: str, context: Context) -> set[int]:
    """Numbers of patients that the results of an assay tell where they leave."""
    of_matrix = pl.when(pl.col("assay") == assay).then("n")
    results = _RESULTS.get(assay, {"matrix_design": (control_matrix_design, of_matrix)})
    numbers: set[int] = set()
    for name, (control, n) in results.items():
        table = context.tables[name]
        if not table.is_empty():
            leaving = control(table, context).frame.filter(pl.col("rule").is_null())
            numbers |= set(leaving.select(n).to_series().drop_nulls())
    return numbers


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
