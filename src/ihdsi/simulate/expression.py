"""Gene abundance of each tumour, and the counts and fragments drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.simulate.cohort import SiteDesign
from ihdsi.simulate.streams import stream

__all__ = [
    "Expression",
    "expression_parameters",
    "expression_truth",
    "simulate_expression",
    "survival_log_hazard",
]

Floats = NDArray[np.float64]

MEAN_FRAGMENTS = 200.0
LOG_SD_OF_MEANS = 1.15
DISPERSION = (0.1, 0.3)
EFFECT_SIZE = (0.8, 2.0)
SITE_SHIFT_SD = 0.25
N_DIFFERENTIAL = 60
N_SITE_SPECIFIC = 5
N_SURVIVAL = 6
N_SEX = 4
RNA_READ_PAIRS = 60_000

# A planted gene must be able to show its effect: these floors are expected fragments per library.
MARKER_FLOOR = 80.0
SURVIVAL_FLOOR = 150.0
# Prognostic genes vary more between tumours than others do.
SURVIVAL_DISPERSION = 0.5
SURVIVAL_LOG_HAZARD = (0.6, 0.8)
SEX_EFFECT = -4.0

# Direction in muscle-invasive disease: luminal differentiation is lost, the basal programme and
# stemness markers are gained (Choi et al. 2014, Cancer Cell 25:152; Sjodahl et al. 2012).
MARKER_DIRECTION = {
    **dict.fromkeys(
        ("FGFR3", "PPARG", "GATA3", "FOXA1", "KRT20", "UPK1A", "UPK1B", "UPK2", "UPK3A"), -1.0
    ),
    **dict.fromkeys(("KRT5", "KRT6A", "KRT14", "CD44", "CDH3", "TP63", "EGFR"), 1.0),
}


@dataclass(frozen=True)
class Expression:
    """Abundances and drawn fragments, each of shape (n_patients, n_genes).

    `deviation` is log2 abundance around the gene's mean at the site; `abundance` is in expected
    fragments of an average library; `expected_fragments` and `fragments` belong to the library
    of the patient.
    """

    abundance: Floats
    deviation: Floats
    expected_fragments: Floats
    fragments: NDArray[np.int64]


def _planted_roles(genes: pl.DataFrame) -> pl.DataFrame:
    """Say which genes carry which effect, from their names and filler numbers alone.

    Fillers take turns by their number modulo five, so that appending fillers changes no role.
    """
    filler = pl.col("gene_name").str.extract(r"^SIM(\d+)$").cast(pl.Int64)
    turn, rank = filler % 5, filler // 5
    marker = pl.col("gene_name").replace_strict(
        MARKER_DIRECTION, default=None, return_dtype=pl.Float64
    )
    n_markers = sum(genes["gene_name"].is_in(list(MARKER_DIRECTION)))
    alternate = pl.when(rank % 2 == 0).then(1.0).otherwise(-1.0)
    return genes.select(
        "gene_id",
        "gene_name",
        is_marker=marker.is_not_null(),
        marker_direction=marker.fill_null(0.0),
        is_differential=marker.is_not_null()
        | ((turn == 0) & (rank <= N_DIFFERENTIAL - n_markers)).fill_null(value=False),
        site_specific_sign=pl.when((turn == 1) & (rank < N_SITE_SPECIFIC))
        .then(alternate)
        .otherwise(0.0),
        survival_sign=pl.when((turn == 2) & (rank < N_SURVIVAL)).then(alternate).otherwise(0.0),
        is_sex_gene=((turn == 3) & (rank < N_SEX)).fill_null(value=False),
    )


def _balanced_directions(mass: Floats, fixed: Floats) -> Floats:
    """Give each gene the sign that keeps the running sum of signed mass nearest zero.

    Expression is compositional: if the planted genes together took a larger share in one group,
    every null gene would truly have a smaller one. Signs depend on earlier genes only.

    Parameters
    ----------
    mass
        Shape (n,): change of expected fragments that the gene's effect makes.
    fixed
        Shape (n,): sign where it is given by biology, else 0.
    """
    signs = fixed.copy()
    total = float(mass @ fixed)
    for index in np.flatnonzero(fixed == 0):
        signs[index] = -1.0 if total > 0 else 1.0
        total += signs[index] * mass[index]
    return signs


def expression_parameters(
    seed: int, genes: pl.DataFrame, sites: Sequence[SiteDesign]
) -> pl.DataFrame:
    """Mean, dispersion and planted effects of every gene.

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name, base_mean (expected fragments of an
        average library, half-way between the stage groups), dispersion (of
        the negative binomial), log2_fold_change (MIBC against NMIBC, mean over sites),
        log2_fold_change_<site>, site_shift_<site> (log2), is_differential, site_specific,
        sex_log2_fold_change (female against male), survival_log_hazard_ratio (per log2 unit).
    """
    roles = _planted_roles(genes)
    draws = []
    for gene_id in roles["gene_id"]:
        rng = stream(seed, "expression", "gene", gene_id)
        draws.append(
            (
                np.exp(
                    rng.normal(np.log(MEAN_FRAGMENTS) - LOG_SD_OF_MEANS**2 / 2, LOG_SD_OF_MEANS)
                ),
                rng.uniform(*DISPERSION),
                rng.uniform(*EFFECT_SIZE),
                rng.uniform(*SURVIVAL_LOG_HAZARD),
                float(rng.integers(0, len(sites))),
                *(
                    stream(seed, "expression", "site", design.site, gene_id).normal(
                        0, SITE_SHIFT_SD
                    )
                    for design in sites
                ),
            )
        )
    mean, dispersion, size, hazard, home, *shifts = np.array(draws).T
    survival_sign = roles["survival_sign"].to_numpy()
    specific_sign = roles["site_specific_sign"].to_numpy()
    specific = specific_sign != 0
    is_marker = roles["is_marker"].to_numpy()
    mean = np.where(is_marker, np.maximum(mean, MARKER_FLOOR), mean)
    mean = np.where(survival_sign != 0, np.maximum(mean, SURVIVAL_FLOOR), mean)
    planted = roles["is_differential"].to_numpy()
    effect = np.zeros(genes.height)
    effect[planted] = size[planted] * _balanced_directions(
        mean[planted] * 2 * np.sinh(size[planted] * np.log(2) / 2),
        roles["marker_direction"].to_numpy()[planted],
    )
    by_site = {
        f"log2_fold_change_{design.site}": np.where(
            specific, specific_sign * size * (home == index), effect
        )
        for index, design in enumerate(sites)
    }
    return roles.select("gene_id", "gene_name").with_columns(
        site_specific=pl.Series(specific),
        base_mean=pl.Series(mean),
        dispersion=pl.Series(np.where(survival_sign != 0, SURVIVAL_DISPERSION, dispersion)),
        log2_fold_change=pl.Series(np.mean(list(by_site.values()), axis=0)),
        **{name: pl.Series(values) for name, values in by_site.items()},
        **{
            f"site_shift_{design.site}": pl.Series(shift)
            for design, shift in zip(sites, shifts, strict=True)
        },
        is_differential=pl.Series((effect != 0) | specific),
        sex_log2_fold_change=pl.Series(np.where(roles["is_sex_gene"].to_numpy(), SEX_EFFECT, 0.0)),
        survival_log_hazard_ratio=pl.Series(survival_sign * hazard),
    )


def simulate_expression(
    seed: int, patients: pl.DataFrame, parameters: pl.DataFrame, library_size: Mapping[str, float]
) -> Expression:
    """Draw gamma abundances around the planted means, then fragments: negative binomial counts.

    Tumours that enter as FASTQ get a fixed number of read pairs, shared among genes as a
    multinomial; the others Poisson counts at their library's size.

    Parameters
    ----------
    seed
        The study's seed.
    patients
        patient, site, entry, stage_group, sex, library_factor.
    parameters
        Result of `expression_parameters`, n_genes rows.
    library_size
        Relative library size by site.
    """
    dispersion = parameters["dispersion"].to_numpy()
    base = np.log2(parameters["base_mean"].to_numpy())
    site_of = patients["site"].to_numpy()
    invasive = (patients["stage_group"] == "MIBC").to_numpy()[:, None]
    female = (patients["sex"] == "female").to_numpy()[:, None]
    effect = np.stack([parameters[f"log2_fold_change_{site}"].to_numpy() for site in site_of])
    shift = np.stack([parameters[f"site_shift_{site}"].to_numpy() for site in site_of])

    streams = [stream(seed, "expression", "patient", name) for name in patients["patient"]]
    noise = np.stack([rng.gamma(1 / dispersion, dispersion) for rng in streams])
    deviation = (
        effect * (invasive - 0.5)
        + parameters["sex_log2_fold_change"].to_numpy() * female
        + np.log2(np.maximum(noise, 1e-6))
    )
    abundance = 2.0 ** (base + shift + deviation)
    size = patients["library_factor"].to_numpy() * np.array([library_size[s] for s in site_of])
    from_fastq = (patients["entry"] == "fastq").to_numpy()
    share = abundance / abundance.sum(axis=1, keepdims=True)
    expected = np.where(from_fastq[:, None], share * RNA_READ_PAIRS, abundance * size[:, None])
    fragments = np.stack(
        [
            rng.multinomial(RNA_READ_PAIRS, share[row])
            if from_fastq[row]
            else rng.poisson(expected[row])
            for row, rng in enumerate(streams)
        ]
    ).astype(np.int64)
    return Expression(abundance, deviation, expected, fragments)


def survival_log_hazard(expression: Expression, parameters: pl.DataFrame) -> Floats:
    """Each patient's log hazard from expression, around the mean of the genes' log2 abundance.

    The mean is that of the model and not of the sample, so that a further patient changes nobody.
    """
    dispersion = parameters["dispersion"].to_numpy()
    # E[log2 X] for X ~ Gamma(shape 1/d, scale d), to second order: -d / (2 ln 2).
    centred = expression.deviation + dispersion / (2 * np.log(2))
    log_hazard: Floats = centred @ parameters["survival_log_hazard_ratio"].to_numpy()
    return log_hazard


def expression_truth(
    expression: Expression,
    patients: pl.DataFrame,
    parameters: pl.DataFrame,
    effective_length: Floats,
) -> pl.DataFrame:
    """Long table of the truth, one row a patient and gene.

    Parameters
    ----------
    effective_length
        Shape (n_genes,): mean number of positions at which a fragment can start (bp).

    Returns
    -------
    polars.DataFrame
        patient, gene_id, abundance, expected_fragments, transcripts_per_million, true_fragments.
    """
    n_patients, n_genes = expression.fragments.shape
    rate = expression.abundance / effective_length
    per_million = 1e6 * rate / rate.sum(axis=1, keepdims=True)
    return pl.DataFrame(
        {
            "patient": np.repeat(patients["patient"].to_numpy(), n_genes),
            "gene_id": np.tile(parameters["gene_id"].to_numpy(), n_patients),
            "abundance": expression.abundance.ravel(),
            "expected_fragments": expression.expected_fragments.ravel(),
            "transcripts_per_million": per_million.ravel(),
            "true_fragments": expression.fragments.ravel(),
        },
        schema_overrides={"patient": pl.String, "gene_id": pl.String},
    )
