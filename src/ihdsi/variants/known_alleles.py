"""Look alleles up in an indexed VCF of known ones: a germline resource, a panel of normals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem

__all__ = ["KnownAlleles"]

logger = logging.getLogger(__name__)

#: Calls closer than this are looked up with one query; reading on costs less than a jump.
LARGEST_GAP = 1000


class KnownAlleles:
    """An indexed VCF or BCF whose alleles can be looked up.

    Parameters
    ----------
    path
        bgzipped VCF or BCF with its index (``.tbi`` or ``.csi``).
    field
        INFO field with one number a record or an alternate allele. None asks only for presence.
    contigs
        Chromosomes of the calls, to notice a file of another build or naming.

    Raises
    ------
    InputError
        If the file has no index, lacks the field, or names none of the chromosomes.
    """

    def __init__(self, path: Path | str, field: str | None, contigs: list[str]) -> None:
        self.path = path
        self.field = field
        self._file = pysam.VariantFile(str(path))
        if self._file.index is None:
            raise InputError(
                Problem(
                    "the file has no index",
                    "Compress it with bgzip and index it with bcftools index.",
                    path,
                )
            )
        if field is not None and field not in self._file.header.info:
            raise InputError(
                Problem(f"the file has no INFO/{field}", f"Give a VCF with {field}.", path)
            )
        self._contigs = {str(name) for name in self._file.index}
        if self._contigs and contigs and not self._contigs & set(contigs):
            raise InputError(
                Problem(
                    f"the file names none of the reference's chromosomes (it begins with "
                    f"{', '.join(sorted(self._contigs)[:3])})",
                    "Give it on the study's genome build, with the same chromosome names.",
                    path,
                )
            )

    def __enter__(self) -> KnownAlleles:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def values(self, variants: pl.DataFrame) -> NDArray[np.float64]:
        """Value of the field for each variant: the largest of the records that hold the allele.

        Parameters
        ----------
        variants
            chromosome, position (1-based), reference_allele, alternate_allele; sorted by position
            within a chromosome; normalised.

        Returns
        -------
        numpy.ndarray
            Shape (n,); NaN where the file does not hold the allele, 1 where it does and no field
            is asked for. Alleles of the file are trimmed of bases that both share, not
            left-aligned.
        """
        found = np.full(variants.height, np.nan)
        for (chromosome,), rows in (
            variants.with_row_index("row")
            .partition_by("chromosome", as_dict=True, maintain_order=True)
            .items()
        ):
            if chromosome not in self._contigs:
                logger.debug("%s names no chromosome %s", self.path, chromosome)
                continue
            position = rows["position"].to_numpy()
            starts = np.flatnonzero(np.diff(position, prepend=-LARGEST_GAP - 1) > LARGEST_GAP)
            ends = np.append(starts[1:], len(position)) - 1
            known: dict[tuple[int, str, str], float] = {}
            for start, end in zip(position[starts].tolist(), position[ends].tolist(), strict=True):
                for allele, value in self._alleles(str(chromosome), start, end):
                    known[allele] = max(value, known.get(allele, value))
            for row, place, reference, alternate in rows.select(
                "row", "position", "reference_allele", "alternate_allele"
            ).iter_rows():
                found[row] = known.get((place, reference, alternate), np.nan)
        return found

    def _alleles(
        self, chromosome: str, start: int, end: int
    ) -> Iterator[tuple[tuple[int, str, str], float]]:
        for record in self._file.fetch(chromosome, start - 1, end):
            values = self._values_of(record)
            for number, alternate in enumerate(record.alts or ()):
                value = values[number] if number < len(values) else None
                if value is not None:
                    yield trimmed(record.pos, str(record.ref), alternate), float(value)

    def _values_of(self, record: Any) -> tuple[Any, ...]:  # noqa: ANN401 - pysam
        if self.field is None:
            return (1.0,) * len(record.alts or ())
        value = record.info.get(self.field)
        if isinstance(value, tuple):
            return value
        return (value,) * len(record.alts or ())


def trimmed(position: int, reference: str, alternate: str) -> tuple[int, str, str]:
    """Remove the bases that both alleles share, at the end first, as VCF normalisation does.

    One base of each allele is kept (Tan, Abecasis and Kang 2015, Bioinformatics 31:2202, without
    the shift to the left).
    """
    while len(reference) > 1 and len(alternate) > 1 and reference[-1] == alternate[-1]:
        reference, alternate = reference[:-1], alternate[:-1]
    while len(reference) > 1 and len(alternate) > 1 and reference[0] == alternate[0]:
        reference, alternate, position = reference[1:], alternate[1:], position + 1
    return position, reference, alternate
