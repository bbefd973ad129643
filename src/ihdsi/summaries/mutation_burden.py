"""Tumour mutation burden, and the shares of mutational processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from ihdsi.summaries.gene_alterations import PROTEIN_ALTERING
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import (
    STRATUM_COLUMNS,
    UNIT_OF_ROW,
    UNIT_OF_ROW_SQUARED,
    Column,
    Constraint,
    Predecessor,
    TableSpec,
)
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

__all__ = [
    "ALL_MUTATIONS",
    "NONSYNONYMOUS",
    "SHARE_PREFIX",
    "SPEC",
    "build_mutation_burden",
    "burden_values",
]

#: Mutations that change the protein, per callable megabase.
NONSYNONYMOUS = "nonsynonymous_mutations"
#: Every somatic small variant of the call set, synonymous and non-coding ones included, per
#: callable megabase. Like the harmonised definition of tumour mutational burden (Merino et al.
#: 2020, J Immunother Cancer 8:e000147) it keeps synonymous mutations, which lower the sampling
#: noise of small panels; unlike it, it also counts the non-coding bases that were callable, above
#: and below the fraction bar alike.
ALL_MUTATIONS = "all_mutations"
#: Begins the measures that are shares of a study's groups of signatures.
SHARE_PREFIX = "signature_share_"

_IS_SHARE = pl.col("measure").str.starts_with(SHARE_PREFIX)

_COLUMNS = (
    Column(
        "measure",
        pl.String,
        "key",
        pattern=rf"^({NONSYNONYMOUS}|{ALL_MUTATIONS}|{SHARE_PREFIX}[a-z][a-z0-9_]*)$",
        description="Mutations per callable megabase, or share of a group of signatures.",
    ),
    Column("unit", pl.String, "label", allowed=("1/Mb", "1"), description="UCUM unit of mean."),
    *STRATUM_COLUMNS,
    Column("n", pl.Int64, "count", minimum=2, unit="1", description="Patients."),
    Column(
        "mean",
        pl.Float64,
        "statistic",
        minimum=0,
        unit=UNIT_OF_ROW,
        description="Mean over patients.",
    ),
    Column(
        "variance",
        pl.Float64,
        "statistic",
        minimum=0,
        unit=UNIT_OF_ROW_SQUARED,
        description="Of the sample (n − 1).",
    ),
)

_KEYS = ("measure", "stratum_variable", "stratum")
_VOCABULARY_1 = {"measure": (NONSYNONYMOUS,), "unit": ("1/Mb",)}


def _upgraded(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows as they are: version 2 has more measures, and this one unchanged."""
    return frame


_PREDECESSOR = Predecessor(
    TableSpec(
        name="mutation_burden",
        version=1,
        description="Mean and variance of the somatic mutation burden by stratum.",
        columns=tuple(
            replace(column, pattern=None, allowed=_VOCABULARY_1[column.name])
            if column.name in _VOCABULARY_1
            else column
            for column in _COLUMNS
        ),
        keys=_KEYS,
    ),
    _upgraded,
    "Nothing changes: version 1 had the measure nonsynonymous_mutations only.",
)

SPEC = TableSpec(
    name="mutation_burden",
    version=2,
    description="Mean and variance of somatic mutation burden and signature shares by stratum.",
    columns=_COLUMNS,
    keys=_KEYS,
    constraints=(
        Constraint(
            "unit",
            lambda: (pl.col("unit") == "1") == _IS_SHARE,
            "shares of signatures have the unit 1, burdens 1/Mb",
        ),
        Constraint("mean", lambda: ~_IS_SHARE | (pl.col("mean") <= 1), "a share is at most 1"),
    ),
    predecessor=_PREDECESSOR,
)


def build_mutation_burden(
    variants: pl.DataFrame,
    assessed: pl.DataFrame,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
    exposures: pl.DataFrame | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> pl.DataFrame:
    """Summarise mutations per callable megabase and shares of signature groups.

    Parameters
    ----------
    variants
        patient, chromosome, position, reference_allele, alternate_allele, alteration_class; a
        variant in several genes counts once.
    assessed
        patient, callable_megabases; patients whose callable territory is unknown have no burden,
        patients who are not listed have neither burden nor shares.
    clinical, strata
        Patients' clinical variables, and those whose levels are strata.
    exposures
        patient, signature, share (`ihdsi.variants.signatures`); patients with too few mutations
        for an estimate are absent. None where signatures were not estimated.
    groups
        Name of a group to its signatures; each group is the measure
        ``signature_share_<name>``, the mean of the patients' summed shares.

    Returns
    -------
    polars.DataFrame
        The table `mutation_burden`; strata with fewer than two patients have no variance and no
        row.
    """
    values = burden_values(variants, assessed, exposures, groups)
    patients = values["patient"].unique(maintain_order=True)
    return (
        stratify(patients, clinical, strata)
        .join(values, on="patient")
        # Sums of floats depend on their order, and equal patients must give equal bytes.
        .sort("measure", "stratum_variable", "stratum", "patient")
        .group_by("measure", "unit", "stratum_variable", "stratum")
        .agg(
            n=pl.len(),
            mean=pl.col("value").mean(),
            variance=pl.col("value").var(ddof=1),
        )
        .filter(pl.col("n") >= 2)
        # Shares add up to 1 only up to rounding.
        .with_columns(
            mean=pl.when(_IS_SHARE).then(pl.min_horizontal("mean", 1.0)).otherwise("mean")
        )
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )


def burden_values(
    variants: pl.DataFrame,
    assessed: pl.DataFrame,
    exposures: pl.DataFrame | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> pl.DataFrame:
    """Return each patient's burden and shares, as `build_mutation_burden` summarises them.

    Returns
    -------
    polars.DataFrame
        patient, value, measure and unit. It stays at the site.
    """
    return pl.concat(
        [
            _burden(
                variants,
                assessed,
                NONSYNONYMOUS,
                pl.col("alteration_class").is_in(PROTEIN_ALTERING),
            ),
            _burden(variants, assessed, ALL_MUTATIONS, pl.lit(value=True)),
            *(
                exposures.join(assessed, on="patient", how="semi")
                .sort("patient", "signature")
                .group_by("patient", maintain_order=True)
                .agg(
                    value=pl.col("share").filter(pl.col("signature").is_in(list(members))).sum(),
                    measure=pl.lit(SHARE_PREFIX + name),
                    unit=pl.lit("1"),
                )
                for name, members in (groups or {}).items()
                if exposures is not None
            ),
        ]
    )


def _burden(
    variants: pl.DataFrame, assessed: pl.DataFrame, measure: str, counted: pl.Expr
) -> pl.DataFrame:
    """Mutations per callable megabase of each patient whose territory is known."""
    counts = (
        variants.filter(counted)
        .unique(["patient", *VARIANT_KEY])
        .group_by("patient")
        .agg(mutations=pl.len())
    )
    return (
        assessed.filter(pl.col("callable_megabases") > 0)
        .join(counts, on="patient", how="left")
        .select(
            "patient",
            value=pl.col("mutations").fill_null(0) / pl.col("callable_megabases"),
            measure=pl.lit(measure),
            unit=pl.lit("1/Mb"),
        )
    )
