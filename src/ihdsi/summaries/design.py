"""Design matrices of the study's models, coded the same way at every site."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.summaries.table import ENSEMBL_GENE

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Contrast, Endpoint, Study

__all__ = [
    "CASE",
    "INTERCEPT",
    "SITE_TERM",
    "Design",
    "aliased_terms",
    "contrast_design",
    "covariate_terms",
    "design_groups",
    "design_levels",
    "endpoint_cases",
    "endpoint_refusal",
    "gene_matrix",
    "leverage",
    "model_parameters",
    "refusal",
]

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

INTERCEPT = "intercept"
#: Indicator of the contrast's case group.
CASE = "case"
#: Beginning of terms that mean something at one site only (plates, batches): the coordinator gives
#: each site coefficients of its own for them.
SITE_TERM = "site:"
#: Length, of a column of length 1, that others leave of it, up to which it is their combination.
DEPENDENT = 1e-8


@dataclass(frozen=True)
class Design:
    """Patients (rows) by terms (columns) of a linear predictor; the intercept comes first."""

    patients: tuple[str, ...]
    terms: tuple[str, ...]
    matrix: FloatArray

    @property
    def n_case(self) -> int:
        """Patients in the case group."""
        return int(self.matrix[:, self.terms.index(CASE)].sum())

    @property
    def n_control(self) -> int:
        """Patients in the control group."""
        return len(self.patients) - self.n_case


def covariate_terms(
    frame: pl.DataFrame,
    covariates: Sequence[str],
    variables: Mapping[str, ClinicalVariable],
    full_rank: bool,
) -> tuple[list[str], FloatArray]:
    """Code covariates as columns of a design.

    Parameters
    ----------
    frame
        Complete cases: one column a covariate, no nulls.
    covariates, variables
        Names, and the study's dictionary.
    full_rank
        Code categorical covariates against the first level that occurs at the site, as a model
        that is fitted there needs. Otherwise against the study's first level, so that sites can
        be added up term by term.

    Returns
    -------
    tuple
        Terms (``age``, ``sex=male``) and the matrix (patients x terms). Numbers stay in the
        study's unit and are centred on the site's mean, which changes no coefficient but the
        intercept, conditions the fit, and keeps the site's sum out of the cross-products. Columns
        that are constant at the site are left out.
    """
    terms: list[str] = []
    columns: list[FloatArray] = []
    for name in covariates:
        values = frame[name]
        if variables[name].type == "number":
            numbers = values.cast(pl.Float64).to_numpy()
            terms.append(name)
            columns.append(numbers - (numbers.mean() if numbers.size else 0.0))
            continue
        levels = list(variables[name].levels)
        if full_rank:
            levels = [level for level in levels if (values == level).any()]
        for level in levels[1:]:
            terms.append(f"{name}={level}")
            columns.append((values == level).cast(pl.Float64).to_numpy())
    varying = (
        [index for index, column in enumerate(columns) if np.ptp(column) > 0] if len(frame) else []
    )
    matrix = (
        np.stack([columns[i] for i in varying], axis=1) if varying else np.empty((len(frame), 0))
    )
    return [terms[i] for i in varying], matrix


def contrast_design(
    clinical: pl.DataFrame,
    measured: Sequence[str],
    contrast: Contrast,
    variables: Mapping[str, ClinicalVariable],
    full_rank: bool,
) -> Design:
    """Build the design of a contrast: intercept, case indicator, covariates.

    Parameters
    ----------
    clinical
        patient and clinical variables.
    measured
        Patients with measurements, in the order of the rows of the design. Patients of neither
        group, or with an unknown covariate, are left out.
    contrast, variables
        The comparison and the study's dictionary.
    full_rank
        As in `covariate_terms`.
    """
    columns = [contrast.variable, *contrast.covariates]
    frame = (
        pl.DataFrame({"patient": list(measured)}, schema={"patient": pl.String})
        .join(
            clinical.select("patient", *dict.fromkeys(columns)), on="patient", maintain_order="left"
        )
        .drop_nulls()
        .filter(pl.col(contrast.variable).is_in([contrast.case, contrast.control]))
    )
    terms, covariates = covariate_terms(frame, contrast.covariates, variables, full_rank)
    case = (frame[contrast.variable] == contrast.case).cast(pl.Float64).to_numpy()
    return Design(
        tuple(frame["patient"]),
        (INTERCEPT, CASE, *terms),
        np.column_stack([np.ones(frame.height), case, covariates]),
    )


def design_levels(design: Design) -> dict[str, list[BoolArray]]:
    """List the levels that a design has an indicator of, by variable, as masks of its patients."""
    levels: dict[str, list[BoolArray]] = {}
    for term, column in zip(design.terms, design.matrix.T, strict=True):
        if term != INTERCEPT and np.isin(column, (0.0, 1.0)).all():
            levels.setdefault(term.split("=", 1)[0], []).append(column == 1)
    return levels


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
    groups = [np.ones(len(design.patients), dtype=bool)]
    for masks in design_levels(design).values():
        groups += [*masks, ~np.any(masks, axis=0)]
    return [group for group in groups if group.any()]


def leverage(matrix: FloatArray, tolerance: float | None = None) -> FloatArray:
    """Leverage of each patient, x'(X'X)⁺x: what of the patient's unit vector X'y can give.

    A combination of the columns, and so of X'y, comes as close to one patient alone as the root of
    the patient's leverage (the cosine of their angle); with leverage 1 it is the patient's value.

    Parameters
    ----------
    matrix
        Patients by terms, of any rank and scale.
    tolerance
        Share of the largest singular value below which one is a rounding error; that of NumPy's
        matrix_rank where it is None.

    Returns
    -------
    ndarray
        Shape (patients,), from 0 to 1; the sum is the rank.

    References
    ----------
    Hoaglin & Welsch 1978, Am Stat 32:17, the hat matrix. Ritchie 2019, Trans Data Priv 12:145, on
    regressions that single observations determine.
    """
    norms = np.linalg.norm(matrix, axis=0)
    vectors, sizes, _ = np.linalg.svd(matrix / np.where(norms > 0, norms, 1.0), full_matrices=False)
    largest = sizes.max(initial=0.0)
    if tolerance is None:
        tolerance = max(matrix.shape) * float(np.finfo(float).eps)
    kept = sizes > largest * tolerance
    return np.asarray((vectors[:, kept] ** 2).sum(axis=1))


def aliased_terms(terms: Sequence[str], matrix: FloatArray) -> dict[str, tuple[str, ...]]:
    """Name the terms of a design that the terms before them determine.

    Parameters
    ----------
    terms, matrix
        Names of the K columns, and the design (patients x K) of any scale.

    Returns
    -------
    dict
        Each term without a coefficient of its own, to the terms whose combination it is (none
        where it is 0 everywhere); empty for a design of full rank. As in R's ``alias``, it is the
        later term of the model that is named.

    References
    ----------
    Chambers & Hastie 1992, Statistical Models in S, chapter 5 (aliased terms).
    """
    norms = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(norms > 0, norms, 1.0)
    independent: list[int] = []
    aliased = {}
    for place, term in enumerate(terms):
        before = scaled[:, independent]
        weights = np.linalg.lstsq(before, scaled[:, place], rcond=None)[0]
        if np.linalg.norm(scaled[:, place] - before @ weights) > DEPENDENT:
            independent.append(place)
        else:
            used = np.abs(weights) > DEPENDENT
            aliased[term] = tuple(terms[i] for i in np.array(independent, dtype=int)[used])
    return aliased


def _rank_deficient(aliased: Mapping[str, Sequence[str]]) -> str:
    determined = "; ".join(
        f"{term} is determined by {', '.join(others)}" if others else f"{term} is 0 everywhere"
        for term, others in aliased.items()
    )
    return f"the design is rank deficient: {determined}"


def endpoint_refusal(
    terms: Sequence[str], covariates: FloatArray, died: BoolArray, minimum_n: int
) -> str | None:
    """Say why no Cox model is fitted to an endpoint at this site; None if one can be.

    Parameters
    ----------
    terms, covariates
        Names of the K covariates and their values (patients x K).
    died
        Whether a patient had the event.
    minimum_n
        Fewest patients.
    """
    n, k = covariates.shape
    if n < minimum_n:
        return f"{n} patients, fewer than {minimum_n}"
    parameters = 1 + k  # of the feature
    events = int(died.sum())
    if events <= parameters:
        return f"{events} events do not determine {parameters} parameters"
    # The baseline hazard takes the place of an intercept: a constant has no coefficient.
    aliased = aliased_terms((INTERCEPT, *terms), np.column_stack([np.ones(n), covariates]))
    return _rank_deficient(aliased) if aliased else None


def refusal(design: Design, minimum_n: int, maximum_contribution: float = 0.5) -> str | None:
    """Say why a contrast is not fitted at this site; None if it can be.

    Parameters
    ----------
    design
        The design.
    minimum_n
        Fewest patients in each group, and fewest whose value of a numeric covariate is not its
        commonest: sums over such a covariate are sums over those patients.
    maximum_contribution
        Most of a numeric covariate's sum of squares (about its mean) that one patient may make up:
        beyond it, sums over the covariate are nearly this patient's values. The same bounds each
        patient's `leverage`, because sums over several covariates together can be nearly one
        patient's as well. Where a level has fewer than `minimum_n` patients, no sum of the design
        leaves; then it is the difference between cases and controls that no patient may make up.
    """
    smaller = min(design.n_case, design.n_control)
    if smaller < minimum_n:
        return f"a group has {smaller} patients, fewer than {minimum_n}"
    n, k = design.matrix.shape
    if n <= k:
        return f"{n} patients do not determine {k} parameters"
    if aliased := aliased_terms(design.terms, design.matrix):
        return _rank_deficient(aliased)
    for term, column in zip(design.terms, design.matrix.T, strict=True):
        # Indicators are judged by the sizes of their groups, in disclosure control.
        if np.isin(column, (0.0, 1.0)).all():
            continue
        apart = n - int(np.unique(column, return_counts=True)[1].max())
        if apart < minimum_n:
            return (
                f"{term} differs from its commonest value in {apart} patients, fewer than "
                f"{minimum_n}"
            )
        squares = (column - column.mean()) ** 2
        if squares.max() > maximum_contribution * squares.sum():
            return f"one patient makes up most of what {term} varies"
    if min(group.sum() for group in design_groups(design)) < minimum_n:
        judged, what = _share_of_case, "the difference between cases and controls"
    else:
        judged, what = leverage, "a sum over the covariates"
    # On the border, and with 1, sums of floats may exceed it by rounding.
    allowed = maximum_contribution * (1 + 1e-9)
    if judged(design.matrix).max() <= allowed:
        return None
    variables = [term.split("=", 1)[0] for term in design.terms]
    covariates = list(dict.fromkeys(variables[2:]))
    enough = []
    for name in covariates:
        others = design.matrix[:, [variable != name for variable in variables]]
        if judged(others).max() <= allowed:
            enough.append(name)
    if not covariates:
        return f"one patient nearly makes up {what}"
    remedy = " or ".join(enough) if enough else ", ".join(covariates)
    return f"one patient nearly makes up {what}; this would not be without {remedy}"


def _share_of_case(matrix: FloatArray) -> FloatArray:
    """Return each patient's squared weight in the estimate of case; they sum up to 1."""
    place = 1  # after the intercept
    others = np.delete(matrix, place, axis=1)
    fitted = others @ np.linalg.lstsq(others, matrix[:, place], rcond=None)[0]
    squares = (matrix[:, place] - fitted) ** 2
    return np.asarray(squares / squares.sum())


def endpoint_cases(
    clinical: pl.DataFrame, measured: Sequence[str], endpoint: Endpoint
) -> pl.DataFrame:
    """Complete cases of an endpoint: patient, time, event and covariates.

    Parameters
    ----------
    clinical
        patient and clinical variables.
    measured
        Patients with measurements; the rows keep their order.
    endpoint
        Patients without its time, event or a covariate are left out.
    """
    wanted = dict.fromkeys((endpoint.time, endpoint.event, *endpoint.covariates))
    return (
        pl.DataFrame({"patient": list(measured)}, schema={"patient": pl.String})
        .join(clinical.select("patient", *wanted), on="patient", maintain_order="left")
        .drop_nulls()
    )


def gene_matrix(counts: pl.DataFrame) -> tuple[pl.DataFrame, FloatArray, list[str]]:
    """Split a count table into gene labels, counts and patients.

    Parameters
    ----------
    counts
        gene_id, gene_name and one column of counts a patient.

    Returns
    -------
    tuple
        gene_id and gene_name; counts (genes x patients); patients. Features that are not Ensembl
        genes without version cannot be pooled over sites: they are logged and left out.
    """
    genes = counts.filter(pl.col("gene_id").str.contains(ENSEMBL_GENE))
    if genes.height < counts.height:
        logger.warning(
            "%d of %d features are not Ensembl gene ids without version and are left out",
            counts.height - genes.height,
            counts.height,
        )
    patients = [name for name in counts.columns if name not in ("gene_id", "gene_name")]
    labels = genes.select("gene_id", pl.col("gene_name").fill_null(pl.col("gene_id")))
    matrix = genes.select(pl.col(patients).cast(pl.Float64)).to_numpy()
    # Without patients, or without genes, there are no values to tell the shape from.
    matrix = matrix.reshape(genes.height, len(patients))
    return labels, matrix, patients


def model_parameters(study: Study) -> dict[str, int]:
    """Largest number of parameters of each contrast's and endpoint's model, by its name.

    A contrast has intercept, case indicator and covariates; a Cox model the feature and covariates.
    """

    def of(covariates: Sequence[str]) -> int:
        variables = study.clinical.variables
        return sum(
            1 if variables[name].type == "number" else len(variables[name].levels) - 1
            for name in covariates
        )

    return {name: 2 + of(contrast.covariates) for name, contrast in study.contrasts.items()} | {
        name: 1 + of(endpoint.covariates) for name, endpoint in study.endpoints.items()
    }
