"""Reads of each allele at common single-nucleotide sites: the raw material of sample identity."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam

from ihdsi.errors import InputError, Problem
from ihdsi.study import SampleChecks
from ihdsi.variants.regions import read_targets, within_targets

__all__ = ["ALLELE_COUNTS_SCHEMA", "SITES_SCHEMA", "choose_common_sites", "count_alleles"]

#: Sites are SNVs of autosomes: two copies in everyone, so that genotypes mean the same in all.
SITES_SCHEMA: dict[str, Any] = {
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
    "allele_frequency": pl.Float64,
    "allele_number": pl.Int64,
}
ALLELE_COUNTS_SCHEMA: dict[str, Any] = {
    **SITES_SCHEMA,
    "reference_count": pl.Int64,
    "alternate_count": pl.Int64,
    "other_count": pl.Int64,
}
AUTOSOME = r"^(chr)?[0-9]+$"
#: Deepest pileup that is read; deeper sites are cut, which leaves the fractions as they are.
MAXIMUM_DEPTH = 20_000

logger = logging.getLogger(__name__)


def choose_common_sites(
    path: Path | str | None,
    settings: SampleChecks,
    targets: Path | str | None = None,
    counted_here: bool = False,
) -> pl.DataFrame:
    """Choose common biallelic SNVs, evenly spread, at which samples are compared.

    Parameters
    ----------
    path
        VCF or BCF whose records have the alternate allele's population frequency in INFO/AF, or,
        with `counted_here`, the site's own calls with INFO/AC and AN. Without any there are no
        sites, and what needs them stays undefined.
    settings
        Range of frequencies and largest number of sites.
    targets
        BED; sites elsewhere have no reads and are left out.
    counted_here
        Whether the frequencies are those of the site's own patients. Then `allele_number` says of
        how many alleles, so that a patient's own can be taken out again.

    Returns
    -------
    polars.DataFrame
        Columns of `SITES_SCHEMA` in the order of the file; position is 1-based.

    Raises
    ------
    InputError
        If the file's header lacks the fields.
    """
    if path is None:
        return pl.DataFrame(schema=SITES_SCHEMA)
    needed = ("AC", "AN") if counted_here else ("AF",)
    rows: list[tuple[str, int, str, str, float, int | None]] = []
    with pysam.VariantFile(str(path), drop_samples=True) as source:
        absent = [name for name in needed if name not in source.header.info]
        if absent:
            raise InputError(
                Problem(
                    f"the header has no INFO/{absent[0]}",
                    "Give common sites with their population frequency in INFO/AF.",
                    path,
                )
            )
        for record in source:
            alleles = record.alleles or ()
            if [len(allele) for allele in alleles] != [1, 1]:
                continue
            reference, alternate = alleles
            if any(name not in ("PASS", ".") for name in record.filter):
                continue
            if any(name not in record.info for name in needed):
                continue
            number = int(record.info["AN"]) if counted_here else None
            if number == 0:
                continue
            frequency = record.info["AC"][0] / number if number else _first(record.info["AF"])
            rows.append((record.chrom, record.pos, reference, alternate, float(frequency), number))
    found = pl.DataFrame(rows, schema=SITES_SCHEMA, orient="row").filter(
        pl.col("reference_allele").is_in(list("ACGT")),
        pl.col("alternate_allele").is_in(list("ACGT")),
        pl.col("chromosome").str.contains(AUTOSOME),
        # Two records of one position are a site of three alleles that was split.
        pl.struct("chromosome", "position").is_unique(),
        pl.col("allele_frequency").is_between(
            settings.minimum_site_frequency, settings.maximum_site_frequency
        ),
    )
    if targets is not None:
        found = within_targets(found, read_targets(targets))
    n_chosen = min(found.height, settings.maximum_sites)
    chosen = np.linspace(0, found.height - 1, n_chosen).round().astype(np.int64)
    logger.info("%d of %d common sites are compared", n_chosen, found.height)
    return found[chosen]


def _first(value: Any) -> float:  # noqa: ANN401 - INFO/AF is declared as A, as 1 or as R
    return float(value[0] if isinstance(value, tuple) else value)


def count_alleles(
    alignment: Path | str, sites: pl.DataFrame, settings: SampleChecks
) -> pl.DataFrame:
    """Count the reads of each allele at each site.

    Bases of low quality, reads of low mapping quality, duplicates and the second of two mates that
    overlap are left out.

    Parameters
    ----------
    alignment
        Sorted and indexed BAM or CRAM.
    sites
        Columns of `SITES_SCHEMA`.

    Returns
    -------
    polars.DataFrame
        Columns of `ALLELE_COUNTS_SCHEMA`, a row a site; zero where there is no read. other_count
        holds reads of the two remaining bases, which are errors.
    """
    counts = np.zeros((sites.height, 4), dtype=np.int64)
    places = sites.select("chromosome", "position").iter_rows()
    with pysam.AlignmentFile(str(alignment)) as reads:
        known = set(reads.references)
        unknown = sorted(set(sites["chromosome"]) - known)
        if unknown:
            logger.warning("the alignment does not know: %s", ", ".join(unknown))
        for row, (chromosome, position) in enumerate(places):
            if chromosome not in known:
                continue
            # Record by record, because an alignment is read through its index.
            for column in reads.pileup(
                chromosome,
                position - 1,
                position,
                truncate=True,
                stepper="samtools",
                min_base_quality=settings.minimum_base_quality,
                min_mapping_quality=settings.minimum_mapping_quality,
                ignore_overlaps=True,
                ignore_orphans=False,
                max_depth=MAXIMUM_DEPTH,
            ):
                bases = "".join(column.get_query_sequences()).upper()
                counts[row] = [bases.count(base) for base in "ACGT"]
    index = np.arange(sites.height)
    of_base = {base: number for number, base in enumerate("ACGT")}
    reference, alternate = (
        counts[
            index,
            sites[name].replace_strict(of_base, return_dtype=pl.Int64).to_numpy()
            if sites.height
            else index,
        ]
        for name in ("reference_allele", "alternate_allele")
    )
    return sites.with_columns(
        reference_count=pl.Series(reference),
        alternate_count=pl.Series(alternate),
        other_count=pl.Series(counts.sum(axis=1) - reference - alternate),
    ).select(pl.col(name).cast(kind) for name, kind in ALLELE_COUNTS_SCHEMA.items())
