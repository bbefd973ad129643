"""Germline variants: how often they occur."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import ENSEMBL_GENE, STRATUM_COLUMNS, Column, Constraint, TableSpec

__all__ = ["SPEC", "VARIANT_KEY", "build_variant_frequencies"]

VARIANT_KEY = ("chromosome", "position", "reference_allele", "alternate_allele")

SPEC = TableSpec(
    name="variant_frequencies",
    version=1,
    description="Allele, carrier and homozygote counts of normalised germline variants by stratum.",
    columns=(
        Column("chromosome", pl.String, "coordinate", pattern=r"^[A-Za-z0-9_.*-]{1,64}$"),
        Column("position", pl.Int64, "coordinate", minimum=1, description="1-based."),
        Column("reference_allele", pl.String, "coordinate", pattern=r"^[ACGTN]+$"),
        Column("alternate_allele", pl.String, "coordinate", pattern=r"^([ACGTN]+|\*)$"),
        Column("gene_id", pl.String, "label", nullable=True, pattern=ENSEMBL_GENE),
        Column("gene_name", pl.String, "label", nullable=True),
        Column("consequence", pl.String, "label", nullable=True, description="Most severe (SO)."),
        *STRATUM_COLUMNS,
        Column("n_samples_called", pl.Int64, "count", minimum=0),
        Column("allele_count", pl.Int64, "count", minimum=0),
        Column("allele_number", pl.Int64, "count", minimum=0),
        Column(
            "n_carriers",
            pl.Int64,
            "count",
            nullable=True,
            minimum=0,
            description="Null where it would reveal withheld homozygotes or heterozygotes.",
        ),
        Column(
            "n_homozygous",
            pl.Int64,
            "count",
            nullable=True,
            minimum=0,
            description="Null where homozygotes or heterozygotes are too few to release.",
        ),
    ),
    keys=(*VARIANT_KEY, "stratum_variable", "stratum"),
    constraints=(
        Constraint(
            "allele_count",
            lambda: pl.col("allele_count") <= pl.col("allele_number"),
            "allele_count ≤ allele_number",
        ),
        Constraint(
            "allele_number",
            lambda: pl.col("allele_number") == 2 * pl.col("n_samples_called"),
            "allele_number = 2 · n_samples_called",
        ),
        Constraint(
            "n_carriers",
            lambda: (
                (pl.col("n_carriers") <= pl.col("n_samples_called"))
                & (pl.col("allele_count") == pl.col("n_carriers") + pl.col("n_homozygous"))
            ),
            "allele_count = n_carriers + n_homozygous, and n_carriers ≤ n_samples_called",
        ),
        Constraint(
            "n_homozygous",
            lambda: pl.col("n_carriers").is_null() == pl.col("n_homozygous").is_null(),
            "n_carriers and n_homozygous are given together or not at all",
        ),
    ),
)


def build_variant_frequencies(
    genotypes: pl.DataFrame, clinical: pl.DataFrame | None, strata: Sequence[str]
) -> pl.DataFrame:
    """Count alleles over a site's patients.

    Parameters
    ----------
    genotypes
        patient, chromosome, position (1-based), reference_allele, alternate_allele, gene_id,
        gene_name, consequence, allele_dosage (0, 1, 2; null where not called).
    clinical, strata
        Patients' clinical variables, and those whose levels are strata.

    Returns
    -------
    polars.DataFrame
        The table `variant_frequencies`; the annotation of a variant is the one that most of its
        rows carry. Autosomal ploidy is assumed: allele_number is twice n_samples_called.
        Variants without any alternate allele at the site are left out.
    """
    keys = list(VARIANT_KEY)
    called = genotypes.drop_nulls("allele_dosage").with_columns(
        variant=pl.struct(keys).rank("dense")
    )
    annotation = (
        called.group_by("variant", *keys)
        .agg(
            pl.struct("gene_id", "gene_name", "consequence").mode().sort().last().alias("label"),
            carried=pl.col("allele_dosage").sum(),
        )
        .filter(pl.col("carried") > 0)
        .unnest("label")
        .drop("carried")
    )
    membership = stratify(genotypes["patient"].unique(maintain_order=True), clinical, strata)
    counts = (
        called.select("patient", "variant", "allele_dosage")
        .join(annotation.select("variant"), on="variant", how="semi")
        .join(membership, on="patient")
        .group_by("variant", "stratum_variable", "stratum")
        .agg(
            n_samples_called=pl.len(),
            allele_count=pl.col("allele_dosage").sum(),
            n_carriers=(pl.col("allele_dosage") > 0).sum(),
            n_homozygous=(pl.col("allele_dosage") == 2).sum(),
        )
        .with_columns(allele_number=2 * pl.col("n_samples_called").cast(pl.Int64))
    )
    return (
        counts.join(annotation, on="variant")
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )
