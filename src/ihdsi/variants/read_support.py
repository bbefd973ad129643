"""Which reads carry an allele, and where in the read it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

__all__ = ["ReadSupport", "end_distances", "read_support"]

#: Operations of a CIGAR (SAM 1.6, section 1.4.6): consume the read, consume the reference.
_READ = frozenset((0, 1, 4, 7, 8))
_REFERENCE = frozenset((0, 2, 3, 7, 8))


@dataclass(frozen=True)
class ReadSupport:
    """Reads over one variant.

    Attributes
    ----------
    covering
        Names of the reads (with the mate's number) that show every base of the allele.
    carrying
        Those of them that show the alternate allele.
    distances
        Bases between the allele and the nearer end of the aligned part, of each carrying read.
    """

    covering: frozenset[str]
    carrying: frozenset[str]
    distances: NDArray[np.int64]


def read_support(
    alignment: Path | str,
    variants: pl.DataFrame,
    minimum_mapping_quality: int,
    minimum_base_quality: int,
) -> Iterator[ReadSupport]:
    """Look at the reads over each variant.

    Parameters
    ----------
    alignment
        Indexed BAM or CRAM of one sample.
    variants
        chromosome, position (1-based), reference_allele, alternate_allele.
    minimum_mapping_quality, minimum_base_quality
        Reads below, and alleles with a base below, are not looked at, like the caller's.

    Yields
    ------
    ReadSupport
        One a variant. Duplicates, secondary, supplementary and failed reads do not count. An indel
        that the aligner placed elsewhere than its normalised position is not found in the read.
    """
    with pysam.AlignmentFile(str(alignment)) as reads:
        for chromosome, position, reference, alternate in variants.select(
            "chromosome", "position", "reference_allele", "alternate_allele"
        ).iter_rows():
            covering, carrying, distances = set(), set(), []
            for read in reads.fetch(chromosome, position - 1, position):
                if read.flag & 0xF04 or read.mapping_quality < minimum_mapping_quality:
                    continue
                shown = _shown(read, position - 1, len(reference), minimum_base_quality)
                if shown is None:
                    continue
                allele, distance = shown
                name = f"{read.query_name}/{read.flag >> 6 & 3}"
                covering.add(name)
                if allele == alternate:
                    carrying.add(name)
                    distances.append(distance)
            yield ReadSupport(
                frozenset(covering), frozenset(carrying), np.array(distances, dtype=np.int64)
            )


def _shown(
    read: Any,  # noqa: ANN401 - pysam
    start: int,
    length: int,
    minimum_base_quality: int,
) -> tuple[str, int] | None:
    """Bases that a read shows for `length` reference bases, and their distance to its end."""
    first = _offset(read, start)
    # What follows the last reference base tells where an insertion ends.
    last = first if length == 1 else _offset(read, start + length - 1)
    if first is None:
        return None
    after = _offset(read, start + length)
    if after is None:
        if last is None or read.reference_end > start + length:
            return None
        after = last + 1
    low, high = read.query_alignment_start, read.query_alignment_end
    qualities = read.query_qualities
    if qualities is not None and min(qualities[first:after]) < minimum_base_quality:
        return None
    return read.query_sequence[first:after], min(first - low, high - after)


def _offset(read: Any, position: int) -> int | None:  # noqa: ANN401 - pysam
    """Offset in the read of the base that is aligned to a reference position (0-based)."""
    reference, query = read.reference_start, 0
    for operation, length in read.cigartuples or ():
        both = operation in _READ and operation in _REFERENCE
        if both and reference <= position < reference + length:
            return int(query + position - reference)
        if operation in _REFERENCE:
            reference += length
        if operation in _READ:
            query += length
        if reference > position:
            return None
    return None


def end_distances(support: Iterator[ReadSupport], n_variants: int) -> NDArray[np.float64]:
    """Median distance of each allele from the ends of its reads; NaN where no read shows it."""
    return np.fromiter(
        (np.median(one.distances) if len(one.distances) else np.nan for one in support),
        dtype=np.float64,
        count=n_variants,
    )
