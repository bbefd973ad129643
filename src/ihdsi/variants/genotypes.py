"""Read genotypes of a normalised call set as matrices, block by block."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.study import GermlineFilters

__all__ = [
    "CLINICAL_SIGNIFICANCE",
    "POPULATION_FREQUENCY",
    "GenotypeBlock",
    "allele_array",
    "read_blocks",
]

logger = logging.getLogger(__name__)

#: INFO tags under which the merged call set holds what the study's resources say of a variant.
POPULATION_FREQUENCY = "population_AF"
CLINICAL_SIGNIFICANCE = "CLNSIG"

#: Most genotypes that are held at a time, and most variants.
CELLS_OF_A_BLOCK = 2_000_000
VARIANTS_OF_A_BLOCK = 8_000

_BASES = re.compile(r"[ACGTN]+", flags=re.IGNORECASE)
#: cyvcf2 writes an unknown allele as -1, and -2 where a haploid genotype has no second allele.
_NO_ALLELE = -2
_DIPLOID = 2
#: BCF's missing integer, as cyvcf2 hands it out.
_MISSING = np.iinfo(np.int32).min
_GENOTYPE_TAGS = ("DP", "GQ")
_VARIANT_TAGS = ("BCSQ", POPULATION_FREQUENCY, CLINICAL_SIGNIFICANCE)


@dataclass(frozen=True)
class GenotypeBlock:
    """Some consecutive variants of one chromosome; V variants, P patients.

    Parameters
    ----------
    patients
        Names of the columns.
    chromosome
        Of all variants of the block.
    position
        1-based; shape (V,), int64.
    reference_alleles, alternate_alleles, consequences
        Length V; consequences are values of INFO/BCSQ, None where there is none.
    population_frequency
        Shape (V,), NaN where the study's resource does not know the variant.
    clinical_significance
        Length V; INFO/CLNSIG.
    dosage
        Shape (V, P), int8: alternate alleles of the genotype; 0 where it is not called.
    ploidy
        Shape (V, P), int8: called alleles of the genotype: 2, 1 (haploid), 0 where not called.
    absent
        Shape (V, P): the file holds neither a genotype nor a depth, as for the patients of a call
        set that does not list the variant.
    n_possible
        Shape (V,): patients who can have a genotype, where that is not everybody; None: all.
    """

    patients: tuple[str, ...]
    chromosome: str
    position: NDArray[np.int64]
    reference_alleles: list[str]
    alternate_alleles: list[str]
    consequences: list[str | None]
    population_frequency: NDArray[np.float64]
    clinical_significance: list[str | None]
    dosage: NDArray[np.int8]
    ploidy: NDArray[np.int8]
    absent: NDArray[np.bool_]
    n_possible: NDArray[np.int64] | None = None


class _Rows:
    """Records of one block as they come from the file; the arrays are used again and again."""

    def __init__(self, capacity: int, n_patients: int) -> None:
        self.capacity = capacity
        self.alleles = np.empty((capacity, n_patients, _DIPLOID + 1), dtype=np.int16)
        self.numbers = {
            tag: np.full((capacity, n_patients), _MISSING, dtype=np.int32) for tag in _GENOTYPE_TAGS
        }
        self.information: dict[str, list[Any]] = {tag: [None] * capacity for tag in _VARIANT_TAGS}
        self.chromosome = ""
        self.clear()

    def clear(self) -> None:
        self.n = 0
        self.position: list[int] = []
        self.reference: list[str] = []
        self.alternate: list[str] = []


def read_blocks(
    path: Path | str, patients: Sequence[str], settings: GermlineFilters
) -> Iterator[GenotypeBlock]:
    """Stream the variants that pass, with the genotypes of some patients.

    Memory is that of one block (at most `CELLS_OF_A_BLOCK` genotypes), whatever the file's size.

    Parameters
    ----------
    path
        VCF or BCF with one alternate allele a record. Records whose FILTER is neither ``PASS`` nor
        ``.`` are left out, and so are alleles that are not spelled out (``*``, ``<DEL>``).
    patients
        Samples of the file, each once; columns of the blocks follow the file's order.
    settings
        A genotype with DP below `minimum_depth` or GQ below `minimum_genotype_quality` counts as
        not called, where the file gives DP or GQ.

    Raises
    ------
    InputError
        If a patient or the genotypes are absent, a record has several alternate alleles, or a
        genotype has more than two alleles.
    """
    from cyvcf2 import VCF

    if not patients:
        return
    source = VCF(str(path))
    absent = sorted(set(patients) - set(source.samples))
    if absent:
        raise InputError(
            Problem(
                f"the call set holds no sample '{absent[0]}'",
                "Make the call set again from the present sample sheet.",
                path,
                column=absent[0],
            )
        )
    if len(patients) < len(source.samples):  # not free: every record is then rewritten
        source.set_samples(list(patients))
    names = tuple(source.samples)
    genotype_tags, variant_tags = _declared_tags(source)
    rows = _Rows(_block_size(len(names)), len(names))
    skipped = 0
    for record in source:
        if record.FILTER is not None:
            continue
        alternates = record.ALT
        if len(alternates) != 1 or not _BASES.fullmatch(alternates[0]):
            if len(alternates) > 1:
                raise _unreadable(path, record, "has several alternate alleles")
            skipped += 1
            continue
        chromosome = record.CHROM
        n = rows.n
        if n and (n == rows.capacity or chromosome != rows.chromosome):
            yield _block(rows, names, settings)
            rows.clear()
            n = 0
        alleles = allele_array(record, path)
        if alleles.shape[1] == _DIPLOID + 1:
            rows.alleles[n] = alleles
        else:
            rows.alleles[n] = _haploid(alleles, path, record)
        for tag in genotype_tags:
            values = record.format(tag)
            rows.numbers[tag][n] = _MISSING if values is None else _whole(values[:, 0])
        for tag in variant_tags:
            rows.information[tag][n] = record.INFO.get(tag)
        rows.chromosome = chromosome
        rows.position.append(record.POS)
        rows.reference.append(record.REF)
        rows.alternate.append(alternates[0])
        rows.n = n + 1
    if rows.n:
        yield _block(rows, names, settings)
    if skipped:
        logger.info("%d records without a spelled-out alternate allele are left out", skipped)


def _block_size(n_patients: int) -> int:
    return max(1, min(VARIANTS_OF_A_BLOCK, CELLS_OF_A_BLOCK // n_patients))


def _unreadable(path: Path | str, record: Any, what: str) -> InputError:  # noqa: ANN401 - cyvcf2
    return InputError(
        Problem(
            f"the record at {record.CHROM}:{record.POS} {what}",
            "Split records with bcftools norm --multiallelics -any and keep FORMAT/GT.",
            path,
        )
    )


def allele_array(record: Any, path: Path | str) -> NDArray[np.int16]:  # noqa: ANN401 - cyvcf2
    """Alleles of each sample of a cyvcf2 record, and in the last column whether they are phased.

    Raises
    ------
    InputError
        If the record has no genotypes.
    """
    try:
        return record.genotype.array()  # type: ignore[no-any-return]
    except Exception as error:  # cyvcf2 raises nothing more specific
        raise _unreadable(path, record, "has no genotypes") from error


def _declared_tags(source: Any) -> tuple[list[str], list[str]]:  # noqa: ANN401 - cyvcf2
    """Tags of FORMAT and of INFO that the header declares; asking for another is an error."""
    declared = {(line["HeaderType"], line.info().get("ID")) for line in source.header_iter()}
    return (
        [tag for tag in _GENOTYPE_TAGS if ("FORMAT", tag) in declared],
        [tag for tag in _VARIANT_TAGS if ("INFO", tag) in declared],
    )


def _haploid(
    alleles: NDArray[np.int16],
    path: Path | str,
    record: Any,  # noqa: ANN401 - cyvcf2
) -> NDArray[np.int16]:
    """Alleles of a record whose genotypes are all haploid, in the form of diploid ones."""
    if alleles.shape[1] != _DIPLOID:
        raise _unreadable(path, record, "has genotypes of more than two alleles")
    absent = np.full(len(alleles), _NO_ALLELE, dtype=np.int16)
    return np.stack([alleles[:, 0], absent, absent], axis=1)


def _whole(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Numbers without decimals; some callers write GQ with them."""
    if values.dtype == np.int32:
        return values
    return np.where(np.isnan(values), _MISSING, np.floor(values))  # type: ignore[call-overload,no-any-return]


def _block(rows: _Rows, patients: Sequence[str], settings: GermlineFilters) -> GenotypeBlock:
    n = rows.n
    first, second = rows.alleles[:n, :, 0], rows.alleles[:n, :, 1]
    depth, quality = rows.numbers["DP"][:n], rows.numbers["GQ"][:n]
    unknown = (first < 0) | (second == -1)
    absent = unknown & (depth == _MISSING)
    low = (depth < settings.minimum_depth) & (depth != _MISSING)
    low |= (quality < settings.minimum_genotype_quality) & (quality != _MISSING)
    called = ~(unknown | low)
    dosage = ((first > 0).view(np.int8) + (second > 0).view(np.int8)) * called.view(np.int8)
    ploidy = (np.int8(1) + (second >= 0).view(np.int8)) * called.view(np.int8)
    return GenotypeBlock(
        patients=tuple(patients),
        chromosome=rows.chromosome,
        position=np.array(rows.position, dtype=np.int64),
        reference_alleles=rows.reference,
        alternate_alleles=rows.alternate,
        consequences=rows.information["BCSQ"][:n],
        population_frequency=np.array(rows.information[POPULATION_FREQUENCY][:n], dtype=np.float64),
        clinical_significance=rows.information[CLINICAL_SIGNIFICANCE][:n],
        dosage=dosage,
        ploidy=ploidy,
        absent=absent,
    )
