"""Germline variants: how often they occur."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.study import GermlineFilters
from ihdsi.summaries.strata import ALL, stratify
from ihdsi.summaries.table import (
    ENSEMBL_GENE,
    STRATUM_COLUMNS,
    Column,
    Constraint,
    Predecessor,
    TableSpec,
)
from ihdsi.variants.cohort_genotypes import cohort_blocks
from ihdsi.variants.genotypes import GenotypeBlock
from ihdsi.variants.germline import VariantLabels
from ihdsi.variants.hardy_weinberg import hardy_weinberg_p_values, is_autosome
from ihdsi.variants.sex_chromosomes import Sex

__all__ = ["SPEC", "VARIANT_KEY", "build_variant_frequencies", "count_alleles"]

logger = logging.getLogger(__name__)

VARIANT_KEY = ("chromosome", "position", "reference_allele", "alternate_allele")

_COLUMNS = (
    Column(
        "chromosome",
        pl.String,
        "coordinate",
        pattern=r"^[A-Za-z0-9_.*-]{1,64}$",
        description="Sequence of the reference genome.",
    ),
    Column(
        "position",
        pl.Int64,
        "coordinate",
        minimum=1,
        unit="1",
        description="1-based position of the first reference base.",
    ),
    Column(
        "reference_allele",
        pl.String,
        "coordinate",
        pattern=r"^[ACGTN]+$",
        description="Bases of the reference, left-aligned and split.",
    ),
    Column(
        "alternate_allele",
        pl.String,
        "coordinate",
        pattern=r"^([ACGTN]+|\*)$",
        description="Bases instead of them; * for a spanning deletion.",
    ),
    Column(
        "gene_id",
        pl.String,
        "label",
        nullable=True,
        pattern=ENSEMBL_GENE,
        description="Ensembl gene without version.",
    ),
    Column("gene_name", pl.String, "label", nullable=True, description="HGNC symbol."),
    Column("consequence", pl.String, "label", nullable=True, description="Most severe (SO)."),
    Column(
        "population_frequency",
        pl.Float64,
        "label",
        nullable=True,
        minimum=0,
        maximum=1,
        unit="1",
        description="Allele frequency in the study's population resource.",
    ),
    Column(
        "clinical_significance",
        pl.String,
        "label",
        nullable=True,
        pattern=r"^[A-Za-z0-9_|/,;:.() -]{1,200}$",
        description="As ClinVar writes it (CLNSIG).",
    ),
    *STRATUM_COLUMNS,
    Column(
        "n_samples_called",
        pl.Int64,
        "count",
        minimum=0,
        unit="1",
        description="Patients with a called genotype.",
    ),
    Column(
        "allele_count",
        pl.Int64,
        "count",
        minimum=0,
        unit="1",
        description="Called alternate alleles.",
    ),
    Column(
        "allele_number",
        pl.Int64,
        "count",
        minimum=0,
        unit="1",
        description="Called alleles: two a diploid genotype, one a haploid one.",
    ),
    Column(
        "n_carriers",
        pl.Int64,
        "count",
        nullable=True,
        minimum=0,
        unit="1",
        description="Null where it would reveal withheld homozygotes or heterozygotes.",
    ),
    Column(
        "n_homozygous",
        pl.Int64,
        "count",
        nullable=True,
        minimum=0,
        unit="1",
        description="Null where homozygotes or heterozygotes are too few to release.",
    ),
)

_KEYS = (*VARIANT_KEY, "stratum_variable", "stratum")
_ADDED_IN_2 = ("population_frequency", "clinical_significance")
_CONSTRAINTS = (
    Constraint(
        "allele_count",
        lambda: pl.col("allele_count") <= pl.col("allele_number"),
        "allele_count ≤ allele_number",
    ),
    Constraint(
        "n_carriers",
        lambda: (
            (pl.col("n_carriers") <= pl.col("n_samples_called"))
            & (pl.col("allele_count") == pl.col("n_carriers") + pl.col("n_homozygous"))
        ),
        "allele_count = n_carriers + n_homozygous, and n_carriers ≤ n_samples_called",
    ),
    Constraint(
        "n_homozygous",
        lambda: pl.col("n_carriers").is_null() == pl.col("n_homozygous").is_null(),
        "n_carriers and n_homozygous are given together or not at all",
    ),
)


def _upgraded(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the labels that version 1 lacked, as not known."""
    added = [c for c in _COLUMNS if c.name in _ADDED_IN_2]
    return frame.with_columns(
        pl.lit(None, dtype=column.dtype).alias(column.name) for column in added
    ).select(column.name for column in _COLUMNS)


_PREDECESSOR = Predecessor(
    TableSpec(
        name="variant_frequencies",
        version=1,
        description="Allele, carrier and homozygote counts of germline variants by stratum.",
        columns=tuple(column for column in _COLUMNS if column.name not in _ADDED_IN_2),
        keys=_KEYS,
        constraints=(
            *_CONSTRAINTS,
            Constraint(
                "allele_number",
                lambda: pl.col("allele_number") == 2 * pl.col("n_samples_called"),
                "allele_number = 2 · n_samples_called",
            ),
        ),
    ),
    _upgraded,
    "population_frequency and clinical_significance are null; all genotypes were diploid.",
)

SPEC = TableSpec(
    name="variant_frequencies",
    version=2,
    description="Allele, carrier and homozygote counts of normalised germline variants by stratum.",
    columns=_COLUMNS,
    keys=_KEYS,
    constraints=(
        *_CONSTRAINTS,
        Constraint(
            "allele_number",
            lambda: pl.col("allele_number").is_between(
                pl.col("n_samples_called"), 2 * pl.col("n_samples_called")
            ),
            "n_samples_called ≤ allele_number ≤ 2 · n_samples_called",
        ),
    ),
    predecessor=_PREDECESSOR,
)


def build_variant_frequencies(
    path: Path | str,
    patients: Sequence[str],
    settings: GermlineFilters,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
    coverage: Mapping[str, Path | str] | None = None,
    catalogue: pl.DataFrame | None = None,
    excluded: Collection[str] = (),
    sexes: Mapping[str, Sex] | None = None,
) -> pl.DataFrame:
    """Count alleles over a site's patients, in a stream over its merged germline call set.

    Parameters
    ----------
    path
        Normalised, annotated, merged call set (VCF or BCF) with patients as samples.
    patients
        The patients to count.
    settings
        Which genotypes count as called, and the limits of `count_alleles`.
    clinical, strata
        Patients' clinical variables, and those whose levels are strata.
    coverage
        See `ihdsi.variants.germline.germline_blocks`.
    catalogue
        gene_id and gene_name, if the study has genes.
    excluded
        Patients who are left out, for example because their sample failed quality control.
    sexes
        Sex of the patients, which decides on the copies of X and Y (see
        `ihdsi.variants.sex_chromosomes.with_copies_of_sex`); None: as the call set says.

    Returns
    -------
    polars.DataFrame
        The table `variant_frequencies`.
    """
    kept = [patient for patient in patients if patient not in set(excluded)]
    blocks = cohort_blocks(path, kept, settings, coverage, sexes)
    return count_alleles(blocks, kept, settings, clinical, strata, catalogue)


def count_alleles(
    blocks: Iterable[GenotypeBlock],
    patients: Sequence[str],
    settings: GermlineFilters,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
    catalogue: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Count alleles, carriers and homozygotes of variants by stratum.

    A variant is left out if nobody carries it, if fewer than ``settings.minimum_call_rate`` of the
    patients who can have a genotype have one, or if the genotypes of the whole cohort depart from
    Hardy–Weinberg proportions with a p-value below ``settings.minimum_hardy_weinberg_p_value``. The
    latter is tested on autosomes, on diploid genotypes: on X, Y and the mitochondrial genome people
    do not have two copies each, so that the proportions say nothing of quality. How many each
    filter takes is logged.

    Parameters
    ----------
    blocks
        Genotypes of `patients`, for example from `germline_blocks`. One block is held at a time.
    patients
        Everyone whose genotypes are counted, each once.
    settings, clinical, strata, catalogue
        As in `build_variant_frequencies`.

    Returns
    -------
    polars.DataFrame
        The table `variant_frequencies`, a row for each stratum with a genotype. allele_number
        counts the alleles that were called: two for a diploid genotype, one for a haploid one. A
        haploid carrier is no homozygote.
    """
    membership = stratify(pl.Series("patient", patients, dtype=pl.String), clinical, strata)
    groups = membership.select("stratum_variable", "stratum").unique().sort(pl.all())
    counter = _Counter(membership, groups, settings)
    labels = VariantLabels()
    for block in blocks:
        counter.add(block, *labels.of_block(block))
    counter.log()
    return _table(counter, labels, groups, catalogue)


class _Counter:
    """Counts of the variants that are kept; what it holds grows with variants × strata."""

    def __init__(
        self, membership: pl.DataFrame, groups: pl.DataFrame, settings: GermlineFilters
    ) -> None:
        self._groups = list(groups.iter_rows())
        self._members = {
            group: set(part["patient"])
            for group, part in membership.partition_by(
                "stratum_variable", "stratum", as_dict=True
            ).items()
        }
        self._whole = self._groups.index((ALL, ALL)) if self._groups else 0
        self._settings = settings
        self._columns: tuple[str, ...] = ()
        self._matrix: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self.n_carried = self.n_rarely_called = self.n_out_of_proportion = 0
        self.variants: list[pl.DataFrame] = []
        self.counts: list[NDArray[np.float32]] = []

    def _membership(self, patients: tuple[str, ...]) -> NDArray[np.float32]:
        """Patients × strata, 1 where the patient belongs to the stratum."""
        if patients != self._columns:
            self._columns = patients
            self._matrix = np.array(
                [[name in self._members[group] for group in self._groups] for name in patients],
                dtype=np.float32,
            )
        return self._matrix

    def add(
        self, block: GenotypeBlock, genes: list[str | None], consequences: list[str | None]
    ) -> None:
        """Count one block: one product with the membership matrix for all four counts.

        Sums are exact, because float32 holds whole numbers up to 2^24.
        """
        genotypes = np.empty((4, *block.dosage.shape), dtype=np.float32)
        np.greater(block.ploidy, 0, out=genotypes[0])
        np.greater(block.dosage, 0, out=genotypes[1])
        np.greater(block.dosage, 1, out=genotypes[2])
        genotypes[3] = block.ploidy
        counts = genotypes @ self._membership(block.patients)
        called, carried, homozygous, alleles = counts[..., self._whole]
        kept = carried > 0
        self.n_carried += int(kept.sum())
        possible = len(block.patients) if block.n_possible is None else block.n_possible
        rarely = kept & (called < self._settings.minimum_call_rate * possible)
        self.n_rarely_called += int(rarely.sum())
        kept &= ~rarely
        if is_autosome(block.chromosome):
            p_values = _proportions(
                block, kept, *(n[kept] for n in (called, alleles, carried, homozygous))
            )
            deviant = p_values < self._settings.minimum_hardy_weinberg_p_value
            self.n_out_of_proportion += int(deviant.sum())
            kept[np.flatnonzero(kept)[deviant]] = False
        rows = np.flatnonzero(kept)
        if rows.size == 0:
            return
        self.counts.append(counts[:, rows])
        chosen = rows.tolist()
        self.variants.append(
            pl.DataFrame(
                {
                    "chromosome": pl.repeat(block.chromosome, rows.size, eager=True),
                    "position": block.position[rows],
                    "reference_allele": [block.reference_alleles[row] for row in chosen],
                    "alternate_allele": [block.alternate_alleles[row] for row in chosen],
                    "gene_name": [genes[row] for row in chosen],
                    "consequence": [consequences[row] for row in chosen],
                    "population_frequency": block.population_frequency[rows],
                    "clinical_significance": [block.clinical_significance[row] for row in chosen],
                },
                schema_overrides=dict.fromkeys(
                    ("gene_name", "consequence", "clinical_significance"), pl.String
                ),
            )
        )

    def log(self) -> None:
        """Say how many variants each filter removed."""
        logger.info(
            "%d variants are carried; %d are left out for a call rate below %g, and %d for a "
            "Hardy-Weinberg p-value below %g",
            self.n_carried,
            self.n_rarely_called,
            self._settings.minimum_call_rate,
            self.n_out_of_proportion,
            self._settings.minimum_hardy_weinberg_p_value,
        )


def _proportions(
    block: GenotypeBlock,
    kept: NDArray[np.bool_],
    called: NDArray[np.float32],
    alleles: NDArray[np.float32],
    carried: NDArray[np.float32],
    homozygous: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Hardy–Weinberg p-values of the block's variants that are kept, from diploid genotypes."""
    heterozygous = carried - homozygous
    if (alleles != 2 * called).any():
        diploid = block.ploidy[kept] == 2
        called = diploid.sum(axis=1, dtype=np.float32)
        heterozygous = (diploid & (block.dosage[kept] == 1)).sum(axis=1, dtype=np.float32)
    return hardy_weinberg_p_values(called - heterozygous - homozygous, heterozygous, homozygous)


def _table(
    counter: _Counter,
    labels: VariantLabels,
    groups: pl.DataFrame,
    catalogue: pl.DataFrame | None,
) -> pl.DataFrame:
    if not counter.variants:
        return pl.DataFrame(schema=SPEC.schema)
    variants = labels.complete(pl.concat(counter.variants)).with_row_index("row")
    if catalogue is None:
        variants = variants.with_columns(gene_id=pl.lit(None, dtype=pl.String))
    else:
        # A name that several genes bear names none of them.
        names = catalogue.unique("gene_name", keep="none").select("gene_name", "gene_id")
        variants = variants.join(names, on="gene_name", how="left", maintain_order="left")
    # Sorted once by variant: the strata are sorted, so that the whole table then is.
    variants = variants.with_columns(pl.col("population_frequency").fill_nan(None)).sort(
        VARIANT_KEY
    )
    order = variants["row"].to_numpy()
    counts = np.concatenate(counter.counts, axis=1)[:, order].astype(np.int64)
    n_variants, n_groups = counts.shape[1:]
    called, carried, homozygous, alleles = counts.reshape(len(counts), -1)
    numbers = pl.DataFrame(
        {
            "n_samples_called": called,
            "allele_count": carried + homozygous,
            "allele_number": alleles,
            "n_carriers": carried,
            "n_homozygous": homozygous,
        }
    )
    variant = np.repeat(np.arange(n_variants, dtype=np.uint32), n_groups)
    group = np.tile(np.arange(n_groups, dtype=np.uint32), n_variants)
    return (
        pl.concat([variants[variant], groups[group], numbers], how="horizontal")
        .filter(pl.col("n_samples_called") > 0)
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
    )
