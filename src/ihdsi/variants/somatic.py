"""Gather somatic variants over a site's patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pysam

from ihdsi.alignment.quality import callable_intervals
from ihdsi.errors import InputError, Problem
from ihdsi.variants.call_sets import passing_records, require_genotypes
from ihdsi.variants.consequences import (
    CLASS_OF_MAF,
    alteration_class,
    worst_per_gene,
)
from ihdsi.variants.regions import read_targets, shared_megabases

__all__ = [
    "SOMATIC_SCHEMA",
    "gather_somatic",
    "read_maf",
    "read_somatic_calls",
    "with_gene_ids",
]

SOMATIC_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
    "gene_id": pl.String,
    "gene_name": pl.String,
    "consequence": pl.String,
    "alteration_class": pl.String,
    "tumour_depth": pl.Int64,
    "tumour_alternate_depth": pl.Int64,
    "allele_fraction": pl.Float64,
}


def read_somatic_calls(path: Path | str, patients: Mapping[str, str]) -> pl.DataFrame:
    """Read one annotated somatic call set.

    Parameters
    ----------
    path
        Normalised VCF/BCF with INFO/BCSQ (without it, the gene and consequence stay null).
    patients
        Tumour sample name in the file to patient.

    Returns
    -------
    polars.DataFrame
        Columns of `SOMATIC_SCHEMA` without gene identifiers: one row per patient, PASS variant
        carried by the tumour, and gene.

    Raises
    ------
    InputError
        If a sample or the genotypes are absent.
    """
    with pysam.VariantFile(str(path)) as source:
        require_genotypes(source.header, patients, path)
        rows = list(_somatic_rows(source, patients))
    return pl.DataFrame(rows, schema=SOMATIC_SCHEMA, orient="row")


def _somatic_rows(source: Any, patients: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    has_consequence = "BCSQ" in source.header.info
    for record in passing_records(source):
        genes: dict[str, tuple[str, str]] = {}
        if has_consequence and "BCSQ" in record.info:
            value = record.info["BCSQ"]
            genes = worst_per_gene(",".join(value) if isinstance(value, tuple) else value)
        for name, patient in patients.items():
            sample = record.samples[name]
            if 1 not in (sample.get("GT") or ()):
                continue
            depths = sample.get("AD") or (None, None)
            depth = sample.get("DP")
            alternate = depths[1] if len(depths) > 1 else None
            fraction = alternate / depth if alternate is not None and depth else None
            for gene, (consequence, _) in (genes or {"": ("", "")}).items():
                yield (
                    patient,
                    record.contig,
                    record.pos,
                    record.ref,
                    record.alts[0],
                    None,
                    gene or None,
                    consequence or None,
                    alteration_class(consequence) if consequence else "noncoding",
                    depth,
                    alternate,
                    fraction,
                )


_MAF_COLUMNS = (
    "Hugo_Symbol",
    "Chromosome",
    "Start_Position",
    "Reference_Allele",
    "Tumor_Seq_Allele2",
    "Variant_Classification",
    "Tumor_Sample_Barcode",
)


def read_maf(path: Path | str, patients: Mapping[str, str]) -> pl.DataFrame:
    """Read the mutations of some tumours from a MAF file (GDC MAF Format; may be gzipped).

    Parameters
    ----------
    path
        Tab-separated MAF; lines that begin with ``#`` are comments.
    patients
        ``Tumor_Sample_Barcode`` to patient. A tumour without a row has no mutation.

    Returns
    -------
    polars.DataFrame
        Columns of `SOMATIC_SCHEMA` without gene identifiers. Alleles stay in MAF notation, where
        an insertion or deletion has ``-`` as the other allele.

    Raises
    ------
    InputError
        If the file lacks a column or holds none of the tumours.
    """
    frame = pl.read_csv(
        path, separator="\t", comment_prefix="#", infer_schema=False, quote_char=None
    )
    absent = [column for column in _MAF_COLUMNS if column not in frame.columns]
    if absent:
        raise InputError(
            [
                Problem("this MAF column is missing", "Export the MAF with it.", path, 1, column)
                for column in absent
            ]
        )
    mine = frame.filter(pl.col("Tumor_Sample_Barcode").is_in(list(patients)))
    if mine.is_empty():
        raise InputError(
            Problem(
                f"none of the {len(patients)} tumours of the sample sheet occurs in the file",
                "Give the barcode in the sheet's column maf_sample.",
                path,
                None,
                "Tumor_Sample_Barcode",
            )
        )
    depth, alternate, fraction = _maf_depths(frame.columns)
    return mine.select(
        patient=pl.col("Tumor_Sample_Barcode").replace_strict(patients, return_dtype=pl.String),
        chromosome="Chromosome",
        position=pl.col("Start_Position").cast(pl.Int64),
        reference_allele="Reference_Allele",
        alternate_allele="Tumor_Seq_Allele2",
        gene_id=pl.lit(None, dtype=pl.String),
        gene_name="Hugo_Symbol",
        consequence="Variant_Classification",
        alteration_class=pl.col("Variant_Classification").replace_strict(
            CLASS_OF_MAF, default="noncoding", return_dtype=pl.String
        ),
        tumour_depth=depth.cast(pl.Int64, strict=False),
        tumour_alternate_depth=alternate.cast(pl.Int64, strict=False),
        allele_fraction=fraction.cast(pl.Float64, strict=False),
    )


def _maf_depths(columns: Iterable[str]) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    present = set(columns)
    nothing = pl.lit(None, dtype=pl.Float64)

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64, strict=False) if name in present else nothing

    depth, alternate, fraction = number("t_depth"), number("t_alt_count"), number("t_vaf")
    if "t_vaf" not in present:
        fraction = alternate / depth
    return depth, alternate, fraction


def with_gene_ids(variants: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """Fill gene_id by gene name from a catalogue; names outside it keep null."""
    names = catalogue.unique("gene_name", keep="none").select("gene_name", found="gene_id")
    return (
        variants.join(names, on="gene_name", how="left", maintain_order="left")
        .with_columns(gene_id=pl.coalesce("gene_id", "found"))
        .drop("found")
    )


def gather_somatic(
    call_sets: Sequence[tuple[Path | str, Mapping[str, str]]],
    mafs: Sequence[tuple[Path | str, Mapping[str, str]]],
    coverage: Mapping[str, Path | str],
    catalogue: pl.DataFrame,
    targets: Path | str | None,
    callable_depth: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Gather a site's somatic variants.

    Parameters
    ----------
    call_sets, mafs
        Files with the samples to read from each (name in the file to patient).
    coverage
        Patient to the tumour's quantized coverage (mosdepth), for the patients called from reads.
    catalogue
        gene_id and gene_name.
    targets
        BED of the sequenced regions; given call sets are taken to have covered all of it.
    callable_depth
        Coverage from which a base counts as assessed.

    Returns
    -------
    tuple of polars.DataFrame
        The variants (`SOMATIC_SCHEMA`) and the assessed patients: patient, callable_megabases
        (null where it cannot be known).
    """
    frames = [read_somatic_calls(path, patients) for path, patients in call_sets]
    frames += [read_maf(path, patients) for path, patients in mafs]
    variants = pl.concat(frames) if frames else pl.DataFrame(schema=SOMATIC_SCHEMA)
    target_megabases = shared_megabases(read_targets(targets)) if targets else None
    rows: list[tuple[str, float | None]] = []
    for _, patients in call_sets:
        rows += [
            (
                patient,
                _callable_megabases(coverage[patient], targets, callable_depth)
                if patient in coverage
                else target_megabases,
            )
            for patient in patients.values()
        ]
    rows += [(patient, target_megabases) for _, patients in mafs for patient in patients.values()]
    assessed = pl.DataFrame(
        rows, schema={"patient": pl.String, "callable_megabases": pl.Float64}, orient="row"
    )
    key = ["patient", "chromosome", "position", "reference_allele", "alternate_allele", "gene_name"]
    return with_gene_ids(variants, catalogue).sort(key), assessed.sort("patient")


def _callable_megabases(
    quantized: Path | str, targets: Path | str | None, callable_depth: int
) -> float:
    covered = callable_intervals(quantized, callable_depth)
    if targets is None:
        return shared_megabases(covered)
    return shared_megabases(covered, read_targets(targets))
