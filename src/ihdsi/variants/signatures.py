"""Exposures of tumours to the mutational signatures of COSMIC.

Where the trinucleotide of every mutation is known (from the genome, or from a MAF's own column
CONTEXT), exposures are the non-negative least-squares fit of the tumour's 96 channel counts
(Alexandrov et al. 2020, Nature 578:94; Lawson and Hanson 1974, chapter 23). Where it is not, they
are the maximum-likelihood weights of a mixture over what is observed
(:mod:`ihdsi.variants.protein_contexts`), by expectation maximisation (Dempster et al. 1977, J R
Stat Soc B 39:1). A study may choose the latter for known contexts too: squared errors weigh all
channels alike, whereas counting noise grows with the count.

The signatures are read from the Python package SigProfilerAssignment (Díaz-Gay et al. 2023,
Bioinformatics 39:btad756; BSD 2-Clause), which ships COSMIC's reference signatures
(https://cancer.sanger.ac.uk/signatures; free for research, commercial use needs COSMIC's licence:
https://cancer.sanger.ac.uk/cosmic/license); trinucleotide counts of the human genome and its exome
come from its dependency SigProfilerMatrixGenerator (Bergstrom et al. 2019, BMC Genomics 20:685;
BSD 2-Clause). Neither table is copied into this project, and neither package is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.study import SignatureSettings
from ihdsi.summaries.variant_frequencies import VARIANT_KEY
from ihdsi.variants.mutation_contexts import (
    CHANNELS,
    TRINUCLEOTIDE_OF_CHANNEL,
    TRINUCLEOTIDES,
    genome_channels,
    maf_channels,
    single_base_substitutions,
    trinucleotide_counts,
)
from ihdsi.variants.protein_contexts import (
    CLASS_KEY,
    class_probabilities,
    coding_sites,
    mutation_classes,
)
from ihdsi.variants.regions import read_targets

__all__ = [
    "EXPOSURE_SCHEMA",
    "estimate_site_exposures",
    "fit_channel_counts",
    "fit_observations",
    "human_trinucleotides",
    "reference_signatures",
    "rescale_signatures",
    "signature_exposures",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

EXPOSURE_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "signature": pl.String,
    "exposure": pl.Float64,
    "share": pl.Float64,
    "n_mutations": pl.Int64,
}

#: Expectation maximisation ends when no share moves by more than this, or after so many rounds.
_TOLERANCE, _ROUNDS = 1e-6, 5000

_log = logging.getLogger(__name__)


def _package_file(package: str, *parts: str) -> Path:
    """Path of a data file of an installed package, found without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            Problem(
                f"the Python package {package} is not installed",
                "Install the environment anew: envs/requirements.lock names it.",
            )
        )
    return Path(found.submodule_search_locations[0]).joinpath(*parts)


def reference_signatures(names: Sequence[str], version: str, build: str) -> Floats:
    """Read COSMIC's single-base-substitution signatures of the whole genome.

    Parameters
    ----------
    names
        Signatures, for example SBS2.
    version
        COSMIC version, for example 3.4.
    build
        GRCh37 or GRCh38.

    Returns
    -------
    numpy.ndarray
        Channels × signatures (96 × s), columns summing to 1, channels in the order of `CHANNELS`.

    Raises
    ------
    InputError
        If the package has no such version, or the version no such signature.
    """
    folder = _package_file("SigProfilerAssignment", "data", "Reference_Signatures", build)
    path = folder / f"COSMIC_v{version}_SBS_{build}.txt"
    if not path.is_file():
        raise InputError(
            Problem(
                f"SigProfilerAssignment has no COSMIC version {version} of {build}",
                "Correct the study file's variants.signatures.cosmic_version.",
                file=path,
            )
        )
    table = pl.read_csv(path, separator="\t")
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise InputError(
            Problem(
                f"COSMIC version {version} has no signature {', '.join(absent)}",
                "Correct the study file's variants.signatures.signatures.",
                file=path,
            )
        )
    order = pl.DataFrame({"Type": CHANNELS})
    matrix = (
        order.join(table, on="Type", how="left", maintain_order="left").select(names).to_numpy()
    )
    normalised: Floats = matrix / matrix.sum(axis=0)
    return normalised


def human_trinucleotides(build: str, territory: Literal["genome", "exome"]) -> Floats:
    """Count of each trinucleotide in the human genome or its exome, strands folded.

    Parameters
    ----------
    build
        GRCh37 or GRCh38.
    territory
        ``genome`` or ``exome`` (chromosomes 1–22, X and Y).

    Returns
    -------
    numpy.ndarray
        Counts (32), order of `TRINUCLEOTIDES`.
    """
    suffix = "_exome" if territory == "exome" else ""
    path = _package_file(
        "SigProfilerMatrixGenerator",
        "references",
        "chromosomes",
        "context_distributions",
        f"context_counts_{build}_96{suffix}.csv",
    )
    table = pl.read_csv(path)
    nuclear = [name for name in table.columns[1:] if name not in ("M", "MT")]
    counts = dict(
        zip(
            table[table.columns[0]],
            table.select(pl.sum_horizontal(nuclear)).to_series(),
            strict=True,
        )
    )
    return np.array([counts[name] for name in TRINUCLEOTIDES], dtype=np.float64)


def rescale_signatures(signatures: Floats, measured_in: Floats, wanted: Floats) -> Floats:
    """Translate signatures from one territory to another with other trinucleotides.

    A signature is a probability of channels in the territory that it was measured in. The rate of
    a channel per occurrence of its trinucleotide is what a process does; times the occurrences of
    the wanted territory it gives the probabilities there (Alexandrov et al. 2013, Nature 500:415,
    supplementary methods, normalisation to trinucleotide frequencies).

    Parameters
    ----------
    signatures
        Channels × signatures (96 × s).
    measured_in, wanted
        Counts of the 32 trinucleotides in either territory, order of `TRINUCLEOTIDES`.

    Returns
    -------
    numpy.ndarray
        96 × s, columns summing to 1.
    """
    ratio = np.divide(wanted, measured_in, out=np.zeros_like(wanted), where=measured_in > 0)
    scaled: Floats = signatures * ratio[TRINUCLEOTIDE_OF_CHANNEL][:, np.newaxis]
    scaled /= scaled.sum(axis=0)
    return scaled


def fit_channel_counts(counts: Floats, signatures: Floats) -> Floats:
    """Shares of signatures by non-negative least squares, one tumour at a time.

    Parameters
    ----------
    counts
        Tumours × channels (n × 96).
    signatures
        Channels × signatures (96 × s).

    Returns
    -------
    numpy.ndarray
        Shares (n × s); each row sums to 1, or to 0 where no signature has any of the channels.
    """
    from scipy.optimize import nnls

    weights = np.array([nnls(signatures, row)[0] for row in counts]).reshape(
        len(counts), signatures.shape[1]
    )
    return _shares(weights)


def _shares(weights: Floats) -> Floats:
    total = weights.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return shares


def fit_observations(
    tumour: Integers, count: Floats, probabilities: Floats, n_tumours: int
) -> Floats:
    """Shares of signatures as weights of a mixture, all tumours at once.

    Each tumour's mutations are drawn from the signatures in unknown proportions; an observation has
    a probability under each signature. Expectation maximisation climbs the likelihood, which is
    concave in the proportions, from equal ones.

    Parameters
    ----------
    tumour, count
        Tumour (row, m) and number of its mutations (m) of each observation.
    probabilities
        Observations × signatures (m × s).
    n_tumours
        Number of tumours.

    Returns
    -------
    numpy.ndarray
        Shares (n_tumours × s); rows of tumours without an observation that any signature
        explains are 0.
    """
    possible = probabilities.sum(axis=1) > 0
    tumour, count, probabilities = tumour[possible], count[possible], probabilities[possible]
    n_signatures = probabilities.shape[1]
    flat = (tumour[:, np.newaxis] * n_signatures + np.arange(n_signatures)).ravel()
    total = np.bincount(tumour, count, minlength=n_tumours)[:, np.newaxis]
    shares = np.where(total > 0, 1.0 / n_signatures, 0.0) * np.ones((n_tumours, n_signatures))
    for _ in range(_ROUNDS):
        joint = shares[tumour] * probabilities
        joint *= (count / joint.sum(axis=1))[:, np.newaxis]
        explained = np.bincount(flat, joint.ravel(), minlength=shares.size).reshape(shares.shape)
        updated = np.divide(explained, total, out=np.zeros_like(explained), where=total > 0)
        moved = float(np.abs(updated - shares).max(initial=0.0))
        shares = updated
        if moved < _TOLERANCE:
            break
    return shares


def signature_exposures(
    substitutions: pl.DataFrame,
    signatures: Floats,
    classes: pl.DataFrame,
    class_signatures: Floats,
    settings: SignatureSettings,
) -> pl.DataFrame:
    """Estimate each patient's exposures.

    Parameters
    ----------
    substitutions
        patient, channel (index into `CHANNELS`, or null) and `CLASS_KEY`; one row a mutation.
    signatures
        Probabilities of channels (96 × s) of the study's signatures in the sequenced territory.
    classes, class_signatures
        `class_probabilities`: what is observed where no channel is known.
    settings
        Names of the signatures, estimator, and the number of substitutions below which a patient
        gets no row.

    Returns
    -------
    polars.DataFrame
        Columns of `EXPOSURE_SCHEMA`, one row a patient and signature. `n_mutations` are the
        patient's substitutions, `share` sums to 1 over the signatures, `exposure` is
        share · n_mutations. Patients whose channels are all known are fitted by the study's
        estimator, the others by maximum likelihood.
    """
    names = settings.signatures
    patients = (
        substitutions.group_by("patient")
        .agg(n_mutations=pl.len(), n_unknown=pl.col("channel").is_null().sum())
        .filter(pl.col("n_mutations") >= settings.minimum_mutations)
        .sort("patient")
        .with_row_index("tumour")
    )
    mine = substitutions.join(patients, on="patient")
    by_squares = (pl.col("n_unknown") == 0) & (settings.estimator == "least_squares")
    exact = patients.filter(by_squares)
    inexact = patients.filter(~by_squares)
    shares = np.zeros((patients.height, len(names)))
    if exact.height:
        known = mine.filter(by_squares)
        counts = np.zeros((patients.height, len(CHANNELS)))
        np.add.at(counts, (known["tumour"].to_numpy(), known["channel"].to_numpy()), 1)
        rows = exact["tumour"].to_numpy()
        shares[rows] = fit_channel_counts(counts[rows], signatures)
    if inexact.height:
        # Channels and classes are rows of one table of observations.
        index = classes.with_row_index("observation", offset=len(CHANNELS))
        observed = (
            mine.filter(~by_squares)
            .join(index, on=list(CLASS_KEY), how="left", nulls_equal=True)
            .with_columns(
                observation=pl.coalesce(
                    pl.col("channel").cast(pl.Int64), pl.col("observation").cast(pl.Int64)
                )
            )
            .group_by("tumour", "observation")
            .agg(count=pl.len())
            .sort("tumour", "observation")
        )
        rows = inexact["tumour"].to_numpy()
        shares[rows] = fit_observations(
            observed["tumour"].to_numpy().astype(np.int64),
            observed["count"].to_numpy().astype(np.float64),
            np.vstack([signatures, class_signatures])[observed["observation"].to_numpy()],
            patients.height,
        )[rows]
    return (
        patients.select("patient", "n_mutations")
        .join(pl.DataFrame({"signature": list(names)}), how="cross", maintain_order="left_right")
        .with_columns(share=pl.Series(shares.ravel(), dtype=pl.Float64))
        .filter(pl.col("share").sum().over("patient") > 0)
        .with_columns(exposure=pl.col("share") * pl.col("n_mutations"))
        .select(pl.col(name).cast(dtype) for name, dtype in EXPOSURE_SCHEMA.items())
    )


def estimate_site_exposures(
    variants: pl.DataFrame,
    mafs: Sequence[tuple[Path | str, Mapping[str, str]]],
    genome: Path | str | None,
    targets: Path | str | None,
    settings: SignatureSettings,
) -> pl.DataFrame:
    """Estimate the signature exposures of a site's patients.

    Parameters
    ----------
    variants
        ``somatic_variants``.
    mafs
        Given MAF files, each with Tumor_Sample_Barcode to patient; read for their column CONTEXT
        where there is no genome.
    genome
        Indexed FASTA, or None.
    targets
        BED of the sequenced regions, or None.
    settings
        The study's choice of signatures.

    Returns
    -------
    polars.DataFrame
        `EXPOSURE_SCHEMA`; see `signature_exposures`.

    Raises
    ------
    InputError
        If the genome is of another build than the variants, or a signature is unknown.
    """
    measured_in = human_trinucleotides(settings.build, "genome")
    cosmic = reference_signatures(settings.signatures, settings.cosmic_version, settings.build)
    territory = _territory(settings, genome, targets)
    _log.info("trinucleotides of the sequenced territory: %s", territory)
    if territory == "targets" and genome is not None and targets is not None:
        wanted = trinucleotide_counts(genome, read_targets(targets))
    else:
        wanted = human_trinucleotides(
            settings.build, "genome" if territory == "genome" else "exome"
        )
    exome = human_trinucleotides(settings.build, "exome")
    sites = coding_sites(exome)
    classes, class_signatures = class_probabilities(sites, cosmic, measured_in)
    substitutions = mutation_classes(single_base_substitutions(variants), sites)
    substitutions = substitutions.with_columns(channel=_channels(substitutions, mafs, genome))
    if genome is not None:
        # A neighbour that the genome does not know leaves nothing to observe.
        substitutions = substitutions.drop_nulls("channel")
    _log.info(
        "%d single-base substitutions, %d with a known trinucleotide, %d more with a usable "
        "protein change",
        substitutions.height,
        substitutions["channel"].count(),
        substitutions.filter(pl.col("channel").is_null())["amino_acid"].count(),
    )
    return signature_exposures(
        substitutions,
        rescale_signatures(cosmic, measured_in, wanted),
        classes,
        class_signatures,
        settings,
    )


def _territory(
    settings: SignatureSettings, genome: Path | str | None, targets: Path | str | None
) -> Literal["targets", "exome", "genome"]:
    """Which trinucleotides the signatures are rescaled to."""
    if settings.opportunities != "targets":
        return settings.opportunities
    if targets is None:
        return "genome"
    # Targets without a genome cannot be counted; nearly all of them are coding.
    return "exome" if genome is None else "targets"


def _channels(
    substitutions: pl.DataFrame,
    mafs: Sequence[tuple[Path | str, Mapping[str, str]]],
    genome: Path | str | None,
) -> pl.Series:
    if genome is not None:
        channels = genome_channels(substitutions, genome)
        return pl.Series(channels, dtype=pl.Int64).replace(-1, None)
    given = [maf_channels(path, patients) for path, patients in mafs]
    key = ["patient", *VARIANT_KEY]
    if not given:
        return pl.Series([None] * substitutions.height, dtype=pl.Int64)
    known = pl.concat(given).unique(key, keep="first")
    return (
        substitutions.select(key)
        .join(known, on=key, how="left", maintain_order="left")["channel"]
        .replace(-1, None)
    )
