"""Germline call sets of a site: phase, genotypes of all patients, and labels of the variants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.alignment.quality import callable_intervals
from ihdsi.study import GermlineFilters
from ihdsi.variants.consequences import worst_per_gene
from ihdsi.variants.genotypes import GenotypeBlock, read_blocks

__all__ = [
    "GENOTYPE_SCHEMA",
    "VariantLabels",
    "consequence_options",
    "germline_blocks",
    "phased_throughout",
    "read_genotypes",
]

VARIANT_KEY = ("chromosome", "position", "reference_allele", "alternate_allele")
GENOTYPE_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
    "gene_name": pl.String,
    "consequence": pl.String,
    "allele_dosage": pl.Int64,
}


def phased_throughout(path: Path | str) -> bool:
    """Whether the haplotypes of a call set are known: no heterozygous genotype is unphased.

    Reads until the first unphased heterozygote, which in an unphased file is near the top.
    """
    from cyvcf2 import VCF

    for record in VCF(str(path)):
        genotype = record.genotype
        if genotype is None:
            continue
        alleles = genotype.array()
        if alleles.shape[1] < 3:  # haploid throughout
            continue
        first, second, phased = alleles[:, 0], alleles[:, 1], alleles[:, 2]
        if ((first != second) & (first >= 0) & (second >= 0) & (phased == 0)).any():
            return False
    return True


def consequence_options(call_sets: Sequence[Path | str]) -> str:
    """How ``bcftools csq`` has to predict the consequences of merged call sets.

    Where every heterozygous genotype is phased, variants of one haplotype are predicted together
    (two SNVs of one codon, a deletion that restores a frame). Otherwise who carries what together
    is not known: each allele is predicted as if it stood alone (``--local-csq``), as gnomAD does,
    for all samples alike (``--samples -``). One unphased call set decides for all, because a
    variant has one label in the site's table. csq's other modes guess: ``--phase a`` takes the
    order of the alleles in an unphased genotype for the phase, ``m`` puts all variants of the file
    on one haplotype, and ``s`` on an unphased file predicts for homozygotes only.
    """
    if all(phased_throughout(path) for path in call_sets):
        return "--phase s"
    return "--local-csq --samples -"


def germline_blocks(
    path: Path | str,
    patients: Sequence[str],
    settings: GermlineFilters,
    coverage: Mapping[str, Path | str] | None = None,
) -> Iterator[GenotypeBlock]:
    """Stream a site's merged germline call set with the genotypes that calling left unsaid.

    At a variant that only given call sets list, the joint calling of the patients with reads says
    nothing. Such a patient is homozygous reference where well covered, and not called elsewhere.
    Patients of given call sets stay not called at a variant that their file does not list.

    Parameters
    ----------
    path, patients, settings
        As in `read_blocks`.
    coverage
        Quantized coverage (mosdepth, at ``settings.callable_depth``) of the normals that were
        called from reads, by patient; only those among `patients` are read. Where a site has such
        patients and others, the file is read twice; beside one block, memory holds one bit for
        each of these patients and unsaid variants.
    """
    own = [patient for patient in patients if patient in (coverage or {})]
    if not own or len(own) == len(patients):
        yield from read_blocks(path, patients, settings)
        return
    callable_bits = _callable_bits(path, own, settings, coverage or {})
    cursor = 0
    for block in read_blocks(path, patients, settings):
        columns = np.flatnonzero(np.isin(block.patients, own))
        unsaid = np.flatnonzero(block.absent[:, columns].all(axis=1))
        if unsaid.size == 0:
            yield block
            continue
        rows = callable_bits[cursor : cursor + unsaid.size]
        cursor += unsaid.size
        reference = np.unpackbits(rows, axis=1, count=columns.size)
        # The columns of the file may stand in another order than the patients were asked for.
        order = [own.index(block.patients[column]) for column in columns]
        ploidy = block.ploidy.copy()
        ploidy[np.ix_(unsaid, columns)] = 2 * reference[:, order].astype(np.int8)
        yield replace(block, ploidy=ploidy)


def _callable_bits(
    path: Path | str,
    own: Sequence[str],
    settings: GermlineFilters,
    coverage: Mapping[str, Path | str],
) -> NDArray[np.uint8]:
    """Whether each unsaid variant (in file order) is callable in each patient, as packed bits."""
    positions: list[NDArray[np.int64]] = []
    chromosomes: list[str] = []
    for block in read_blocks(path, own, settings):
        positions.append(block.position[block.absent.all(axis=1)] - 1)
        chromosomes.append(block.chromosome)
    n_variants = sum(part.size for part in positions)
    bits = np.zeros((n_variants, -(-len(own) // 8)), dtype=np.uint8)
    if n_variants == 0:
        return bits
    for number, patient in enumerate(own):
        intervals = {
            str(name): (part["start"].to_numpy(), part["end"].to_numpy())
            for (name,), part in callable_intervals(coverage[patient], settings.callable_depth)
            .partition_by("chromosome", as_dict=True)
            .items()
        }
        inside = np.concatenate(
            [
                _inside(part, *intervals[name]) if name in intervals else np.zeros(part.size, bool)
                for name, part in zip(chromosomes, positions, strict=True)
            ]
        )
        bits[:, number // 8] |= inside.astype(np.uint8) << (7 - number % 8)
    return bits


def _inside(
    base: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether 0-based positions lie in sorted, disjoint, half-open intervals."""
    index = np.searchsorted(start, base, side="right") - 1
    return (index >= 0) & (base < end[index])


class VariantLabels:
    """Gene and most severe consequence of variants, from the values of INFO/BCSQ.

    Where haplotypes are known, ``bcftools csq`` writes the consequence of several variants of one
    haplotype at one of them, and ``@POSITION`` at the others, before or after it. Such pointers
    are followed when everything has been read.
    """

    def __init__(self) -> None:
        self._compound: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._pointing: list[tuple[tuple[str, int, str, str], str]] = []

    def of_block(self, block: GenotypeBlock) -> tuple[list[str | None], list[str | None]]:
        """Gene names and consequences, one a variant; None where there is none (yet)."""
        genes: list[str | None] = [None] * len(block.consequences)
        terms: list[str | None] = [None] * len(block.consequences)
        for row, value in enumerate(block.consequences):
            if value is None:
                continue
            if "@" in value:
                key = (
                    block.chromosome,
                    int(block.position[row]),
                    block.reference_alleles[row],
                    block.alternate_alleles[row],
                )
                self._pointing.append((key, value))
            if "+" in value:
                self._remember(block.chromosome, value)
            genes[row], terms[row] = _worst(value)
        return genes, terms

    def _remember(self, chromosome: str, value: str) -> None:
        for entry in value.split(","):
            changes = entry.rpartition("|")[2].split("+")
            if len(changes) > 1:
                for change in changes:
                    self._compound[chromosome, change].append(entry)

    def followed(self) -> pl.DataFrame:
        """Variants with pointers: `VARIANT_KEY`, and gene_name and consequence at their ends."""
        rows = []
        for (chromosome, position, reference, alternate), value in self._pointing:
            entries = self._compound.get((chromosome, f"{position}{reference}>{alternate}"), [])
            gene, consequence = _worst(",".join([value, *entries]))
            rows.append((chromosome, position, reference, alternate, gene, consequence))
        schema = {
            name: GENOTYPE_SCHEMA[name] for name in (*VARIANT_KEY, "gene_name", "consequence")
        }
        return pl.DataFrame(rows, schema=schema, orient="row").unique(VARIANT_KEY, keep="first")

    def complete(self, variants: pl.DataFrame) -> pl.DataFrame:
        """Put the labels of `followed` in the place of those that `of_block` gave."""
        if not self._pointing:
            return variants
        found = self.followed().rename({"gene_name": "_gene", "consequence": "_consequence"})
        return (
            variants.join(found, on=VARIANT_KEY, how="left", maintain_order="left")
            .with_columns(
                gene_name=pl.coalesce("_gene", "gene_name"),
                consequence=pl.coalesce("_consequence", "consequence"),
            )
            .drop("_gene", "_consequence")
        )


def _worst(value: str) -> tuple[str | None, str | None]:
    worst = worst_per_gene(value)
    if not worst:
        return None, None
    gene, found = next(iter(worst.items()))
    return gene, found[0]


def read_genotypes(
    path: Path | str,
    patients: Sequence[str],
    settings: GermlineFilters,
    coverage: Mapping[str, Path | str] | None = None,
) -> pl.DataFrame:
    """Genotypes as a long table, for comparisons patient by patient.

    Parameters
    ----------
    path, patients, settings, coverage
        As in `germline_blocks`.

    Returns
    -------
    polars.DataFrame
        Columns of `GENOTYPE_SCHEMA`: a row for each patient and variant that passes;
        allele_dosage is the number of alternate alleles, null where not called. It grows with
        variants × patients: summaries work on `germline_blocks` instead.
    """
    labels = VariantLabels()
    frames = [pl.DataFrame(schema=GENOTYPE_SCHEMA)]
    for block in germline_blocks(path, patients, settings, coverage):
        genes, terms = labels.of_block(block)
        dosage = np.where(block.ploidy > 0, block.dosage, -1)
        variants = pl.DataFrame(
            {
                "position": block.position,
                "reference_allele": block.reference_alleles,
                "alternate_allele": block.alternate_alleles,
                "gene_name": genes,
                "consequence": terms,
                "patient": [list(block.patients)] * len(dosage),
                "allele_dosage": dosage,
            },
            schema_overrides={
                "gene_name": pl.String,
                "consequence": pl.String,
                "allele_dosage": pl.List(pl.Int8),
            },
        )
        frames.append(
            variants.explode("patient", "allele_dosage")
            .with_columns(
                chromosome=pl.lit(block.chromosome),
                allele_dosage=pl.when(pl.col("allele_dosage") >= 0).then("allele_dosage"),
            )
            .select(pl.col(name).cast(kind) for name, kind in GENOTYPE_SCHEMA.items())
        )
    return labels.complete(pl.concat(frames))
