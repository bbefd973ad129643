"""Somatic alterations: how many patients have a gene altered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import ENSEMBL_GENE, STRATUM_COLUMNS, Column, Constraint, TableSpec

__all__ = ["ANY", "PROTEIN_ALTERING", "SPEC", "build_gene_alterations"]

#: Classes that change the protein; synonymous and non-coding variants count in none of them.
PROTEIN_ALTERING = ("truncating", "missense", "inframe", "splice", "other")
#: At least one protein-altering variant of whatever class.
ANY = "any"

SPEC = TableSpec(
    name="gene_alterations",
    version=1,
    description="Patients with a protein-altering somatic variant, by gene, class and stratum.",
    columns=(
        Column("gene_id", pl.String, "key", pattern=ENSEMBL_GENE),
        Column("gene_name", pl.String, "label"),
        Column("coding_length", pl.Int64, "label", nullable=True, positive=True, description="bp"),
        Column("alteration_class", pl.String, "key", allowed=(ANY, *PROTEIN_ALTERING)),
        *STRATUM_COLUMNS,
        Column("n_assessed", pl.Int64, "count", minimum=0, description="Patients with calls."),
        Column("n_altered", pl.Int64, "count", minimum=0, description="Patients."),
    ),
    keys=("gene_id", "alteration_class", "stratum_variable", "stratum"),
    constraints=(
        Constraint(
            "n_altered",
            lambda: pl.col("n_altered") <= pl.col("n_assessed"),
            "n_altered ≤ n_assessed",
        ),
    ),
)


def build_gene_alterations(
    variants: pl.DataFrame,
    assessed: pl.DataFrame,
    catalogue: pl.DataFrame,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
    genes: Collection[str] | None = None,
) -> pl.DataFrame:
    """Count altered patients per gene.

    Parameters
    ----------
    variants
        patient, gene_id and alteration_class, one row a variant and gene.
    assessed
        patient: everyone with a somatic call set, altered or not.
    catalogue
        gene_id, gene_name and optionally coding_length: the genes that are reported, with zero
        counts where nobody is altered. Variants in other genes are not counted.
    clinical, strata
        Patients' clinical variables, and those whose levels are strata.
    genes
        Gene ids to restrict the catalogue to, if the study names some.

    Returns
    -------
    polars.DataFrame
        The table `gene_alterations`; a patient counts once per gene and class.

    Raises
    ------
    InputError
        If a patient has variants without being assessed: the denominator would be wrong.
    """
    unassessed = variants.join(assessed, on="patient", how="anti")
    if unassessed.height:
        raise InputError(
            Problem(
                f"{unassessed['patient'].n_unique()} patients have somatic variants but no entry "
                "in somatic_assessed",
                "Collect the somatic call sets again; both tables come from one job.",
                file="somatic_variants.parquet",
                column="patient",
            )
        )
    reported = catalogue.select(
        "gene_id",
        "gene_name",
        (
            pl.col("coding_length")
            if "coding_length" in catalogue.columns
            else pl.lit(None).alias("coding_length")
        ),
    ).unique("gene_id", keep="first", maintain_order=True)
    if genes is not None:
        reported = reported.filter(pl.col("gene_id").is_in(list(genes)))
    membership = stratify(assessed["patient"].unique(maintain_order=True), clinical, strata)
    sizes = membership.group_by("stratum_variable", "stratum").agg(n_assessed=pl.len())
    altering = variants.filter(pl.col("alteration_class").is_in(PROTEIN_ALTERING)).select(
        "patient", "gene_id", "alteration_class"
    )
    counts = (
        pl.concat([altering, altering.with_columns(alteration_class=pl.lit(ANY))])
        .unique()
        .join(membership, on="patient")
        .group_by("gene_id", "alteration_class", "stratum_variable", "stratum")
        .agg(n_altered=pl.len())
    )
    classes = pl.DataFrame({"alteration_class": [ANY, *PROTEIN_ALTERING]})
    return (
        reported.join(classes, how="cross")
        .join(sizes, how="cross")
        .join(counts, on=list(SPEC.keys), how="left")
        .with_columns(
            pl.col("n_altered").fill_null(0),
            pl.col("gene_name").fill_null(pl.col("gene_id")),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )
