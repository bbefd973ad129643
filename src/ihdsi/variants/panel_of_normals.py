"""A site's panel of normals: how many normals show each allele at a low fraction."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pysam

from ihdsi.files import atomic_output
from ihdsi.quality_control import excluded_patients

__all__ = ["ALLELE", "needed_normals", "panel_members", "read_alleles", "write_panel_of_normals"]

ALLELE = ("chromosome", "position", "reference_allele", "alternate_allele")
logger = logging.getLogger(__name__)

_SCHEMA = dict(zip(ALLELE, (pl.String, pl.Int64, pl.String, pl.String), strict=True))


def read_alleles(path: Path | str) -> pl.DataFrame:
    """Read one normal's alleles: TSV without header of the columns `ALLELE`; each is kept once."""
    try:
        frame = pl.read_csv(
            path, separator="\t", has_header=False, new_columns=list(ALLELE), schema=_SCHEMA
        )
    except pl.exceptions.NoDataError:
        frame = pl.DataFrame(schema=_SCHEMA)
    return frame.unique(maintain_order=True)


def panel_members(patients: Sequence[str], decisions: pl.DataFrame) -> list[str]:
    """Patients whose normal is in the panel: one that failed may be another person's or mixed.

    Parameters
    ----------
    patients
        Patients with a normal with reads.
    decisions
        Columns of `ihdsi.quality_control.DECISIONS_SCHEMA`, made without somatic calls, which the
        panel filters.

    Returns
    -------
    list of str
        In the order of `patients`. A normal without a decision is kept, as no fault is known.
    """
    failed = excluded_patients(decisions, ["normal_dna"])
    if absent := [patient for patient in patients if patient in failed]:
        logger.info(
            "%d of %d normals failed quality control and are not in the panel: %s",
            len(absent),
            len(patients),
            ", ".join(absent),
        )
    return [patient for patient in patients if patient not in failed]


def needed_normals(n_others: int, minimum_number: int, minimum_share: float) -> int:
    """Return how many of `n_others` normals must show an allele before it is filtered.

    The share keeps a large panel from collecting sequencing errors until every allele is in it.
    """
    return max(minimum_number, math.ceil(minimum_share * n_others - 1e-9))


def write_panel_of_normals(
    alleles: Sequence[Sequence[Path | str]],
    index: Path | str,
    output: Path | str,
    minimum_number: int,
) -> None:
    """Count in how many normals each allele is seen, as GATK's CreateSomaticPanelOfNormals does.

    Benjamin et al. 2019 (bioRxiv 861054), "panel of normals". Regions are read one at a time, so
    that memory holds the alleles of one region.

    Parameters
    ----------
    alleles
        For each region, in the order of the genome, one file of each normal (`read_alleles`).
    index
        ``.fai`` of the genome.
    output
        bgzipped VCF with INFO/N, the number of normals; indexed.
    minimum_number
        Alleles of fewer normals are left out.
    """
    contigs = pl.read_csv(index, separator="\t", has_header=False, infer_schema=False)
    names, lengths = contigs[contigs.columns[0]], contigs[contigs.columns[1]]
    n_normals = max(map(len, alleles), default=0)
    header = [
        "##fileformat=VCFv4.2",
        f"##panel_of_normals=<Normals={n_normals},Minimum={minimum_number}>",
        '##INFO=<ID=N,Number=1,Type=Integer,Description="Normals that show the allele">',
        *(f"##contig=<ID={n},length={size}>" for n, size in zip(names, lengths, strict=True)),
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    order = pl.Enum(names.unique(maintain_order=True))
    with atomic_output(output) as temporary:
        with pysam.BGZFile(str(temporary), "wb", index=None) as stream:
            stream.write("".join(f"{line}\n" for line in header).encode())
            for region in alleles:
                stream.write(_counted(region, order, minimum_number).encode())
        pysam.tabix_index(str(temporary), preset="vcf", force=True, keep_original=True)
        Path(f"{temporary}.tbi").replace(f"{output}.tbi")


def _counted(normals: Sequence[Path | str], order: pl.Enum, minimum_number: int) -> str:
    everything = pl.concat(
        [pl.DataFrame(schema=_SCHEMA), *(read_alleles(normal) for normal in normals)]
    )
    lines = (
        everything.group_by(ALLELE)
        .agg(normals=pl.len())
        .filter(pl.col("normals") >= minimum_number)
        .sort(pl.col("chromosome").cast(order), *ALLELE[1:])
        .select(
            pl.format(
                "{}\t{}\t.\t{}\t{}\t.\t.\tN={}\n",
                *ALLELE,
                "normals",
            ).str.join("")
        )
    )
    return str(lines.item() or "")
