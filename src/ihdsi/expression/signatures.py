"""Marker signatures scored by ranks within one tumour, and a subtype called from them.

The subtype says whose published markers rank highest in the tumour. It is marker-based, and **not**
the consensus classifier of muscle-invasive bladder cancer (Kamoun et al. 2020, Eur Urol 77:420),
which correlates a transcriptome with the centroids of a training cohort.

Everything here is computed from the counts of one tumour, without means or spreads over the other
tumours of its site, so that means and frequencies of several sites can be compared, as far as the
sites measured the same genes. The counts themselves may depend on the other tumours in two ways
(ihdsi.expression.counts): genes that one of the site's count files lacks are left out for all, and
change the ranks and the random genes; and counts that are corrected for the length of transcripts
(``counts: length_scaled``) use lengths averaged over the site's samples.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.delimited import read_delimited
from ihdsi.errors import InputError, Problem
from ihdsi.study import SIGNATURE_PREFIX, SUBTYPE, UNASSIGNED, ExpressionSettings
from ihdsi.summaries.table import ENSEMBL_GENE

__all__ = [
    "SCORES_SCHEMA",
    "SUBTYPES_SCHEMA",
    "RankScores",
    "call_subtypes",
    "profile_of_expression",
    "rank_scores",
    "read_signatures",
    "score_signatures",
]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

SIGNATURE_COLUMNS = ("signature", "gene_name", "gene_id", "direction", "source")
DIRECTIONS = ("up", "down")

#: Scores of each patient; `score`, `centred_score` and `standardised_score` are null where the
#: signature is not scored, and `reason` says why.
SCORES_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "signature": pl.String,
    "n_genes": pl.Int64,
    "n_measured": pl.Int64,
    "score": pl.Float64,
    "centred_score": pl.Float64,
    "standardised_score": pl.Float64,
    "reason": pl.String,
}

#: The call of each patient; `molecular_subtype` is null where none could be made.
SUBTYPES_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    SUBTYPE: pl.String,
    "best_score": pl.Float64,
    "margin": pl.Float64,
    "reason": pl.String,
}


def read_signatures(path: Path | str, names: Sequence[str]) -> pl.DataFrame:
    """Read the marker lists of some signatures.

    Parameters
    ----------
    path
        TSV with signature, gene_name, gene_id (Ensembl, without version), direction (``up`` or
        ``down``) and source; ``resources/expression_signatures.tsv``.
    names
        Signatures of the study.

    Returns
    -------
    polars.DataFrame
        Those columns, rows of `names` only, in the file's order.

    Raises
    ------
    InputError
        With every column that is missing, every value that is none of these, every gene that a
        signature names twice, and every signature of `names` that the file lacks.
    """
    table = read_delimited(path)
    problems = [
        Problem("this column is missing", "Add it to the header.", table.path, 1, column)
        for column in SIGNATURE_COLUMNS
        if column not in table.columns
    ]
    if problems:
        raise InputError(problems)
    seen: set[tuple[str, str]] = set()
    for row in table.rows:
        value = row.values
        key = (value["signature"], value["gene_id"])
        bare = pl.Series([value["gene_id"]]).str.contains(ENSEMBL_GENE).item()
        checks = {
            "gene_id": (bare, "Write the Ensembl gene id without version."),
            "direction": (value["direction"] in DIRECTIONS, "Write up or down."),
            "source": (bool(value["source"]), "Name the publication."),
            "signature": (key not in seen, "Name each gene of a signature once."),
        }
        seen.add(key)
        problems += [
            Problem(f"'{value[column]}' cannot stand here", remedy, table.path, row.line, column)
            for column, (holds, remedy) in checks.items()
            if not holds
        ]
    present = {row.values["signature"] for row in table.rows}
    problems += [
        Problem(
            f"no row has the signature '{name}'",
            f"Name signatures of this file in expression.signatures: {', '.join(sorted(present))}.",
            table.path,
            column="signature",
        )
        for name in names
        if name not in present
    ]
    if problems:
        raise InputError(problems)
    return pl.DataFrame(
        [[row.values[column] for column in SIGNATURE_COLUMNS] for row in table.rows],
        schema=dict.fromkeys(SIGNATURE_COLUMNS, pl.String),
        orient="row",
    ).filter(pl.col("signature").is_in(list(names)))


@dataclass(frozen=True)
class RankScores:
    """Scores of signatures (rows) in samples (columns).

    `share` is the score between the lowest (0) and the highest (1) that an order of the genes can
    give; `centred` is singscore's; `standardised` counts standard deviations from the mean score of
    as many genes drawn at random from the sample.
    """

    share: FloatArray
    centred: FloatArray
    standardised: FloatArray


def rank_scores(counts: FloatArray, up: NDArray[np.bool_], down: NDArray[np.bool_]) -> RankScores:
    r"""Score each sample by the ranks of the signatures' genes in it (singscore).

    Genes are ranked within the sample, for genes of direction down in reverse; ties get their
    lowest rank before that. With :math:`N` genes of which :math:`k` belong to
    the set, and mean rank :math:`\bar r`, a direction scores
    :math:`(\bar r - r_{min}) / (r_{max} - r_{min}) - 1/2` with :math:`r_{min} = (k + 1) / 2` and
    :math:`r_{max} = (2 N - k + 1) / 2`; the centred score adds the two directions. Its mean and
    variance under random sets of the same sizes, drawn without replacement from the genes of the
    sample, are those of finite populations (Cochran 1977, Sampling Techniques, theorems 2.1 to
    2.3; sums over disjoint sets covary by :math:`-S_{ud} / N`), exact with ties too.

    Parameters
    ----------
    counts
        Genes x samples: any measure that orders the genes of a sample, counts or CPM alike. Length
        of genes is not corrected for; it moves all samples alike.
    up, down
        Signatures x genes: the genes of each direction. A direction without genes adds nothing.

    Returns
    -------
    RankScores
        Each signatures x samples; NaN in a signature without any gene, or where a sample has the
        same value in all genes.

    References
    ----------
    Foroutan et al. 2018, BMC Bioinformatics 19:404 (singscore; `rankGenes`, `simpleScore`).
    """
    # Imported on use: the workflow reads the marker lists only.
    from scipy.stats import rankdata

    n = counts.shape[0]
    rising = rankdata(counts, method="min", axis=0).astype(float)
    mean_rank = rising.mean(axis=0)
    spread = ((rising - mean_rank) ** 2).sum(axis=0) / max(n - 1, 1)
    centred = np.zeros((up.shape[0], counts.shape[1]))
    expected, variance = np.zeros_like(centred), np.zeros_like(centred)
    per_rank = []
    for members, ranks, mean in (
        (up, rising, mean_rank),
        (down, n + 1 - rising, n + 1 - mean_rank),
    ):
        size = members.sum(axis=1)[:, None].astype(float)
        k = np.maximum(size, 1.0)
        # A set of no gene, or of all genes, has one score only: it adds nothing.
        used = (size > 0) & (size < n)
        scale = np.where(used, 1.0, 0.0) / np.where(used, n - k, 1.0)
        per_rank.append(scale)
        middle = np.where(used, 0.5, 0.0)
        centred += ((members @ ranks) / k - (k + 1) / 2) * scale - middle
        expected += (mean - (k + 1) / 2) * scale - middle
        variance += spread * (1 - k / n) / k * scale**2
    # Falling ranks are reversed rising ones, so that disjoint sets covary positively.
    variance += 2 * per_rank[0] * per_rank[1] * spread / n
    directions = (up.any(axis=1).astype(float) + down.any(axis=1))[:, None]
    absent = (directions == 0) | (variance <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        standardised = (centred - expected) / np.sqrt(variance)
        share = (centred + directions / 2) / directions
    return RankScores(*(np.where(absent, np.nan, s) for s in (share, centred, standardised)))


def score_signatures(
    counts: pl.DataFrame, signatures: pl.DataFrame, settings: ExpressionSettings
) -> pl.DataFrame:
    """Score the signatures of each patient.

    Parameters
    ----------
    counts
        gene_id, gene_name and one column a patient (see `ihdsi.expression.counts`).
    signatures
        As of `read_signatures`.
    settings
        The study's signatures, `minimum_genes`, and constants of a reference cohort, by which a
        signature is standardised in place of random genes.

    Returns
    -------
    polars.DataFrame
        Columns of `SCORES_SCHEMA`, patients and signatures in order. A signature of which fewer
        than `minimum_genes` genes are measured has no score, nor has any where all genes of a
        patient have the same count.
    """
    patients = [name for name in counts.columns if name not in ("gene_id", "gene_name")]
    position = {gene: row for row, gene in enumerate(counts["gene_id"])}
    names = list(settings.signatures)
    members = {
        direction: np.zeros((len(names), counts.height), dtype=bool) for direction in DIRECTIONS
    }
    n_genes = dict(signatures.group_by("signature").agg(n=pl.len()).iter_rows())
    for signature, gene, direction in signatures.select(
        "signature", "gene_id", "direction"
    ).iter_rows():
        if gene in position:
            members[direction][names.index(signature), position[gene]] = True
    n_measured = sum(table.sum(axis=1) for table in members.values())
    enough = n_measured >= settings.minimum_genes
    shape = (len(names), len(patients))
    if counts.height > 1 and patients:
        scores = rank_scores(
            counts.select(patients).to_numpy().astype(float), members["up"], members["down"]
        )
    else:
        scores = RankScores(*(np.full(shape, np.nan) for _ in range(3)))
    standardised = scores.standardised.copy()
    for row, name in enumerate(names):
        if (constant := settings.constants.get(name)) is not None:
            standardised[row] = (scores.centred[row] - constant.mean) / constant.standard_deviation
    for name, count, scored in zip(names, n_measured, enough, strict=True):
        if not scored:
            logger.warning(
                "signature %s is not scored: %d of its %d genes are measured",
                name,
                count,
                n_genes[name],
            )
    frame = pl.DataFrame(
        {
            "patient": np.repeat(patients, len(names)),
            "signature": names * len(patients),
            "n_genes": [n_genes[name] for name in names] * len(patients),
            "n_measured": np.tile(n_measured, len(patients)),
            "score": scores.share.T.ravel(),
            "centred_score": scores.centred.T.ravel(),
            "standardised_score": standardised.T.ravel(),
            "_enough": np.tile(enough, len(patients)),
        },
        schema_overrides={"patient": pl.String, "signature": pl.String},
    )
    reason = (
        pl.when(~pl.col("_enough"))
        .then(
            pl.format(
                "{} of {} genes are measured, fewer than {}",
                "n_measured",
                "n_genes",
                pl.lit(settings.minimum_genes),
            )
        )
        .when(pl.col("score").is_nan())
        .then(pl.lit("all genes of the sample have the same count"))
    )
    scored = ("score", "centred_score", "standardised_score")
    return (
        frame.with_columns(reason=reason)
        .with_columns(pl.when(pl.col("reason").is_null()).then(n).alias(n) for n in scored)
        .select(pl.col(name).cast(kind) for name, kind in SCORES_SCHEMA.items())
    )


def call_subtypes(scores: pl.DataFrame, settings: ExpressionSettings) -> pl.DataFrame:
    """Call each patient's subtype: that of the highest standardised score, if it is clear.

    Parameters
    ----------
    scores
        Columns of `SCORES_SCHEMA`.
    settings
        The study's `subtypes` (signatures that are candidates), `minimum_standardised_score` that
        the highest must reach and `minimum_margin` by which it must exceed the second.

    Returns
    -------
    polars.DataFrame
        Columns of `SUBTYPES_SCHEMA`, in the order of patients. ``unassigned`` where the highest
        is too low or too close to the second; null where fewer than two candidates are scored,
        since nothing was compared.
    """
    order = scores.select("patient").unique(maintain_order=True)
    candidates = scores.filter(
        pl.col("signature").is_in(list(settings.subtypes)),
        pl.col("standardised_score").is_not_null(),
    ).sort("patient", "standardised_score", "signature", descending=[False, True, False])
    best = candidates.group_by("patient", maintain_order=True).agg(
        _signature=pl.col("signature").first(),
        _n=pl.len(),
        best_score=pl.col("standardised_score").first(),
        _second=pl.col("standardised_score").slice(1, 1).first(),
    )
    score, margin = pl.col("best_score"), pl.col("margin")
    least, gap = settings.minimum_standardised_score, settings.minimum_margin
    reason = (
        pl.when(pl.col("_n").fill_null(0) < 2)
        .then(pl.lit("fewer than two subtypes have a score"))
        .when(score < least)
        .then(pl.format("no score reaches {}", pl.lit(f"{least:g}")))
        .when(margin < gap)
        .then(pl.format("the two highest scores differ by less than {}", pl.lit(f"{gap:g}")))
    )
    return (
        order.join(best, on="patient", how="left", maintain_order="left")
        .with_columns(margin=score - pl.col("_second"))
        .with_columns(reason=reason)
        .with_columns(
            pl.when(pl.col("_n").fill_null(0) < 2)
            .then(None)
            .when(pl.col("reason").is_not_null())
            .then(pl.lit(UNASSIGNED))
            .otherwise("_signature")
            .alias(SUBTYPE)
        )
        .select(pl.col(name).cast(kind) for name, kind in SUBTYPES_SCHEMA.items())
    )


def profile_of_expression(scores: pl.DataFrame, subtypes: pl.DataFrame) -> pl.DataFrame:
    """Lay out what the cohort profile counts: one row a patient.

    Returns
    -------
    polars.DataFrame
        patient, molecular_subtype, and one column ``signature_<name>`` of each signature's score
        from 0 to 1 (null where it is not scored). Scores of either sign would not do: the rules of
        dominance are those of values that are not negative.
    """
    wide = scores.with_columns(_column=SIGNATURE_PREFIX + pl.col("signature")).pivot(
        "_column", index="patient", values="score", maintain_order=True
    )
    return subtypes.select("patient", SUBTYPE).join(
        wide, on="patient", how="left", maintain_order="left"
    )
