"""Who the patients are: levels, moments and histograms of clinical and computed variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import STRATUM_COLUMNS, UNIT_OF_ROW, Column, Constraint, TableSpec

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable

__all__ = ["SPEC", "build_cohort_profile"]

SPEC = TableSpec(
    name="cohort_profile",
    version=1,
    description="Clinical variables, and subtypes and signature scores of expression, by stratum: "
    "counts of levels, moments and histograms.",
    columns=(
        Column(
            "variable",
            pl.String,
            "key",
            description="Clinical variable of the study; or, from expression, molecular_subtype "
            "(marker-based, not the consensus classifier) or signature_<name> (score from 0 to 1).",
        ),
        Column(
            "kind",
            pl.String,
            "key",
            allowed=("count", "moments", "bin"),
            description="count of a level, moments of a number, or bin of its histogram.",
        ),
        Column("level", pl.String, "key", nullable=True, description="Level, for counts."),
        Column("unit", pl.String, "label", nullable=True, description="UCUM unit of a number."),
        Column(
            "bin_lower",
            pl.Float64,
            "key",
            nullable=True,
            unit=UNIT_OF_ROW,
            description="Inclusive edge.",
        ),
        Column(
            "bin_upper",
            pl.Float64,
            "key",
            nullable=True,
            unit=UNIT_OF_ROW,
            description="Exclusive edge.",
        ),
        *STRATUM_COLUMNS,
        Column("n", pl.Int64, "count", minimum=0, unit="1", description="Patients in the cell."),
        Column(
            "n_total", pl.Int64, "count", minimum=0, unit="1", description="Patients with a value."
        ),
        Column(
            "mean",
            pl.Float64,
            "statistic",
            nullable=True,
            unit=UNIT_OF_ROW,
            description="Mean over patients.",
        ),
        Column(
            "standard_deviation",
            pl.Float64,
            "statistic",
            nullable=True,
            minimum=0,
            unit=UNIT_OF_ROW,
            description="Of the sample (n − 1).",
        ),
    ),
    keys=(
        "variable",
        "kind",
        "level",
        "bin_lower",
        "bin_upper",
        "stratum_variable",
        "stratum",
    ),
    constraints=(
        Constraint("n", lambda: pl.col("n") <= pl.col("n_total"), "n ≤ n_total"),
        Constraint(
            "bin_upper", lambda: pl.col("bin_lower") < pl.col("bin_upper"), "bin_lower < bin_upper"
        ),
        Constraint(
            "level",
            lambda: (pl.col("kind") == "count") == pl.col("level").is_not_null(),
            "counts, and only they, have a level",
        ),
        Constraint(
            "bin_lower",
            lambda: (
                ((pl.col("kind") == "bin") == pl.col("bin_lower").is_not_null())
                & ((pl.col("kind") == "bin") == pl.col("bin_upper").is_not_null())
            ),
            "bins, and only they, have edges",
        ),
        Constraint(
            "mean",
            lambda: (
                ((pl.col("kind") == "moments") == pl.col("mean").is_not_null())
                & ((pl.col("kind") == "moments") | pl.col("standard_deviation").is_null())
            ),
            "moments, and only they, have a mean",
        ),
    ),
)


def build_cohort_profile(
    clinical: pl.DataFrame,
    variables: Mapping[str, ClinicalVariable],
    strata: Sequence[str],
    computed: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Summarise a site's clinical table, and what was computed of each patient's samples.

    Parameters
    ----------
    clinical
        ``patient`` and one column a clinical variable: study levels (String) or numbers in the
        study's unit (Float64), unknown values null.
    variables
        The study's dictionary. Variables that the site does not know at all give no rows. A
        number's bins are half-open [lower, upper); values outside the outermost edges are in
        n_total and in no bin.
    strata
        Categorical variables by whose levels everything is broken down. A variable is not broken
        down by itself.
    computed
        ``patient`` and further columns of `variables` (see
        `ihdsi.expression.signatures.profile_of_expression`); patients who are not in `clinical`
        are left out.

    Returns
    -------
    polars.DataFrame
        The table `cohort_profile`. Levels nobody has are rows with n = 0.
    """
    membership = stratify(clinical["patient"], clinical, strata)
    if computed is not None:
        clinical = clinical.join(computed, on="patient", how="left", maintain_order="left")
    parts = [pl.DataFrame(schema=SPEC.schema)]
    for name, variable in variables.items():
        if name not in clinical.columns:
            continue
        values = clinical.select("patient", value=name).drop_nulls("value")
        known = values.join(membership, on="patient").filter(pl.col("stratum_variable") != name)
        if known.is_empty():
            continue
        if variable.type == "categorical":
            parts.append(_levels(known, name, variable.levels))
        else:
            parts.append(_moments(known, name, variable.unit))
            if len(variable.bins) >= 2:
                parts.append(_bins(known, name, variable.unit, variable.bins))
    return pl.concat(parts).sort(SPEC.keys, nulls_last=False)


def _table(frame: pl.DataFrame, variable: str, kind: str) -> pl.DataFrame:
    frame = frame.with_columns(variable=pl.lit(variable), kind=pl.lit(kind))
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in SPEC.schema.items()
    )


def _totals(known: pl.DataFrame) -> pl.DataFrame:
    return known.group_by("stratum_variable", "stratum").agg(n_total=pl.len())


def _levels(known: pl.DataFrame, variable: str, levels: Sequence[str]) -> pl.DataFrame:
    counts = known.group_by("stratum_variable", "stratum", level="value").agg(n=pl.len())
    grid = _totals(known).join(
        pl.DataFrame({"level": list(levels)}, schema={"level": pl.String}), how="cross"
    )
    cells = grid.join(counts, on=["stratum_variable", "stratum", "level"], how="left")
    return _table(cells.with_columns(pl.col("n").fill_null(0)), variable, "count")


def _moments(known: pl.DataFrame, variable: str, unit: str | None) -> pl.DataFrame:
    # Sums of floats depend on their order, and equal patients must give equal bytes.
    moments = (
        known.sort("patient")
        .group_by("stratum_variable", "stratum")
        .agg(
            n=pl.len(),
            n_total=pl.len(),
            mean=pl.col("value").mean(),
            standard_deviation=pl.col("value").std(ddof=1),
        )
    )
    return _table(moments.with_columns(unit=pl.lit(unit)), variable, "moments")


def _bins(
    known: pl.DataFrame, variable: str, unit: str | None, edges: Sequence[float]
) -> pl.DataFrame:
    bins = pl.DataFrame(
        list(pairwise(edges)),
        schema={"bin_lower": pl.Float64, "bin_upper": pl.Float64},
        orient="row",
    )
    counts = (
        known.join(bins, how="cross")
        .filter(pl.col("value").is_between("bin_lower", "bin_upper", closed="left"))
        .group_by("stratum_variable", "stratum", "bin_lower")
        .agg(n=pl.len())
    )
    cells = (
        _totals(known)
        .join(bins, how="cross")
        .join(counts, on=["stratum_variable", "stratum", "bin_lower"], how="left")
        .with_columns(pl.col("n").fill_null(0), unit=pl.lit(unit))
    )
    return _table(cells, variable, "bin")
