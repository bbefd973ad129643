"""Protein intensities of the demo's tumours: planted differences, plates and missing values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import norm

from ihdsi.simulate.cohort import SiteDesign
from ihdsi.simulate.streams import stream

__all__ = ["plates_of", "protein_matrix", "protein_parameters"]

PROTEIN_LOG2_MEAN = 24.0
PROTEIN_LOG2_SD_OF_MEANS = 2.5
PROTEIN_NOISE_SD = 0.6
# Of the difference in expression, what is seen in the protein.
PROTEIN_SHARE_OF_EXPRESSION = 0.7
PROTEIN_SITE_SD = 0.4
PLATE_SD = 0.5
N_PLATES = 2
# A value is missing with a probability that grows as intensity falls (half of those at the limit),
# which leaves out about 8 % of all, nearly all of them of proteins of low intensity.
DETECTION_LIMIT = 20.6
DETECTION_SD = 0.4
# A spiked-in standard belongs to no gene, and is added in a quantity that is always seen.
SPIKE_IN = "SPIKE_IN"
SPIKE_IN_LOG2_MEAN = 26.0


def protein_parameters(seed: int, parameters: pl.DataFrame, panel: Sequence[str]) -> pl.DataFrame:
    """Mean and planted difference of each protein: one of every panel gene, and a standard.

    Parameters
    ----------
    seed
        The study's seed.
    parameters
        Result of `ihdsi.simulate.expression.expression_parameters`.
    panel
        Names of the panel's genes.

    Returns
    -------
    polars.DataFrame
        feature, feature_name, gene_id (null for the standard), log2_mean and log2_difference (MIBC
        against NMIBC; 0 where nothing is planted).
    """
    genes = parameters.filter(pl.col("gene_name").is_in(list(panel))).select(
        feature=pl.lit("PROT_") + pl.col("gene_name"),
        feature_name="gene_name",
        gene_id="gene_id",
        log2_difference=PROTEIN_SHARE_OF_EXPRESSION * pl.col("log2_fold_change"),
    )
    standard = pl.DataFrame(
        {
            "feature": [SPIKE_IN],
            "feature_name": ["spiked-in standard"],
            "gene_id": [None],
            "log2_difference": [0.0],
        },
        schema=genes.schema,
    )
    proteins = pl.concat([genes, standard])
    means = [
        stream(seed, "protein", "feature", name).normal(PROTEIN_LOG2_MEAN, PROTEIN_LOG2_SD_OF_MEANS)
        for name in proteins["feature"]
    ]
    return proteins.with_columns(
        log2_mean=pl.when(pl.col("feature") == SPIKE_IN)
        .then(SPIKE_IN_LOG2_MEAN)
        .otherwise(pl.Series(means))
    )


def plates_of(design: SiteDesign, patients: pl.DataFrame) -> pl.DataFrame:
    """Plate of each protein sample, spread evenly over stage and sex as good practice asks.

    Returns
    -------
    polars.DataFrame
        patient, sample and plate, in a hospital's own words.
    """
    own = patients.filter(pl.col("site") == design.site)
    number = pl.int_range(pl.len()).over("stage_group", "sex") % N_PLATES + 1
    return own.select(
        "patient",
        sample=pl.col("patient") + "-P",
        plate=pl.format("{} run of 2024-03-{}", pl.lit(design.prefix), 10 + number),
    )


def protein_matrix(
    seed: int, design: SiteDesign, patients: pl.DataFrame, proteins: pl.DataFrame
) -> pl.DataFrame:
    """Intensities of a site's tumours; empty where a protein was not detected.

    Parameters
    ----------
    patients
        patient, site, stage_group, sex.
    proteins
        Result of `protein_parameters`.

    Returns
    -------
    polars.DataFrame
        accession, protein, ensembl_gene and one column a sample.
    """
    plates = plates_of(design, patients)
    invasive = dict(patients.select("patient", pl.col("stage_group") == "MIBC").iter_rows())
    difference = proteins["log2_difference"].to_numpy()
    n = proteins.height
    site = stream(seed, "protein", "site", design.site).normal(0, PROTEIN_SITE_SD, n)
    shift = {
        plate: stream(seed, "protein", "plate", design.site, plate).normal(0, PLATE_SD, n)
        for plate in plates["plate"].unique()
    }
    columns = {}
    for patient, sample, plate in plates.iter_rows():
        rng = stream(seed, "protein", "patient", patient)
        log2 = (
            proteins["log2_mean"].to_numpy()
            + site
            + shift[plate]
            + difference * (invasive[patient] - 0.5)
            + rng.normal(0, PROTEIN_NOISE_SD, n)
        )
        detected = rng.random(n) < norm.cdf((log2 - DETECTION_LIMIT) / DETECTION_SD)
        columns[sample] = pl.Series(np.where(detected, np.round(2.0**log2), np.nan)).fill_nan(None)
    return proteins.select(
        accession="feature", protein="feature_name", ensembl_gene="gene_id"
    ).with_columns(column.cast(pl.Int64).alias(name) for name, column in columns.items())
