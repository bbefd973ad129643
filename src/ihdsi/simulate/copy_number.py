"""Copy number: of the sex chromosomes in everyone, and of some genes in tumours."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.simulate.genome import SEX_CHROMOSOMES, Genome
from ihdsi.simulate.streams import stream

__all__ = [
    "ALTERED_GENES",
    "COPY_NUMBER_SCHEMA",
    "SEX_CHROMOSOME_COPIES",
    "copy_number_class",
    "haplotype_doses",
    "simulate_copy_number",
]

Floats = NDArray[np.float64]

# Genes with recurrent focal gains and losses in bladder cancer (Robertson et al. 2017, Cell
# 171:540), and the direction. Each is altered in this share of the patients whose reads are
# simulated; the share is set generously, because only a handful of them are.
ALTERED_GENES = {
    "FGFR3": "gain",
    "CCND1": "gain",
    "MDM2": "gain",
    "ERBB2": "gain",
    "PPARG": "gain",
    "E2F3": "gain",
    "CDKN2A": "loss",
    "RB1": "loss",
    "PTEN": "loss",
}
ALTERED_SHARE = 0.4
# Of the altered genes: amplified or deleted altogether; the others gain or lose one copy.
STRONG_SHARE = 0.6
AMPLIFIED_COPIES = (6, 8)

#: Copies of each haplotype, (maternal, paternal), in the normal cells of each sex.
SEX_CHROMOSOME_COPIES = {
    ("chrX", "female"): (1, 1),
    ("chrX", "male"): (1, 0),
    ("chrY", "female"): (0, 0),
    ("chrY", "male"): (1, 0),
}

COPY_NUMBER_SCHEMA = {
    "patient": pl.String,
    "gene_id": pl.String,
    "gene_name": pl.String,
    "copies_1": pl.Int64,
    "copies_2": pl.Int64,
    "copy_number": pl.Int64,
    "copy_number_class": pl.String,
}


def copy_number_class(copy_number: int) -> str:
    """Class of a gene on an autosome with this many copies in the tumour's cells."""
    return ("deletion", "loss", "neutral", "gain", "amplification")[min(copy_number, 4)]


def _copies(rng: np.random.Generator, direction: str) -> tuple[int, int]:
    """Draw the copies of the two haplotypes in the tumour's cells."""
    strong = rng.random() < STRONG_SHARE
    amplified = int(rng.integers(AMPLIFIED_COPIES[0], AMPLIFIED_COPIES[1] + 1))
    changed = int(rng.integers(0, 2))
    if direction == "gain":
        # All further copies are of one haplotype, as a tandem or extrachromosomal amplicon is.
        copies = [1, 1]
        copies[changed] = amplified - 1 if strong else 2
    else:
        copies = [0, 0] if strong else [1, 1]
        copies[changed] = 0
    return copies[0], copies[1]


def simulate_copy_number(seed: int, patients: pl.DataFrame, genome: Genome) -> pl.DataFrame:
    """Draw clonal copy-number changes of whole genes in the patients who enter as FASTQ.

    A patient who enters as VCF has no reads in which a change could be seen.

    Parameters
    ----------
    patients
        patient and entry.

    Returns
    -------
    polars.DataFrame
        One row an altered gene: patient, gene_id, gene_name, copies_1 and copies_2 (copies of
        each haplotype in the tumour's cells), copy_number (their sum), copy_number_class
        (amplification, gain, loss, deletion). Genes that are not listed have two copies.
    """
    ids = dict(
        genome.genes.filter("is_targeted")
        .filter(~pl.col("chromosome").is_in(SEX_CHROMOSOMES))
        .select("gene_name", "gene_id")
        .iter_rows()
    )
    rows = []
    for patient in patients.filter(pl.col("entry") == "fastq")["patient"]:
        for gene, direction in ALTERED_GENES.items():
            rng = stream(seed, "copy_number", patient, gene)
            if gene in ids and rng.random() < ALTERED_SHARE:
                copies = _copies(rng, direction)
                total = sum(copies)
                rows.append((patient, ids[gene], gene, *copies, total, copy_number_class(total)))
    return pl.DataFrame(rows, schema=COPY_NUMBER_SCHEMA, orient="row").sort("patient", "gene_name")


def haplotype_doses(
    targets: pl.DataFrame, sex: str, purity: float, copy_number: pl.DataFrame
) -> Floats:
    """Count the copies of each haplotype of each target in the mean cell of a sample.

    Parameters
    ----------
    targets
        n targets: chromosome and gene_name.
    sex
        ``female`` or ``male``.
    purity
        Share of tumour cells; 0 for a normal sample.
    copy_number
        Altered genes of the patient: gene_name, copies_1, copies_2 (of the tumour's cells).

    Returns
    -------
    numpy.ndarray
        Shape (2, n): 1 for both haplotypes of an autosome in normal cells.
    """
    table = targets.select("chromosome", "gene_name").join(
        copy_number.select("gene_name", "copies_1", "copies_2"),
        on="gene_name",
        how="left",
        maintain_order="left",
    )
    rows = []
    for number in (1, 2):
        own = {c: n[number - 1] for (c, s), n in SEX_CHROMOSOME_COPIES.items() if s == sex}
        normal = (
            table["chromosome"].replace_strict(own, default=1, return_dtype=pl.Int64).to_numpy()
        )
        altered = table[f"copies_{number}"].fill_null(pl.Series(normal)).to_numpy()
        rows.append((1 - purity) * normal + purity * altered)
    return np.stack(rows).astype(np.float64)
