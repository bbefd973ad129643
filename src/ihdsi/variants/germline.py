"""Gather germline genotypes over a site's patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pysam

from ihdsi.alignment.quality import callable_intervals
from ihdsi.study import GermlineFilters
from ihdsi.variants.call_sets import passing_records, require_genotypes
from ihdsi.variants.consequences import worst_per_gene
from ihdsi.variants.somatic import with_gene_ids

__all__ = ["GERMLINE_SCHEMA", "complete_genotypes", "gather_germline", "read_germline_calls"]

VARIANT_KEY = ["chromosome", "position", "reference_allele", "alternate_allele"]
GERMLINE_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
    "gene_id": pl.String,
    "gene_name": pl.String,
    "consequence": pl.String,
    "allele_dosage": pl.Int64,
}


def read_germline_calls(
    path: Path | str, patients: Mapping[str, str], settings: GermlineFilters
) -> pl.DataFrame:
    """Read one annotated germline call set.

    Parameters
    ----------
    path
        Normalised VCF/BCF (one alternate allele a record), with INFO/BCSQ if annotated.
    patients
        Sample name in the file to patient.
    settings
        Genotypes with DP or GQ below the limits (where the file gives them) are not called.

    Returns
    -------
    polars.DataFrame
        Columns of `GERMLINE_SCHEMA`, one row per patient and record that passes; allele_dosage is
        the number of alternate alleles, null where not called.

    Raises
    ------
    InputError
        If a sample or the genotypes are absent.
    """
    with pysam.VariantFile(str(path)) as source:
        require_genotypes(source.header, patients, path)
        rows = list(_germline_rows(source, patients, settings))
    return pl.DataFrame(rows, schema=GERMLINE_SCHEMA, orient="row")


def _germline_rows(
    source: Any,  # noqa: ANN401 - pysam
    patients: Mapping[str, str],
    settings: GermlineFilters,
) -> Iterator[tuple[Any, ...]]:
    has_consequence = "BCSQ" in source.header.info
    for record in passing_records(source):
        gene, consequence = None, None
        if has_consequence and "BCSQ" in record.info:
            value = record.info["BCSQ"]
            worst = worst_per_gene(",".join(value) if isinstance(value, tuple) else value)
            if worst:
                gene, (consequence, _) = next(iter(worst.items()))
        for name, patient in patients.items():
            yield (
                patient,
                record.contig,
                record.pos,
                record.ref,
                record.alts[0],
                None,
                gene,
                consequence,
                _dosage(record.samples[name], settings),
            )


def _dosage(sample: Any, settings: GermlineFilters) -> int | None:  # noqa: ANN401 - pysam
    alleles = sample.get("GT") or (None,)
    depth, quality = sample.get("DP"), sample.get("GQ")
    if (
        any(allele is None for allele in alleles)
        or (depth is not None and depth < settings.minimum_depth)
        or (quality is not None and quality < settings.minimum_genotype_quality)
    ):
        return None
    # A haploid call (sex chromosomes, mitochondria) counts the alleles that are there.
    return int(sum(allele == 1 for allele in alleles))


def complete_genotypes(
    called: pl.DataFrame, callable_regions: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Add the reference genotypes that single-patient calling leaves unsaid.

    A caller that runs on one patient writes only the sites where that patient differs from the
    reference. At a site known from another patient, this patient is homozygous reference if the
    site was well covered, and not called otherwise.

    Parameters
    ----------
    called
        Columns of `GERMLINE_SCHEMA`, all patients of the site.
    callable_regions
        Patient to intervals (chromosome, 0-based start, end; sorted, not overlapping) with
        enough coverage, for the patients called from reads. Patients without an entry come from
        a cohort's own call set: a site that their file does not list stays unknown.

    Returns
    -------
    polars.DataFrame
        `called` plus one row with allele_dosage 0 for each further (patient, variant) that is
        callable.
    """
    variants = (
        called.sort("gene_name", nulls_last=True)
        .unique(VARIANT_KEY, keep="first")
        .drop("patient", "allele_dosage")
        .sort(VARIANT_KEY)
    )
    frames = [called]
    for patient, regions in callable_regions.items():
        own = called.filter(pl.col("patient") == patient)
        unsaid = variants.join(own, on=VARIANT_KEY, how="anti")
        frames.append(
            _within(unsaid, regions)
            .with_columns(patient=pl.lit(patient), allele_dosage=pl.lit(0, dtype=pl.Int64))
            .select(list(GERMLINE_SCHEMA))
        )
    return pl.concat(frames).sort([*VARIANT_KEY, "patient"])


def _within(variants: pl.DataFrame, regions: pl.DataFrame) -> pl.DataFrame:
    """Variants whose first base lies in one of the sorted, disjoint regions."""
    if variants.is_empty() or regions.is_empty():
        return variants.clear()
    return (
        variants.sort("chromosome", "position")
        .with_columns(base=pl.col("position") - 1)
        .join_asof(
            regions.sort("chromosome", "start"),
            left_on="base",
            right_on="start",
            by="chromosome",
            strategy="backward",
            check_sortedness=False,
        )
        .filter(pl.col("base") < pl.col("end"))
        .select(variants.columns)
    )


def gather_germline(
    call_sets: Sequence[tuple[Path | str, Mapping[str, str]]],
    coverage: Mapping[str, Path | str],
    settings: GermlineFilters,
    catalogue: Path | str | None = None,
) -> pl.DataFrame:
    """Read all call sets of a site, complete them (`complete_genotypes`) and name the genes.

    Parameters
    ----------
    call_sets
        Files with the samples to read from each (name in the file to patient).
    coverage
        Patient to the normal's quantized coverage (mosdepth), for the patients called from reads.
    settings
        The study's limits.
    catalogue
        Parquet with gene_id and gene_name, if the study has genes.
    """
    frames = [read_germline_calls(path, patients, settings) for path, patients in call_sets]
    called = pl.concat(frames) if frames else pl.DataFrame(schema=GERMLINE_SCHEMA)
    regions = {
        patient: callable_intervals(path, settings.callable_depth)
        for patient, path in coverage.items()
    }
    complete = complete_genotypes(called, regions)
    return with_gene_ids(complete, pl.read_parquet(catalogue)) if catalogue else complete
