"""The 96 channels of single-base substitutions, and the trinucleotides that they happen in."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.variant_frequencies import VARIANT_KEY
from ihdsi.variants.regions import merge_regions

__all__ = [
    "BASES",
    "CHANNELS",
    "TRINUCLEOTIDES",
    "TRINUCLEOTIDE_OF_CHANNEL",
    "base_codes",
    "channels_of",
    "genome_channels",
    "maf_channels",
    "single_base_substitutions",
    "trinucleotide_counts",
]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Base codes are bytes, because chromosomes are long.
Codes = NDArray[np.uint8]

BASES = "ACGT"
#: Substitutions of the pyrimidine, in COSMIC's order.
SUBSTITUTIONS = ("C>A", "C>G", "C>T", "T>A", "T>C", "T>G")

#: The 96 channels in the order of COSMIC's files: base before, substitution, base after.
CHANNELS: tuple[str, ...] = tuple(
    f"{before}[{substitution}]{after}"
    for before, substitution, after in product(BASES, SUBSTITUTIONS, BASES)
)
#: The 32 trinucleotides with a pyrimidine in the middle.
TRINUCLEOTIDES: tuple[str, ...] = tuple(map("".join, product(BASES, "CT", BASES)))
#: Index in `TRINUCLEOTIDES` of each channel (96).
TRINUCLEOTIDE_OF_CHANNEL: Integers = np.array(
    [TRINUCLEOTIDES.index(f"{name[0]}{name[2]}{name[6]}") for name in CHANNELS]
)

#: Code of everything that is not A, C, G or T.
_UNKNOWN = 4
_CODE_OF_BYTE = np.full(256, _UNKNOWN, dtype=np.uint8)
for _code, _base in enumerate(BASES):
    _CODE_OF_BYTE[[ord(_base), ord(_base.lower())]] = _code

# By the codes of reference and alternate base, after folding; -1 where there is no substitution.
_SUBSTITUTION_INDEX = np.full((5, 5), -1, dtype=np.int64)
for _index, _substitution in enumerate(SUBSTITUTIONS):
    _SUBSTITUTION_INDEX[BASES.index(_substitution[0]), BASES.index(_substitution[2])] = _index


def base_codes(text: str) -> Codes:
    """Code of each base: A 0, C 1, G 2, T 3 (either case), anything else 4."""
    codes: Codes = _CODE_OF_BYTE[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
    return codes


def _complement(codes: Codes) -> Codes:
    return np.where(codes == _UNKNOWN, codes, np.uint8(3) - codes)


def channels_of(before: Codes, reference: Codes, alternate: Codes, after: Codes) -> Integers:
    """Channel of each substitution, folded onto the strand whose reference is a pyrimidine.

    Parameters
    ----------
    before, reference, alternate, after
        Base codes (n) of one strand, read 5' to 3'.

    Returns
    -------
    numpy.ndarray
        Indices into `CHANNELS` (n); -1 where a base is unknown or nothing is substituted.
    """
    purine = (reference == 0) | (reference == 2)
    first = np.where(purine, _complement(after), before)
    last = np.where(purine, _complement(before), after)
    substitution = _SUBSTITUTION_INDEX[
        np.where(purine, _complement(reference), reference),
        np.where(purine, _complement(alternate), alternate),
    ]
    known = (substitution >= 0) & (first != _UNKNOWN) & (last != _UNKNOWN)
    return np.where(known, (first * len(SUBSTITUTIONS) + substitution) * 4 + last, -1)


def single_base_substitutions(variants: pl.DataFrame) -> pl.DataFrame:
    """Pick the single-base substitutions, each once a patient.

    Parameters
    ----------
    variants
        ``somatic_variants``: a variant over two genes stands there twice. Of its rows the one with
        a protein change is kept.

    Returns
    -------
    polars.DataFrame
        patient, chromosome, position, reference_allele, alternate_allele, gene_name,
        protein_change; sorted by patient and place.
    """
    base = f"^[{BASES}]$"
    return (
        variants.filter(
            pl.col("reference_allele").str.contains(base)
            & pl.col("alternate_allele").str.contains(base)
        )
        .select("patient", *VARIANT_KEY, "gene_name", "protein_change")
        .sort("patient", *VARIANT_KEY, pl.col("protein_change").is_null(), "gene_name")
        .unique(["patient", *VARIANT_KEY], keep="first", maintain_order=True)
    )


def genome_channels(substitutions: pl.DataFrame, genome: Path | str) -> Integers:
    """Channel of each substitution from the reference genome.

    Each chromosome with a substitution is fetched once; memory is bounded by the longest.

    Parameters
    ----------
    substitutions
        chromosome, position (1-based), reference_allele, alternate_allele; one base each.
    genome
        Indexed FASTA.

    Returns
    -------
    numpy.ndarray
        Indices into `CHANNELS` (rows of `substitutions`); -1 where a neighbour is not A, C, G, T.

    Raises
    ------
    InputError
        If the genome lacks a chromosome, or has another base at any of the places than the
        variant's reference: the variants are then of another build, and no context can be trusted.
    """
    channels = np.full(substitutions.height, -1, dtype=np.int64)
    position = substitutions["position"].to_numpy() - 1
    reference = base_codes("".join(substitutions["reference_allele"]))
    alternate = base_codes("".join(substitutions["alternate_allele"]))
    rows_of = substitutions.with_row_index("row").group_by("chromosome", maintain_order=True)
    wrong: list[str] = []
    n_wrong = 0
    with pysam.FastaFile(str(genome)) as fasta:
        for (chromosome,), part in rows_of:
            rows = part["row"].to_numpy()
            if chromosome not in fasta.references:
                raise InputError(
                    Problem(
                        f"the genome has no chromosome '{chromosome}', on which {len(rows)} "
                        "somatic substitutions lie",
                        "Name the chromosomes of the VCF or MAF as the study's genome does.",
                        file=genome,
                    )
                )
            # A neighbour beyond the chromosome's end is unknown.
            codes = np.pad(base_codes(fasta.fetch(chromosome)), 1, constant_values=_UNKNOWN)
            place = np.minimum(position[rows] + 1, len(codes) - 1)
            differs = codes[place] != reference[rows]
            n_wrong += int(differs.sum())
            wrong += [f"{chromosome}:{position[row] + 1}" for row in rows[differs][:3]]
            inside = np.clip(place, 1, len(codes) - 2)
            channels[rows] = channels_of(
                codes[inside - 1], reference[rows], alternate[rows], codes[inside + 1]
            )
    if n_wrong:
        raise InputError(
            Problem(
                f"{n_wrong} of {substitutions.height} somatic substitutions have another reference "
                f"base than the genome, for example at {', '.join(wrong[:3])}",
                "Give variants and genome of the same build.",
                file=genome,
            )
        )
    return channels


def maf_channels(path: Path | str, patients: Mapping[str, str]) -> pl.DataFrame:
    """Channel of each substitution from a MAF's own column CONTEXT, where it has one.

    The Genomic Data Commons gives the reference base and five bases on either side, on the plus
    strand (GDC MAF Format v1.0.0, column CONTEXT).

    Parameters
    ----------
    path
        Tab-separated MAF, plain or gzipped.
    patients
        Tumor_Sample_Barcode to patient.

    Returns
    -------
    polars.DataFrame
        patient, chromosome, position, reference_allele, alternate_allele, channel (index into
        `CHANNELS`); no rows where the file has no such column.

    Raises
    ------
    InputError
        If the middle base of a context is not the variant's reference.
    """
    columns = {
        "Chromosome": "chromosome",
        "Start_Position": "position",
        "Reference_Allele": "reference_allele",
        "Tumor_Seq_Allele2": "alternate_allele",
    }
    schema = {
        "patient": pl.String,
        "chromosome": pl.String,
        "position": pl.Int64,
        "reference_allele": pl.String,
        "alternate_allele": pl.String,
        "channel": pl.Int64,
    }
    form = {"separator": "\t", "comment_prefix": "#", "infer_schema": False, "quote_char": None}
    header = pl.read_csv(path, n_rows=0, **form).columns  # type: ignore[arg-type]
    if "CONTEXT" not in header:
        return pl.DataFrame(schema=schema)
    width = pl.col("CONTEXT").str.len_chars()
    base = f"^[{BASES}]$"
    rows = (
        pl.read_csv(path, columns=["Tumor_Sample_Barcode", *columns, "CONTEXT"], **form)  # type: ignore[arg-type]
        .rename(columns)
        .with_row_index("row", offset=2)
        .filter(
            pl.col("Tumor_Sample_Barcode").is_in(list(patients))
            & pl.col("reference_allele").str.contains(base)
            & pl.col("alternate_allele").str.contains(base)
            & (width >= 3)
            & (width % 2 == 1)
        )
        .with_columns(
            pl.col("position").cast(pl.Int64),
            patient=pl.col("Tumor_Sample_Barcode").replace_strict(
                dict(patients), return_dtype=pl.String
            ),
            context=pl.col("CONTEXT").str.to_uppercase().str.slice(width // 2 - 1, 3),
        )
    )
    wrong = rows.filter(pl.col("context").str.slice(1, 1) != pl.col("reference_allele"))
    if wrong.height:
        raise InputError(
            Problem(
                f"the middle of the context {wrong['CONTEXT'][0]} is not the reference base "
                f"{wrong['reference_allele'][0]} ({wrong.height} rows differ)",
                "Export the MAF again, or without this column.",
                path,
                int(wrong["row"][0]),
                "CONTEXT",
            )
        )
    context = base_codes("".join(rows["context"])).reshape(-1, 3)
    channel = channels_of(
        context[:, 0], context[:, 1], base_codes("".join(rows["alternate_allele"])), context[:, 2]
    )
    return rows.with_columns(channel=pl.Series(channel, dtype=pl.Int64)).select(*schema)


def trinucleotide_counts(genome: Path | str, regions: pl.DataFrame) -> Floats:
    """Count the trinucleotides whose middle base lies in the regions, both strands together.

    The genome is read chromosome by chromosome; memory is bounded by the longest that has regions.

    Parameters
    ----------
    genome
        Indexed FASTA.
    regions
        chromosome, start (0-based), end (exclusive); they may overlap.

    Returns
    -------
    numpy.ndarray
        Counts (32) in the order of `TRINUCLEOTIDES`. Places with an unknown base do not count.

    Raises
    ------
    InputError
        If the genome lacks a chromosome of the regions.
    """
    counts = np.zeros(len(TRINUCLEOTIDES))
    with pysam.FastaFile(str(genome)) as fasta:
        for (chromosome,), part in merge_regions(regions).group_by(
            "chromosome", maintain_order=True
        ):
            if chromosome not in fasta.references:
                raise InputError(
                    Problem(
                        f"the genome has no chromosome '{chromosome}', which the targets name",
                        "Give targets of the study's genome.",
                        file=genome,
                    )
                )
            codes = base_codes(fasta.fetch(chromosome))
            length = len(codes)
            edge = np.zeros(length + 1, dtype=np.int8)
            edge[np.minimum(part["start"].to_numpy(), length)] += 1
            edge[np.minimum(part["end"].to_numpy(), length)] -= 1
            middle = np.flatnonzero(np.cumsum(edge[1:-1], dtype=np.int8) + edge[0]) + 1
            middle = middle[middle < length - 1]
            counts += _folded_counts(codes[middle - 1], codes[middle], codes[middle + 1])
    return counts


def _folded_counts(before: Codes, middle: Codes, after: Codes) -> Floats:
    known = (before != _UNKNOWN) & (middle != _UNKNOWN) & (after != _UNKNOWN)
    triple = (before[known] * np.uint8(16)) + (middle[known] * np.uint8(4)) + after[known]
    ordered = np.bincount(triple, minlength=64).reshape(4, 4, 4).astype(float)
    both = ordered + ordered[::-1, ::-1, ::-1].transpose(2, 1, 0)
    folded: Floats = both[:, [1, 3], :].reshape(-1)
    return folded
