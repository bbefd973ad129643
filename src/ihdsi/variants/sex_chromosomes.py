"""Genotypes on X and Y: how many copies a person has there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.genome_builds import build_of_lengths
from ihdsi.study import SexCheck
from ihdsi.variants.genotypes import GenotypeBlock

__all__ = [
    "PSEUDOAUTOSOMAL",
    "Sex",
    "build_of_call_set",
    "recorded_sexes",
    "with_copies_of_sex",
]

Sex = Literal["female", "male"]

#: Pseudoautosomal regions, where men have two copies as well: 1-based, both ends included. Genome
#: Reference Consortium, human genome overview (GRCh37, GRCh38), PAR#1 and PAR#2.
PSEUDOAUTOSOMAL: Mapping[str, Mapping[str, tuple[tuple[int, int], ...]]] = {
    "GRCh38 (hg38)": {
        "X": ((10_001, 2_781_479), (155_701_383, 156_030_895)),
        "Y": ((10_001, 2_781_479), (56_887_903, 57_217_415)),
    },
    "GRCh37 (hg19)": {
        "X": ((60_001, 2_699_520), (154_931_044, 155_260_560)),
        "Y": ((10_001, 2_649_520), (59_034_050, 59_363_566)),
    },
}


def build_of_call_set(path: Path | str) -> str | None:
    """Well-known build of a VCF or BCF by the contigs of its header; None for any other genome."""
    with pysam.VariantFile(str(path)) as source:
        return build_of_lengths({c.name: c.length for c in source.header.contigs.values()})


def recorded_sexes(clinical: pl.DataFrame | None, check: SexCheck | None) -> dict[str, Sex] | None:
    """Sex at birth of each patient whose sex is recorded; None where the study records none.

    Parameters
    ----------
    clinical
        The site's harmonised clinical table: patient and the study's variables.
    check
        Which variable holds the sex, and its levels.
    """
    if clinical is None or check is None:
        return None
    levels: dict[str, Sex] = {check.female: "female", check.male: "male"}
    recorded = clinical.select("patient", check.variable).drop_nulls()
    return {patient: levels[level] for patient, level in recorded.iter_rows() if level in levels}


def with_copies_of_sex(
    blocks: Iterable[GenotypeBlock], sexes: Mapping[str, Sex] | None, build: str | None
) -> Iterator[GenotypeBlock]:
    """Give genotypes on X and Y the number of copies that the patient's sex has.

    Callers write every genotype as diploid. Outside the pseudoautosomal regions a man has one
    allele on X and on Y: two equal alleles are one, and two different ones are no genotype. A
    woman has none on Y. The genotype of a patient whose sex is not recorded is not known there.
    Genotypes of women on X, of all other chromosomes, and those that the file itself gives as
    haploid stay as they are.

    Parameters
    ----------
    blocks
        Genotypes; V variants, P patients.
    sexes
        Sex of the patients where it is recorded; None (the study records none) changes nothing.
    build
        Name of the genome's build, as in `PSEUDOAUTOSOMAL`; another has no such regions.

    Yields
    ------
    GenotypeBlock
        With `n_possible`, shape (V,): patients who can have a genotype, of which a call rate is.
    """
    regions = PSEUDOAUTOSOMAL.get(build or "", {})
    for block in blocks:
        name = block.chromosome.removeprefix("chr").upper()
        if sexes is None or name not in ("X", "Y"):
            yield block
            continue
        male = np.array([sexes.get(patient) == "male" for patient in block.patients])
        female = np.array([sexes.get(patient) == "female" for patient in block.patients])
        single = ~_within(block.position, regions.get(name, ()))
        yield _single_copies(block, single, male, female & (name == "X"))


def _within(position: NDArray[np.int64], regions: tuple[tuple[int, int], ...]) -> NDArray[np.bool_]:
    inside = np.zeros(position.shape, dtype=bool)
    for first, last in regions:
        inside |= (position >= first) & (position <= last)
    return inside


def _single_copies(
    block: GenotypeBlock,
    single: NDArray[np.bool_],
    one_copy: NDArray[np.bool_],
    two_copies: NDArray[np.bool_],
) -> GenotypeBlock:
    """Apply the copies of each patient (P,) to the variants (V,) where they are not two."""
    haploid = single[:, None] & one_copy[None, :]
    heterozygous = haploid & (block.ploidy == 2) & (block.dosage == 1)
    none = heterozygous | (single[:, None] & ~(one_copy | two_copies)[None, :])
    dosage = np.where(haploid, np.minimum(block.dosage, 1), block.dosage)
    ploidy = np.where(haploid, np.minimum(block.ploidy, 1), block.ploidy)
    return replace(
        block,
        dosage=np.where(none, 0, dosage).astype(np.int8),
        ploidy=np.where(none, 0, ploidy).astype(np.int8),
        n_possible=np.where(single, (one_copy | two_copies).sum(), len(block.patients)),
    )
