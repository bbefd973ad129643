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

Designs (X'X) are judged by each patient's leverage, and by the cells of a numeric covariate of few
values: X'X holds the sum of such a covariate over each level of the others, which of two values is
the number of those who have the second.

Means and standard deviations of clinical variables and burdens are judged on the values as well, in
each stratum and in what the strata leave of the cohort. With n they are three equations for the
numbers of patients who have each value, so that they give away a number that the histogram
withholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.tables import unsafe_counts
from ihdsi.disclosure.tables.reasons import (
    COMMONEST,
    COMPLEMENTARY,
    DOMINANCE,
    DOMINANCE_NK,
    FEW_VALUES,
    LEVERAGE,
    P_RATIO,
)
from ihdsi.expression.normalisation import expressed_genes, log2_cpm, median_of_ratios
from ihdsi.matrices.plates import with_site_covariates
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import DisclosureSettings, Study
from ihdsi.summaries.design import (
    CASE,
    INTERCEPT,
    Design,
    contrast_design,
    design_groups,
    design_levels,
    gene_matrix,
    leverage,
)
from ihdsi.summaries.matrix_moments import missingness_patterns
from ihdsi.summaries.mutation_burden import burden_values
from ihdsi.summaries.strata import ALL, stratify

__all__ = [
    "FEATURES_SCHEMA",
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
    frames: Mapping[str, Any],
    *,
    key: bytes = b"",
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
        of raw counts a patient), ``assessed``, ``variants`` and ``exposures`` (as for
        `ihdsi.summaries.mutation_burden.build_mutation_burden`) and ``decisions`` (on samples; who
        failed is left out as the summaries leave them out), ``expression_profile`` (patient and
        what expression adds to the cohort profile); ``matrices`` and ``site_covariates`` by assay,
        as for `ihdsi.summaries.matrix_moments.build_matrix_moments`; ``pseudobulk`` by cell
        type, as for `ihdsi.summaries.cell_expression_effects.estimate_cell_expression_effects`.
        Other frames are not looked at; without ``clinical`` there is no contrast.
    key
        The site's secret (see `ihdsi.disclosure.partner_order`).

    Returns
    -------
    polars.DataFrame
        Columns of `FEATURES_SCHEMA`. Rows are the features of ``expression_moments``,
        ``expression_effects``, ``matrix_moments`` (part is the assay) and
        ``cell_expression_effects`` (part is the cell type; empty elsewhere); the designs
        ``expression_design`` and ``matrix_design`` (feature is empty, or the number of the
        missingness pattern); and the variables of ``cohort_profile`` and measures of
        ``mutation_burden`` (part is the stratum variable, contrast the stratum). ``n`` is the
        number of patients on whose values the feature was judged, ``feature_rule`` the rule that
        withholds it or null. It names features that hardly anybody has, so it stays at the site.

    Raises
    ------
    InputError
        If an assay of a matrix is unknown, or a value of a matrix is infinite.
    """
    parts = [pl.DataFrame(schema=FEATURES_SCHEMA), *_moments(study, settings, frames, key)]
    if "clinical" not in frames:
        return pl.concat(parts)
    clinical = frames["clinical"]
    if "counts" in frames:
        counts = without_patients(frames["counts"], _failed(frames, ["tumour_rna"]))
        for name, design, genes, reads, log_values in _expressed(counts, clinical, study):
            parts.append(_design_row(("expression_design", "", name), "", design, settings))
            for table, verdicts in (
                ("expression_moments", _products(log_values, np.rint(reads), design, settings)),
                ("expression_effects", _means(reads, design, settings)),
            ):
                parts.append(_rows((table, "", name), genes, design, verdicts))
    poor = _failed(frames, ["tumour_single_cell"])
    for cell_type, sums in frames.get("pseudobulk", {}).items():
        donors = without_patients(sums, poor)
        for name, design, genes, reads, _ in _expressed(donors, clinical, study):
            place = ("cell_expression_effects", cell_type, name)
            parts.append(_rows(place, genes, design, _means(reads, design, settings)))
    for assay, matrix in frames.get("matrices", {}).items():
        covariates = frames.get("site_covariates", {}).get(assay)
        for name, contrast in study.contrasts.items():
            model = with_site_covariates(clinical, contrast, study.clinical.variables, covariates)
            for pattern in missingness_patterns(assay, matrix, *model):
                design = contrast_design(model[0], pattern.patients, *model[1:], full_rank=False)
                if not design.patients:
                    continue
                place = ("matrix_design", assay, name)
                parts.append(_design_row(place, str(pattern.number), design, settings))
                verdicts = _products(pattern.values, pattern.values, design, settings)
                place = ("matrix_moments", assay, name)
                parts.append(_rows(place, pattern.features["feature"], design, verdicts))
    return pl.concat(parts)


def _failed(frames: Mapping[str, pl.DataFrame], kinds: Sequence[str]) -> set[str]:
    """Patients whose sample of one of the kinds failed."""
    decisions = frames.get("decisions")
    return set() if decisions is None else set(excluded_patients(decisions, kinds))


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


def _design_row(
    place: tuple[str, str, str], feature: str, design: Design, settings: DisclosureSettings
) -> pl.DataFrame:
    """Judge a design (X'X) on its patients."""
    allowed = settings.maximum_contribution * (1 + ROUNDING)
    verdicts = [
        (np.array([bool(withheld)]), rule)
        for withheld, rule in (
            (leverage(design.matrix).max() > allowed, LEVERAGE),
            (not few_valued_cells_safe(design, settings), FEW_VALUES),
        )
    ]
    return _rows(place, pl.Series([feature], dtype=pl.String), design, verdicts)


def few_valued_cells_safe(design: Design, settings: DisclosureSettings) -> bool:
    """Whether numeric covariates of few values have safe counts, alone and with other groups.

    A numeric covariate with fewer than `minimum_n` different values is a grouping of the patients
    like a categorical one: a score, a year, an indicator that the study calls a number. Each value
    counts as a level. The levels of categorical covariates themselves are judged by X'X (see
    `ihdsi.disclosure.designs.safe_groups`).

    Parameters
    ----------
    design
        The design; its numeric covariates may be centred.
    settings
        The thresholds in force.
    """
    unsafe = unsafe_counts(settings)
    levels = design_levels(design)
    scores: list[NDArray[np.intp]] = []
    for term, column in zip(design.terms, design.matrix.T, strict=True):
        _, codes, sizes = np.unique(column, return_inverse=True, return_counts=True)
        is_number = term != INTERCEPT and term.split("=", 1)[0] not in levels
        if is_number and sizes.size < settings.minimum_n:
            scores.append(codes)
    groupings: list[NDArray[np.intp]] = [
        np.unique(np.column_stack(masks), axis=0, return_inverse=True)[1].ravel()
        for masks in levels.values()
    ]
    for index, score in enumerate(scores):
        for other in (*groupings, *scores[:index], np.zeros_like(score)):
            cells = np.zeros((score.max() + 1, other.max() + 1), dtype=np.int64)
            np.add.at(cells, (score, other), 1)
            if any(unsafe(int(count)) for count in cells.ravel()):
                return False
    return True


def _moments(
    study: Study, settings: DisclosureSettings, frames: Mapping[str, pl.DataFrame], key: bytes
) -> Iterator[pl.DataFrame]:
    """Yield verdicts on the means and deviations of clinical variables and burdens."""
    clinical = frames.get("clinical")
    measured: list[tuple[str, str, pl.DataFrame]] = []
    if clinical is not None:
        measured += [
            ("cohort_profile", name, clinical.select("patient", value=name).drop_nulls())
            for name, variable in study.clinical.variables.items()
            if variable.type == "number" and name in clinical.columns
        ]
    if clinical is not None and "expression_profile" in frames:
        profile = without_patients(
            frames["expression_profile"], _failed(frames, ["tumour_rna"])
        ).join(clinical, on="patient", how="semi")
        measured += [
            ("cohort_profile", name, profile.select("patient", value=name).drop_nulls())
            for name, variable in study.expression.profile_variables.items()
            if variable.type == "number" and name in profile.columns
        ]
    if "assessed" in frames and "variants" in frames:
        failed = _failed(frames, ["tumour_dna", "normal_dna"])
        groups = study.variants.signatures.groups if "exposures" in frames else {}
        values = burden_values(
            without_patients(frames["variants"], failed),
            without_patients(frames["assessed"], failed),
            frames.get("exposures"),
            groups,
        )
        measured += [
            ("mutation_burden", str(measure), part.select("patient", "value"))
            for (measure,), part in values.group_by("measure", maintain_order=True)
        ]
    for table, name, values in measured:
        if values.height:
            members = stratify(values["patient"], clinical, list(study.strata))
            if table == "cohort_profile":
                members = members.filter(pl.col("stratum_variable") != name)
            yield _judge_strata(table, name, members.join(values, on="patient"), settings, key)


def _judge_strata(
    table: str, name: str, known: pl.DataFrame, settings: DisclosureSettings, key: bytes
) -> pl.DataFrame:
    """Judge one variable's moments in the whole cohort, each stratum, and what strata leave.

    Two disjoint groups that are safe by these rules are safe together: a value that most of both
    have is that of most of one of them, where enough have another; and sums of safe counts are
    safe. So whatever is withheld by later rules leaves what is safe here.
    """
    is_whole = pl.col("stratum_variable") == ALL
    whole = known.filter(is_whole)
    few_values = whole["value"].n_unique() < settings.minimum_n
    present = np.unique(whole["value"].to_numpy()) if few_values else None

    def rule(values: FloatArray) -> str | None:
        if values.size and few_apart(values[None, :], settings.minimum_n)[0]:
            return COMMONEST
        unsafe = unsafe_counts(settings)
        if present is not None and any(unsafe(int((values == v).sum())) for v in present):
            return FEW_VALUES
        return None

    rows = [(ALL, ALL, whole.height, rule(whole["value"].to_numpy()))]
    for (variable,), part in known.filter(~is_whole).group_by(
        "stratum_variable", maintain_order=True
    ):
        strata = {
            str(stratum): group
            for (stratum,), group in part.group_by("stratum", maintain_order=True)
        }
        rules = {stratum: rule(group["value"].to_numpy()) for stratum, group in strata.items()}
        ranks = partner_ranks(key, [(variable, stratum) for stratum in strata])
        order = [stratum for _, stratum in sorted(zip(ranks.tolist(), strata, strict=True))]

        def left_over(rules: Mapping[str, str | None], part: pl.DataFrame) -> FloatArray:
            released = [stratum for stratum, withheld in rules.items() if withheld is None]
            told = part.filter(pl.col("stratum").is_in(released))
            return whole.join(told, on="patient", how="anti")["value"].to_numpy()

        for stratum in order:
            rest = left_over(rules, part)
            if not rest.size or (rest.size >= settings.minimum_n and rule(rest) is None):
                break
            rules[stratum] = rules[stratum] or COMPLEMENTARY
        rows += [(str(variable), s, group.height, rules[s]) for s, group in strata.items()]
    return pl.DataFrame(
        [(table, variable, stratum, name, n, found) for variable, stratum, n, found in rows],
        schema=FEATURES_SCHEMA,
        orient="row",
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
