"""Damage of DNA before sequencing: oxidation and deamination, told by the orientation of reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.study import SampleChecks
from ihdsi.variants.regions import merge_regions, read_targets

__all__ = ["SUBSTITUTIONS_SCHEMA", "artefact_rates", "count_substitutions"]

Integers = NDArray[np.int64]

SUBSTITUTIONS_SCHEMA: dict[str, Any] = {
    "template_base": pl.String,
    "read_base": pl.String,
    "n": pl.Int64,
}
BASES = "ACGT"
#: Reads are taken from at most so many places, evenly spread, each of at most so many bases.
N_WINDOWS = 400
WINDOW_LENGTH = 500
#: Sites where at least so many reads, and so large a share of them, differ from the genome are
#: variants, which the reads of one place need not show in both orientations alike.
VARIANT_READS, VARIANT_SHARE = 3, 0.2
MATCH, CLIPS = 0, (4, 5)
LEFT_OUT = 0x4 | 0x100 | 0x200 | 0x400 | 0x800

_CODE = np.full(256, 4, dtype=np.uint8)
for _number, _base in enumerate(BASES):
    _CODE[ord(_base)] = _number


def count_substitutions(
    alignment: Path | str,
    genome: Path | str,
    settings: SampleChecks,
    targets: Path | str | None = None,
) -> pl.DataFrame:
    """Compare a bounded sample of reads with the genome, in the orientation of the template.

    The first read of a pair shows the strand of DNA that the adapters were put on; the second
    shows its complement. Substitutions are counted on that strand. Reads with an indel are left
    out, as are duplicates, secondary and supplementary alignments, bases and mappings of low
    quality, and sites that look like a variant of the person. Single-end reads count as first
    reads.

    Parameters
    ----------
    alignment
        Sorted and indexed BAM or CRAM.
    genome
        FASTA with its index.
    settings
        Quality limits, and the largest number of reads, which bounds the time whatever the size
        of the file.
    targets
        BED of the sequenced regions; without it reads are taken from all chromosomes.

    Returns
    -------
    polars.DataFrame
        Columns of `SUBSTITUTIONS_SCHEMA`, 16 rows: base of the genome on the template strand, base
        that was read, number of bases.
    """
    matrix = np.zeros((4, 4), dtype=np.int64)
    with (
        pysam.AlignmentFile(str(alignment), reference_filename=str(genome)) as reads,
        pysam.FastaFile(str(genome)) as fasta,
    ):
        windows = _windows(reads, set(fasta.references), targets)
        per_window = max(1, settings.artefact_reads // max(1, len(windows)))
        for chromosome, start, end in windows:
            matrix += _count_window(reads, fasta, chromosome, start, end, per_window, settings)
    return pl.DataFrame(
        {
            "template_base": np.repeat(list(BASES), 4),
            "read_base": np.tile(list(BASES), 4),
            "n": matrix.ravel(),
        },
        schema=SUBSTITUTIONS_SCHEMA,
    )


def _windows(
    reads: pysam.AlignmentFile, known: set[str], targets: Path | str | None
) -> list[tuple[str, int, int]]:
    """Disjoint windows at equal distances along the targets, or along the chromosomes."""
    regions = (
        merge_regions(read_targets(targets))
        if targets is not None
        else pl.DataFrame(
            {"chromosome": reads.references, "start": 0, "end": reads.lengths},
            schema={"chromosome": pl.String, "start": pl.Int64, "end": pl.Int64},
        )
    ).filter(pl.col("chromosome").is_in(sorted(known & set(reads.references))))
    length = (regions["end"] - regions["start"]).to_numpy()
    total = int(length.sum())
    if not total:
        return []
    number = min(N_WINDOWS, -(-total // WINDOW_LENGTH))
    edges = np.arange(number + 1) * total // number
    offset = edges[:-1]
    region = np.searchsorted(np.cumsum(length), offset, side="right")
    start = regions["start"].to_numpy()[region] + offset - (np.cumsum(length) - length)[region]
    end = np.minimum(start + min(WINDOW_LENGTH, total // number), regions["end"].to_numpy()[region])
    names = regions["chromosome"].to_numpy()[region]
    return list(zip(names.tolist(), start.tolist(), end.tolist(), strict=True))


def _count_window(
    reads: pysam.AlignmentFile,
    fasta: pysam.FastaFile,
    chromosome: str,
    start: int,
    end: int,
    most: int,
    settings: SampleChecks,
) -> Integers:
    """Substitutions of at most `most` reads that begin in a window, shape (4, 4)."""
    bases: list[bytes] = []
    qualities: list[bytes] = []
    starts: list[int] = []
    complemented: list[bool] = []
    for read in reads.fetch(chromosome, start, end):
        if (
            read.reference_start < start
            or read.flag & LEFT_OUT
            or read.mapping_quality < settings.minimum_mapping_quality
            or [op for op, _ in read.cigartuples or () if op not in CLIPS] != [MATCH]
        ):
            continue
        sequence, quality_array = read.query_alignment_sequence, read.query_alignment_qualities
        if not sequence or quality_array is None:
            continue
        bases.append(sequence.encode())
        qualities.append(bytes(quality_array))
        starts.append(read.reference_start - start)
        complemented.append(read.is_reverse != read.is_read2)
        if len(starts) == most:
            break
    if not starts:
        return np.zeros((4, 4), dtype=np.int64)
    length = np.array([len(text) for text in bases])
    reference = fasta.fetch(chromosome, start, end + int(length.max())).upper().encode()
    code = _CODE[np.frombuffer(reference, dtype=np.uint8)]
    first = np.cumsum(length) - length
    place = np.arange(int(length.sum())) - np.repeat(first - np.array(starts), length)
    template = code[place]
    observed = _CODE[np.frombuffer(b"".join(bases), dtype=np.uint8)]
    quality = np.frombuffer(b"".join(qualities), dtype=np.uint8)
    used = (template < 4) & (observed < 4) & (quality >= settings.minimum_base_quality)
    changed = np.bincount(place[used & (template != observed)], minlength=len(code))
    covered = np.bincount(place[used], minlength=len(code))
    used &= ((changed < VARIANT_READS) | (changed < VARIANT_SHARE * covered))[place]
    turned = np.repeat(np.array(complemented), length)[used]
    template, observed = template[used].astype(np.int64), observed[used].astype(np.int64)
    # A, C, G, T are 0 to 3, so that the complement is 3 minus the code.
    template, observed = (np.where(turned, 3 - codes, codes) for codes in (template, observed))
    return np.bincount(4 * template + observed, minlength=16).reshape(4, 4)


def artefact_rates(substitutions: pl.DataFrame) -> dict[str, float]:
    """Rates of oxidation and deamination.

    Damage of one strand shows as a substitution without its complement: oxidised guanine as G>T
    without C>A (Costello et al. 2013, NAR 41:e67), deaminated cytosine, of fixed tissue, as C>T
    without G>A. True variants and errors of the sequencer show as both and cancel. The rate is
    that of Picard's CollectSequencingArtifactMetrics (pre-adapter):
    (substituted - substituted on the other strand) / all bases of either kind.

    Parameters
    ----------
    substitutions
        Columns of `SUBSTITUTIONS_SCHEMA`, counted on the template strand.

    Returns
    -------
    dict
        oxidation_artefact_rate and deamination_artefact_rate in damaged bases per million
        (Phred 30 is 1000); a negative excess is 0. Empty where no base was counted.
    """
    counts: dict[tuple[str, str], int] = {
        (template, read): n for template, read, n in substitutions.iter_rows()
    }
    total = sum(counts.get(pair, 0) for pair in (("C", "C"), ("G", "G")))

    def rate(damaged: tuple[str, str], complement: tuple[str, str]) -> float:
        with_artefact, without = counts.get(damaged, 0), counts.get(complement, 0)
        return 1e6 * max(0, with_artefact - without) / (total + with_artefact + without)

    if not total:
        return {}
    return {
        "oxidation_artefact_rate": rate(("G", "T"), ("C", "A")),
        "deamination_artefact_rate": rate(("C", "T"), ("G", "A")),
    }
