"""Tumour mutation burden."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ihdsi.summaries.gene_alterations import PROTEIN_ALTERING
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import STRATUM_COLUMNS, Column, TableSpec
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

__all__ = ["SPEC", "build_mutation_burden"]

SPEC = TableSpec(
    name="mutation_burden",
    version=1,
    description="Mean and variance of the somatic mutation burden by stratum.",
    columns=(
        Column("measure", pl.String, "key", allowed=("nonsynonymous_mutations",)),
        Column("unit", pl.String, "label", allowed=("1/Mb",)),
        *STRATUM_COLUMNS,
        Column("n", pl.Int64, "count", minimum=2, description="Patients."),
        Column("mean", pl.Float64, "statistic", minimum=0),
        Column("variance", pl.Float64, "statistic", minimum=0, description="n − 1, in 1/Mb²."),
    ),
    keys=("measure", "stratum_variable", "stratum"),
)


def build_mutation_burden(
    variants: pl.DataFrame,
    assessed: pl.DataFrame,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
) -> pl.DataFrame:
    """Summarise protein-altering mutations per callable megabase.

    Parameters
    ----------
    variants
        patient, chromosome, position, reference_allele, alternate_allele, alteration_class; a
        variant in several genes counts once.
    assessed
        patient, callable_megabases; patients whose callable territory is unknown are left out.
    clinical, strata
        Patients' clinical variables, and those whose levels are strata.

    Returns
    -------
    polars.DataFrame
        The table `mutation_burden`; strata with fewer than two patients have no variance and no
        row.
    """
    known = assessed.filter(pl.col("callable_megabases") > 0)
    counts = (
        variants.filter(pl.col("alteration_class").is_in(PROTEIN_ALTERING))
        .unique(["patient", *VARIANT_KEY])
        .group_by("patient")
        .agg(mutations=pl.len())
    )
    burden = known.join(counts, on="patient", how="left").select(
        "patient", burden=pl.col("mutations").fill_null(0) / pl.col("callable_megabases")
    )
    return (
        stratify(burden["patient"], clinical, strata)
        .join(burden, on="patient")
        .group_by("stratum_variable", "stratum")
        .agg(
            n=pl.len(),
            mean=pl.col("burden").mean(),
            variance=pl.col("burden").var(ddof=1),
        )
        .filter(pl.col("n") >= 2)
        .with_columns(measure=pl.lit("nonsynonymous_mutations"), unit=pl.lit("1/Mb"))
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )
