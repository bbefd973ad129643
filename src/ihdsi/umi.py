"""Unique molecular identifiers: where they stand in the reads, and how tools are told."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["BARCODE_IN_NAME", "LOCATIONS", "LOCATIONS_OF_PAIRS", "Umi", "parse_umi"]

#: fastp's names of the places, with whether the barcode is cut from a read (and so has a length).
LOCATIONS = {
    "read1": True,
    "read2": True,
    "per_read": True,
    "index1": False,
    "index2": False,
    "per_index": False,
}
#: Places that single-end reads do not have.
LOCATIONS_OF_PAIRS = frozenset({"read2", "per_read", "index2", "per_index"})
#: The barcode that fastp appends to a read's name, as ``samtools markdup --barcode-rgx`` is told:
#: its first subexpression. The ``--barcode-name`` of samtools would need the seven fields of
#: Illumina's names before it, which names of archives lack.
BARCODE_IN_NAME = ":([ACGTN]+(_[ACGTN]+)?)$"

_NOTATION = re.compile(r"([a-z_0-9]+)(?::([0-9]+))?(?::([0-9]+))?")
_LONGEST = 100


@dataclass(frozen=True)
class Umi:
    """Where a library's molecular barcode stands.

    Attributes
    ----------
    location
        One of `LOCATIONS`: the start of the first, second or both reads, or the index in the
        reads' names.
    length
        Bases of the barcode, for each read that has one; 0 for an index, which is taken whole.
    skip
        Bases after the barcode that are cut away too (a spacer).
    """

    location: str
    length: int = 0
    skip: int = 0

    def __str__(self) -> str:
        parts = [self.location, *([self.length] if self.length else [])]
        return ":".join(map(str, [*parts, *([self.skip] if self.skip else [])]))

    @property
    def needs_pairs(self) -> bool:
        """Whether the barcode stands where only paired reads have something."""
        return self.location in LOCATIONS_OF_PAIRS

    @property
    def fastp_options(self) -> str:
        """The options by which fastp moves the barcode into the reads' names."""
        text = f"--umi --umi_loc {self.location}"
        if self.length:
            text += f" --umi_len {self.length} --umi_skip {self.skip}"
        return text


def parse_umi(text: str) -> Umi:
    """Read the notation ``LOCATION:LENGTH[:SKIP]``, or an index location alone.

    Raises
    ------
    ValueError
        Where the location is unknown, or the length is absent, too large, or not wanted.
    """
    match = _NOTATION.fullmatch(text)
    if match is None or match.group(1) not in LOCATIONS:
        raise ValueError(f"'{text}' does not say where a barcode stands")
    location, length, skip = match.group(1), match.group(2), match.group(3)
    if LOCATIONS[location]:
        if length is None or not 1 <= int(length) <= _LONGEST:
            raise ValueError(f"'{text}' lacks the barcode's length in bases (1 to {_LONGEST})")
    elif length is not None:
        raise ValueError(f"'{text}' gives a length, but an index is taken whole")
    return Umi(location, int(length or 0), int(skip or 0))
