"""Somatic alterations: how many patients have a gene altered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import (
    GENE_COLUMNS,
    STRATUM_COLUMNS,
    Column,
    Constraint,
    Predecessor,
    TableSpec,
)

__all__ = [
    "ANY",
    "COPY_NUMBER",
    "PROMOTER",
    "PROTEIN_ALTERING",
    "SPEC",
    "build_gene_alterations",
]

#: Classes of small variants that change the protein; synonymous and non-coding variants count in
#: none. A variant counts in its most specific class: at a hotspot it is hotspot, not missense.
PROTEIN_ALTERING = ("truncating", "missense", "hotspot", "inframe", "splice", "other")
#: At least one protein-altering variant of whatever class. Promoter variants and copy numbers are
#: not in it: the recurrence test compares it with what the coding sequence collects by chance.
ANY = "any"
#: Variants at a promoter hotspot.
PROMOTER = "promoter"
#: Copy-number classes; a patient has at most one of them in a gene.
COPY_NUMBER = ("amplification", "gain", "loss", "deletion")

_COLUMNS = (
    *GENE_COLUMNS,
    Column(
        "coding_length",
        pl.Int64,
        "label",
        nullable=True,
        positive=True,
        unit="{bp}",
        description="Length of the coding sequence.",
    ),
    Column(
        "alteration_class",
        pl.String,
        "key",
        allowed=(ANY, *PROTEIN_ALTERING, PROMOTER, *COPY_NUMBER),
        description="any: a protein-altering small variant (not promoter, not copy number).",
    ),
    *STRATUM_COLUMNS,
    Column(
        "n_assessed",
        pl.Int64,
        "count",
        minimum=0,
        unit="1",
        description="Patients with somatic calls; of copy-number classes, with copy numbers.",
    ),
    Column(
        "n_altered",
        pl.Int64,
        "count",
        minimum=0,
        unit="1",
        description="Patients with an alteration of the class.",
    ),
)

#: Classes of version 1, which knew neither hotspots, promoters nor copy numbers.
_CLASSES_1 = (ANY, "truncating", "missense", "inframe", "splice", "other")
_KEYS = ("gene_id", "alteration_class", "stratum_variable", "stratum")
_ALTERED = Constraint(
    "n_altered", lambda: pl.col("n_altered") <= pl.col("n_assessed"), "n_altered ≤ n_assessed"
)


def _upgraded(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep what both versions mean alike: version 1 counted hotspots in its other classes."""
    return frame.filter(pl.col("alteration_class") == ANY)


_PREDECESSOR = Predecessor(
    TableSpec(
        name="gene_alterations",
        version=1,
        description="Patients with a protein-altering somatic variant, by gene, class and stratum.",
        columns=tuple(
            replace(column, allowed=_CLASSES_1) if column.name == "alteration_class" else column
            for column in _COLUMNS
        ),
        keys=_KEYS,
        constraints=(_ALTERED,),
    ),
    _upgraded,
    "Rows of the class any are kept. The other classes are dropped: version 1 counted a variant at "
    "a hotspot in the class of its consequence, version 2 does not.",
)

SPEC = TableSpec(
    name="gene_alterations",
    version=2,
    description="Patients with a somatic alteration, by gene, class and stratum.",
    columns=_COLUMNS,
    keys=_KEYS,
    constraints=(_ALTERED,),
    predecessor=_PREDECESSOR,
)


def build_gene_alterations(
    variants: pl.DataFrame,
    assessed: pl.DataFrame,
    catalogue: pl.DataFrame,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
    genes: Collection[str] | None = None,
    copy_number: pl.DataFrame | None = None,
    promoter_genes: Collection[str] = (),
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
        Gene ids to restrict the catalogue to, where not all of them are sequenced.
    copy_number
        patient, gene_id, gene_name and copy_number_class, one row a patient and gene that was
        assessed (``neutral`` included), if the site has copy numbers. Only its genes have rows of
        the copy-number classes, whether the catalogue lists them or not.
    promoter_genes
        Names of genes whose promoter hotspots the study can place and sequences: others have no
        row of that class, because nobody looked.

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
    small = ["patient", "gene_id", "alteration_class"]
    altering = variants.filter(pl.col("alteration_class").is_in(PROTEIN_ALTERING)).select(small)
    tables = [
        _counted(
            pl.concat([altering, altering.with_columns(alteration_class=pl.lit(ANY))]),
            assessed.select("patient"),
            reported,
            (ANY, *PROTEIN_ALTERING),
            clinical,
            strata,
        ),
        _counted(
            variants.filter(pl.col("alteration_class") == PROMOTER).select(small),
            assessed.select("patient"),
            reported.filter(pl.col("gene_name").is_in(list(promoter_genes))),
            (PROMOTER,),
            clinical,
            strata,
        ),
    ]
    if copy_number is not None:
        lengths = reported.select("gene_id", "coding_length")
        copied = copy_number.select("gene_id", "gene_name").unique("gene_id", maintain_order=True)
        changed = copy_number.rename({"copy_number_class": "alteration_class"})
        tables.append(
            _counted(
                changed.filter(pl.col("alteration_class").is_in(COPY_NUMBER)).select(small),
                copy_number.select("patient", "gene_id"),
                copied.join(lengths, on="gene_id", how="left", maintain_order="left"),
                COPY_NUMBER,
                clinical,
                strata,
            )
        )
    return pl.concat(tables).sort(SPEC.keys)


def _counted(
    altered: pl.DataFrame,
    assessed: pl.DataFrame,
    reported: pl.DataFrame,
    classes: Sequence[str],
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
) -> pl.DataFrame:
    """Count patients of each gene, class and stratum, zeros included.

    `assessed` holds patient and, where it differs between genes, gene_id.
    """
    patients = assessed["patient"].unique(maintain_order=True)
    membership = stratify(patients, clinical, strata)
    gene = [name for name in ("gene_id",) if name in assessed.columns]
    sizes = (
        assessed.unique()
        .join(membership, on="patient")
        .group_by(*gene, "stratum_variable", "stratum")
        .agg(n_assessed=pl.len())
    )
    counts = (
        altered.unique()
        .join(membership, on="patient")
        .group_by("gene_id", "alteration_class", "stratum_variable", "stratum")
        .agg(n_altered=pl.len())
    )
    names = pl.DataFrame({"alteration_class": list(classes)})
    return (
        reported.select("gene_id", "gene_name", "coding_length")
        .join(names, how="cross")
        .join(sizes, on=gene or None, how="inner" if gene else "cross")
        .join(counts, on=list(SPEC.keys), how="left")
        .with_columns(
            pl.col("n_altered").fill_null(0),
            pl.col("gene_name").fill_null(pl.col("gene_id")),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
    )
