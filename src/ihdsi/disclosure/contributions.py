"""What single patients make up of the statistics of a feature, from the patients' own values.

Sums of products (X'y, y'y) and means of counts leave for thousands of features, and their tables do
not tell how the values are spread over patients: a feature that is constant in all patients but one
has the same kind of row as any other, and its X'y is that patient's value. So each feature is
judged here on the values behind it, at the site. What comes back is the name of a rule, no value.

Sums of products are judged by deviations from the mean, as a level that all patients share is
guessed easily. Where one patient makes up the share s of the squared deviations, whoever knows the
level of the others finds this patient's deviation with an error of √((1 − s)/s) of itself, however
many patients there are: all of it at s = 1/2, a third at 9/10. So `maximum_contribution` bounds s
among all patients of a contrast. The terms of X'y are sums over groups as well (cases, controls,
levels of covariates). In small groups one patient has half of the squares by chance too often:
among ten patients of a normal distribution, in one feature of seven or so. So groups are held to
`dominance_n` and `dominance_k`.

The commonest value is looked for among counts where y is log2-CPM: of two patients without a read
y differs by their library sizes alone.

Means of counts are judged by the shares of the sum, in all patients of the contrast, in its cases
and in its controls, because mean and fold change together give the means of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.tables import COMMONEST, DOMINANCE, DOMINANCE_NK, P_RATIO
from ihdsi.expression.normalisation import expressed_genes, log2_cpm, median_of_ratios
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import DisclosureSettings, Study
from ihdsi.summaries.design import CASE, INTERCEPT, Design, contrast_design, gene_matrix
from ihdsi.summaries.matrix_moments import missingness_patterns

__all__ = [
    "FEATURES_SCHEMA",
    "design_groups",
    "dominated_sums",
    "dominated_variation",
    "few_apart",
    "judge_features",
]

FEATURES_SCHEMA: dict[str, Any] = {
    "table": pl.String,
    "part": pl.String,
    "contrast": pl.String,
    "feature": pl.String,
    "n": pl.Int64,
    "feature_rule": pl.String,
}

#: Sums of floats are exact up to rounding; on the border the rules refuse.
ROUNDING = 1e-9

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
#: Features that a rule withholds (a mask), and the rule.
Verdict = tuple[BoolArray, str]


def judge_features(
    study: Study,
    settings: DisclosureSettings,
    frames: Mapping[str, pl.DataFrame],
    *,
    matrices: Mapping[str, pl.DataFrame] | None = None,
    pseudobulk: Mapping[str, pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """Judge the features of each contrast by what single patients make up of their statistics.

    Parameters
    ----------
    study
        Its contrasts and variables.
    settings
        The thresholds in force.
    frames
        ``clinical`` (patient and clinical variables), ``counts`` (gene_id, gene_name and one column
        of raw counts a patient) and ``decisions`` (on samples; who failed is left out as the
        summaries leave them out). Other frames are not looked at; without ``clinical`` there is
        no contrast.
    matrices
        As for `ihdsi.summaries.matrix_moments.build_matrix_moments`.
    pseudobulk
        As for `ihdsi.summaries.cell_expression_effects.estimate_cell_expression_effects`.

    Returns
    -------
    polars.DataFrame
        Columns of `FEATURES_SCHEMA`. Rows are the features of ``expression_moments``,
        ``expression_effects``, ``matrix_moments`` (part is the assay) and
        ``cell_expression_effects`` (part is the cell type; empty elsewhere). ``n`` is the number of
        patients on whose values the feature was judged, ``feature_rule`` the rule that withholds
        it or null. It names features that hardly anybody has, so it stays at the site.

    Raises
    ------
    InputError
        If an assay of a matrix is unknown, or a value of a matrix is infinite.
    """
    parts = [pl.DataFrame(schema=FEATURES_SCHEMA)]
    if "clinical" not in frames:
        return parts[0]
    clinical = frames["clinical"]
    if "counts" in frames:
        decisions = frames.get("decisions")
        failed = () if decisions is None else excluded_patients(decisions, ["tumour_rna"])
        counts = without_patients(frames["counts"], failed)
        for name, design, genes, reads, log_values in _expressed(counts, clinical, study):
            for table, verdicts in (
                ("expression_moments", _products(log_values, np.rint(reads), design, settings)),
                ("expression_effects", _means(reads, design, settings)),
            ):
                parts.append(_rows((table, "", name), genes, design, verdicts))
    for cell_type, counts in (pseudobulk or {}).items():
        for name, design, genes, reads, _ in _expressed(counts, clinical, study):
            place = ("cell_expression_effects", cell_type, name)
            parts.append(_rows(place, genes, design, _means(reads, design, settings)))
    variables = study.clinical.variables
    for assay, matrix in (matrices or {}).items():
        for name, contrast in study.contrasts.items():
            for pattern in missingness_patterns(assay, matrix, clinical, contrast, variables):
                design = contrast_design(
                    clinical, pattern.patients, contrast, variables, full_rank=False
                )
                if not design.patients:
                    continue
                verdicts = _products(pattern.values, pattern.values, design, settings)
                place = ("matrix_moments", assay, name)
                parts.append(_rows(place, pattern.features["feature"], design, verdicts))
    return pl.concat(parts)


def _expressed(
    counts: pl.DataFrame, clinical: pl.DataFrame, study: Study
) -> Iterator[tuple[str, Design, pl.Series, FloatArray, FloatArray]]:
    """Yield name, design, genes, counts and log2-CPM (genes x patients) of each contrast.

    Patients and genes are those of `build_expression_moments` and `estimate_expression_effects`.
    """
    labels, matrix, measured = gene_matrix(counts)
    expression = log2_cpm(matrix)
    place = {patient: index for index, patient in enumerate(measured)}
    for name, contrast in study.contrasts.items():
        design = contrast_design(
            clinical, measured, contrast, study.clinical.variables, full_rank=False
        )
        smaller = min(design.n_case, design.n_control)
        if smaller == 0:
            continue
        columns = [place[patient] for patient in design.patients]
        kept = expressed_genes(matrix[:, columns], smaller)
        genes = labels["gene_id"].filter(pl.Series(kept))
        yield name, design, genes, matrix[kept][:, columns], expression[kept][:, columns]


def _rows(
    place: tuple[str, str, str], features: pl.Series, design: Design, verdicts: Sequence[Verdict]
) -> pl.DataFrame:
    """One row a feature; the first of the verdicts that withhold it names the rule."""
    rule = np.full(len(features), None, dtype=object)
    for withheld, name in reversed(verdicts):
        rule[withheld] = name
    table, part, contrast = place
    return pl.DataFrame(
        {
            "feature": features,
            "feature_rule": pl.Series(rule.tolist(), dtype=pl.String),
        }
    ).select(
        table=pl.lit(table),
        part=pl.lit(part),
        contrast=pl.lit(contrast),
        feature="feature",
        n=pl.lit(len(design.patients), dtype=pl.Int64),
        feature_rule="feature_rule",
    )


def _products(
    responses: FloatArray, values: FloatArray, design: Design, settings: DisclosureSettings
) -> list[Verdict]:
    """Judge X'y and y'y of responses (F x P); `values` are what may be the same in patients."""
    groups = design_groups(design)
    apart = [few_apart(values[:, group], settings.minimum_n) for group in groups]
    one, several = zip(
        *(dominated_variation(responses[:, group], settings) for group in groups), strict=True
    )
    # The first group is everybody.
    return [
        (np.any(apart, axis=0), COMMONEST),
        (one[0], DOMINANCE),
        (np.any(several, axis=0), DOMINANCE_NK),
    ]


def _means(counts: FloatArray, design: Design, settings: DisclosureSettings) -> list[Verdict]:
    """Judge means of normalised counts (F x P) over everybody, cases and controls."""
    if not len(counts):
        return []
    case = design.matrix[:, design.terms.index(CASE)] == 1
    normalised = np.rint(counts) / median_of_ratios(counts)
    judged = [
        dominated_sums(normalised[:, group], settings)
        for group in (np.ones_like(case), case, ~case)
    ]
    names = (DOMINANCE, DOMINANCE_NK, P_RATIO)
    return [
        (np.any(masks, axis=0), name)
        for masks, name in zip(zip(*judged, strict=True), names, strict=True)
    ]


def design_groups(design: Design) -> list[BoolArray]:
    """List the groups whose sums X'y holds: everybody, then the levels of each indicator.

    Parameters
    ----------
    design
        P patients. A reference level is what the other levels of its variable leave.

    Returns
    -------
    list of ndarray
        Masks of shape (P,), none of them empty.
    """
    levels: dict[str, list[BoolArray]] = {}
    for term, column in zip(design.terms, design.matrix.T, strict=True):
        if term != INTERCEPT and np.isin(column, (0.0, 1.0)).all():
            levels.setdefault(term.split("=", 1)[0], []).append(column == 1)
    groups = [np.ones(len(design.patients), dtype=bool)]
    for masks in levels.values():
        groups += [*masks, ~np.any(masks, axis=0)]
    return [group for group in groups if group.any()]


def few_apart(values: FloatArray, minimum_n: int) -> BoolArray:
    """Find features of which most patients have one value, and fewer than `minimum_n` another.

    Their sum is that of a few patients and a multiple of a value that is easily guessed, such as
    zero or a limit of detection; where nobody has another value, it is everybody's. A value that
    no majority has is nobody's guess, and the group itself is large enough by its own rule.

    Parameters
    ----------
    values
        Shape (F, P), P at least 1.
    minimum_n
        Fewest patients who are to have another value.

    Returns
    -------
    ndarray
        Mask of shape (F,).
    """
    ordered = np.sort(values, axis=1)
    place = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    begins = np.ones(values.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    # How long the run of equal values is that ends in each place.
    run = place - np.maximum.accumulate(np.where(begins, place, 0), axis=1) + 1
    commonest = run.max(axis=1)
    return np.asarray((2 * commonest > values.shape[1]) & (values.shape[1] - commonest < minimum_n))


def dominated_variation(
    values: FloatArray, settings: DisclosureSettings
) -> tuple[BoolArray, BoolArray]:
    """Find features whose squared deviations from the mean one or several patients make up.

    Parameters
    ----------
    values
        Shape (F, P), P at least 1.
    settings
        One patient may make up `maximum_contribution` of the squares, `dominance_n` together less
        than `dominance_k`; 1 turns either off.

    Returns
    -------
    tuple of ndarray
        Masks of shape (F,): by one patient, by `dominance_n` patients. Features without variation
        are in neither.
    """
    squares = np.sort((values - values.mean(axis=1, keepdims=True)) ** 2, axis=1)[:, ::-1]
    return _by_one(squares, settings), _by_several(squares, settings)


def dominated_sums(
    values: FloatArray, settings: DisclosureSettings
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Find features whose sum of values one or several patients make up.

    Rules (1, k), (n, k) and p% of Hundepool et al. 2012, Statistical Disclosure Control (Wiley),
    chapter 4, on the values themselves, unlike `ihdsi.disclosure.rules`, where only sums are known.

    Parameters
    ----------
    values
        Shape (F, P), not negative, P at least 1.
    settings
        One patient may make up `maximum_contribution` of the sum, `dominance_n` together less than
        `dominance_k` (1 turns either off); all but the two largest values sum up to `p_ratio` of
        the largest or more (0 turns it off).

    Returns
    -------
    tuple of ndarray
        Masks of shape (F,): by one patient, by `dominance_n`, by the p% rule. A sum of zero is in
        none, as it is no patient's contribution.
    """
    ordered = np.sort(values, axis=1)[:, ::-1]
    largest, rest = ordered[:, 0], ordered[:, 2:].sum(axis=1)
    close = (settings.p_ratio > 0) & (largest > 0)
    ratio = close & (rest < settings.p_ratio * largest * (1 - ROUNDING))
    return _by_one(ordered, settings), _by_several(ordered, settings), ratio


def _by_one(ordered: FloatArray, settings: DisclosureSettings) -> BoolArray:
    """Whether the first of each row's values is too large a part of the row's sum."""
    allowed = settings.maximum_contribution * ordered.sum(axis=1)
    return np.asarray(ordered[:, 0] > allowed * (1 + ROUNDING))


def _by_several(ordered: FloatArray, settings: DisclosureSettings) -> BoolArray:
    """Whether the first `dominance_n` of each row's values are too large a part of its sum."""
    total = ordered.sum(axis=1)
    first = ordered[:, : settings.dominance_n].sum(axis=1)
    reached = first >= settings.dominance_k * total * (1 - ROUNDING)
    return np.asarray((settings.dominance_k < 1) & (total > 0) & reached)
