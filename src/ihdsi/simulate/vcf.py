"""Variant files as callers leave them: one somatic VCF a tumour, one germline VCF a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.files import atomic_output
from ihdsi.simulate.copy_number import SEX_CHROMOSOME_COPIES
from ihdsi.simulate.genome import BASES, Genome, base_codes
from ihdsi.simulate.streams import stream
from ihdsi.simulate.variants import SomaticModel

__all__ = ["germline_records", "somatic_records", "write_vcf"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

TUMOUR_DEPTH = 140.0
NORMAL_DEPTH = 75.0
# Negative binomial: variance = mean + mean^2 / size.
DEPTH_SIZE = 8.0
MINIMUM_DEPTH = 10
MINIMUM_ALTERNATE = 3
MINIMUM_GENOTYPE_DEPTH = 10
ERROR_RATE = 0.001
ARTEFACTS_PER_TUMOUR = 3.0
ARTEFACT_FRACTION = (0.02, 0.12)
GERMLINE_DROPOUT = 0.015
FILTERS = {
    "weak_evidence": "Too few reads support the alternate allele",
    "strand_bias": "The alternate allele is on one strand only",
}


def _depths(rng: np.random.Generator, mean: float | Floats, shape: tuple[int, ...]) -> Integers:
    return rng.negative_binomial(DEPTH_SIZE, DEPTH_SIZE / (DEPTH_SIZE + mean), size=shape)


def _ploidy(chromosome: pl.Series, sex: str) -> Floats:
    """Give the copies of each chromosome relative to an autosome's two."""
    copies = {name: sum(n) / 2 for (name, s), n in SEX_CHROMOSOME_COPIES.items() if s == sex}
    return chromosome.replace_strict(copies, default=1.0, return_dtype=pl.Float64).to_numpy()


def _genotype(depth: Integers, alternate: Integers, genotype: Sequence[str]) -> list[str]:
    return [f"{g}:{d}:{d - a},{a}" for g, d, a in zip(genotype, depth, alternate, strict=True)]


def somatic_records(
    seed: int, patient: str, somatic: pl.DataFrame, model: SomaticModel, sex: str
) -> pl.DataFrame:
    """Tumour-normal calls of one patient, with allele depths sampled from the truth.

    Variants with little depth or support are missed, and some artefacts are there that the
    caller has filtered.

    Parameters
    ----------
    somatic
        True somatic variants of this patient.
    sex
        ``female`` or ``male``: the X chromosome of males has half the depth.

    Returns
    -------
    polars.DataFrame
        chromosome, position, reference_allele, alternate_allele, filter, tumour, normal (FORMAT
        GT:DP:AD), in genomic order.
    """
    rng = stream(seed, "somatic_vcf", patient)
    n = somatic.height
    ploidy = _ploidy(somatic["chromosome"], sex)
    depth = _depths(rng, TUMOUR_DEPTH * ploidy, (n,))
    normal_depth = _depths(rng, NORMAL_DEPTH * ploidy, (n,))
    alternate = rng.binomial(depth, somatic["allele_fraction"].to_numpy())
    normal_alternate = rng.binomial(normal_depth, ERROR_RATE)
    called = (
        (depth >= MINIMUM_DEPTH)
        & (normal_depth >= MINIMUM_DEPTH)
        & (alternate >= MINIMUM_ALTERNATE)
    )
    true_calls = (
        somatic.select("chromosome", "position", "reference_allele", "alternate_allele")
        .with_columns(
            filter=pl.lit("PASS"),
            tumour=pl.Series(_genotype(depth, alternate, ["0/1"] * n), dtype=pl.String),
            normal=pl.Series(
                _genotype(normal_depth, normal_alternate, ["0/0"] * n), dtype=pl.String
            ),
        )
        .filter(pl.Series(called))
    )

    n_artefacts = int(rng.poisson(ARTEFACTS_PER_TUMOUR))
    places = np.unique(rng.choice(np.flatnonzero(model.allowed), size=n_artefacts))
    chromosome, local = model.genome.chromosome_position(places)
    bases = model.genome.bases[places]
    substitutes = BASES[(base_codes(bases) + rng.integers(1, 4, size=len(places))) % 4]
    depth = np.maximum(_depths(rng, TUMOUR_DEPTH, (len(places),)), 20)
    normal_depth = _depths(rng, NORMAL_DEPTH, (len(places),))
    alternate = np.maximum(rng.binomial(depth, rng.uniform(*ARTEFACT_FRACTION, len(places))), 2)
    artefacts = pl.DataFrame(
        {
            "chromosome": pl.Series(chromosome, dtype=pl.String),
            "position": local + 1,
            "reference_allele": pl.Series([chr(base) for base in bases], dtype=pl.String),
            "alternate_allele": pl.Series([chr(base) for base in substitutes], dtype=pl.String),
            "filter": pl.Series(
                rng.choice(list(FILTERS), size=len(places)).tolist(), dtype=pl.String
            ),
            "tumour": pl.Series(
                _genotype(depth, alternate, ["0/1"] * len(places)), dtype=pl.String
            ),
            "normal": pl.Series(
                _genotype(normal_depth, np.zeros_like(normal_depth), ["0/0"] * len(places)),
                dtype=pl.String,
            ),
        }
    ).join(somatic, on=["chromosome", "position"], how="anti")
    return pl.concat([true_calls, artefacts]).sort("chromosome", "position")


def germline_records(
    seed: int,
    patients: Sequence[str],
    population: pl.DataFrame,
    genotypes: NDArray[np.bool_],
    sex: Mapping[str, str],
) -> pl.DataFrame:
    """Joint germline calls of several normals; sites that nobody carries are left out.

    Parameters
    ----------
    patients
        Patient ids.
    population
        n variants to report: chromosome, position, reference_allele, alternate_allele.
    genotypes
        Shape (n_patients, n_variants, 2).
    sex
        ``female`` or ``male`` by patient.

    Returns
    -------
    polars.DataFrame
        chromosome, position, reference_allele, alternate_allele, filter and a column per patient
        (FORMAT GT:DP:AD; ``./.`` where depth is too low or the genotype dropped out).
    """
    dosage = genotypes.sum(axis=2)
    columns: dict[str, pl.Series] = {}
    called_carriers = np.zeros(population.height, dtype=np.int64)
    for row, patient in enumerate(patients):
        rng = stream(seed, "germline_vcf", patient)
        n = population.height
        depth = _depths(rng, NORMAL_DEPTH * _ploidy(population["chromosome"], sex[patient]), (n,))
        fraction = np.array([ERROR_RATE, 0.5, 1 - ERROR_RATE])[dosage[row]]
        alternate = rng.binomial(depth, fraction)
        called = (rng.random(n) >= GERMLINE_DROPOUT) & (depth >= MINIMUM_GENOTYPE_DEPTH)
        text = np.where(called, np.array(["0/0", "0/1", "1/1"])[dosage[row]], "./.")
        columns[patient] = pl.Series(_genotype(depth, alternate, text.tolist()), dtype=pl.String)
        called_carriers += called & (dosage[row] > 0)
    return (
        population.select("chromosome", "position", "reference_allele", "alternate_allele")
        .with_columns(filter=pl.lit("PASS"), **columns)
        .filter(pl.Series(called_carriers > 0))
        .sort("chromosome", "position")
    )


def write_vcf(
    records: pl.DataFrame, samples: Sequence[str], genome: Genome, path: Path | str
) -> None:
    """Write records as bgzipped VCF 4.2 with a tabix index beside it.

    Parameters
    ----------
    records
        chromosome, position, reference_allele, alternate_allele, filter, then one column a sample
        in the order of `samples`.
    """
    header = [
        "##fileformat=VCFv4.2",
        '##FILTER=<ID=PASS,Description="All filters passed">',
        *(f'##FILTER=<ID={name},Description="{text}">' for name, text in FILTERS.items()),
        *(f"##contig=<ID={name},length={len(s)}>" for name, s in genome.sequences.items()),
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Read depth">',
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Reads by allele, reference first">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples),
    ]
    dot = pl.lit(".")
    lines = records.select(
        pl.concat_str(
            "chromosome",
            "position",
            dot,
            "reference_allele",
            "alternate_allele",
            dot,
            "filter",
            dot,
            pl.lit("GT:DP:AD"),
            *records.columns[5:],
            separator="\t",
        )
    ).to_series()
    with atomic_output(path) as temporary:
        plain = temporary.with_suffix(".txt")
        try:
            plain.write_text("\n".join([*header, *lines.to_list()]) + "\n", encoding="utf-8")
            pysam.tabix_compress(str(plain), str(temporary), force=True)
        finally:
            plain.unlink(missing_ok=True)
    pysam.tabix_index(str(path), preset="vcf", force=True)
