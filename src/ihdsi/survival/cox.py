"""Cox proportional hazards of many features at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CoxFit", "fit_cox"]

FloatArray = NDArray[np.float64]

#: Half the Newton decrement (the expected gain of log likelihood) at which a fit has converged.
TOLERANCE = 1e-12
#: Loss of log likelihood that rounding explains.
ROUNDING = 1e-9
#: Standardised coefficients beyond this, or information per event below that, are those of a
#: likelihood that rises without end; real effects per standard deviation stay below 3 or so.
DIVERGED = 12.0
FLAT = 1e-6


@dataclass(frozen=True)
class CoxFit:
    """One value a feature.

    `log_hazard_ratio` (per unit of the feature) and `standard_error` are NaN, `converged` is False
    and `reason` says why where the feature has no finite estimate; `reason` is empty elsewhere.
    """

    log_hazard_ratio: FloatArray
    standard_error: FloatArray
    log_likelihood: FloatArray
    converged: NDArray[np.bool_]
    reason: NDArray[np.str_]


@dataclass(frozen=True)
class _RiskSets:
    """`weights` (deaths x patients) adds up each death's denominator under Efron's correction."""

    weights: FloatArray
    deaths: NDArray[np.intp]


def fit_cox(
    time: FloatArray,
    event: NDArray[np.bool_],
    features: FloatArray,
    covariates: FloatArray | None = None,
    maximum_iterations: int = 60,
    chunk_bytes: int = 256 * 2**20,
) -> CoxFit:
    r"""Fit hazard = baseline · exp(β·feature + γ·covariates), one model a feature.

    Newton–Raphson with step halving on Efron's partial likelihood, all features of a chunk in the
    same array operations. With deaths :math:`d` of one time numbered :math:`l = 0 … D-1`, the
    denominator of death :math:`l` is
    :math:`\sum_{i \in R} w_i - \frac{l}{D} \sum_{i \in D} w_i`, :math:`w_i = e^{\eta_i}`: one
    constant matrix times w, so that the likelihood, its gradient and its information are matrix
    products.

    Parameters
    ----------
    time
        Follow-up of each patient (n), not negative.
    event
        Whether the event happened at `time` (n).
    features
        n x features, finite.
    covariates
        n x covariates, the same in all models.
    maximum_iterations
        Newton steps and halvings after which a feature counts as not converged.
    chunk_bytes
        Memory of the working arrays of one chunk of features, about.

    Returns
    -------
    CoxFit
        Without estimate: no events; a constant feature; collinear with the covariates; monotone
        likelihood (of the feature or of a covariate, the estimate is infinite); no convergence.

    Raises
    ------
    ValueError
        If shapes do not fit, or a number is not finite, or a time is negative.

    References
    ----------
    Efron 1977, J Am Stat Assoc 72:557 (ties). Heinze & Schemper 2001, Biometrics 57:114 (monotone
    likelihood).
    """
    n, n_features = features.shape
    shared = np.empty((n, 0)) if covariates is None else np.asarray(covariates, dtype=float)
    if time.shape != (n,) or event.shape != (n,) or shared.shape[:1] != (n,):
        raise ValueError("time, event, features and covariates need one row a patient each")
    if not all(np.isfinite(values).all() for values in (time, features, shared)):
        raise ValueError("time, features and covariates must be finite")
    if (time < 0).any():
        raise ValueError("time must not be negative")
    event = event.astype(bool)
    estimate = np.full(n_features, np.nan)
    error = np.full(n_features, np.nan)
    likelihood = np.full(n_features, np.nan)
    reason = np.full(n_features, "", dtype="<U40")
    if not event.any():
        reason[:] = "no events"
        return CoxFit(estimate, error, likelihood, reason == "", reason)

    centre, spread = features.mean(axis=0), features.std(axis=0)
    # Rounding of the mean leaves a spread of about one unit in the last place.
    constant = spread <= 1e-12 * np.maximum(np.abs(centre), 1.0)
    reason[constant] = "constant feature"
    standard_shared = _standardised(shared)
    risk = _risk_sets(time, event)
    per_feature = 8 * (n * 4 + len(risk.deaths) * (2 + 2 * (1 + standard_shared.shape[1])))
    width = max(1, min(512, chunk_bytes // per_feature))
    candidates = np.flatnonzero(~constant)
    for start in range(0, candidates.size, width):
        index = candidates[start : start + width]
        standard = (features[:, index] - centre[index]) / spread[index]
        beta, se, ll, why = _fit_chunk(risk, standard, standard_shared, maximum_iterations)
        estimate[index], error[index] = beta / spread[index], se / spread[index]
        likelihood[index], reason[index] = ll, why
    return CoxFit(estimate, error, likelihood, reason == "", reason)


def _standardised(values: FloatArray) -> FloatArray:
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _risk_sets(time: FloatArray, event: NDArray[np.bool_]) -> _RiskSets:
    deaths = np.flatnonzero(event)
    deaths = deaths[np.argsort(time[deaths], kind="stable")]
    when = time[deaths]
    _, first, size = np.unique(when, return_index=True, return_counts=True)
    tied = np.repeat(size, size)
    order = np.arange(deaths.size) - np.repeat(first, size)
    at_risk = (time[None, :] >= when[:, None]).astype(float)
    dying = event[None, :] & (time[None, :] == when[:, None])
    return _RiskSets(at_risk - (order / tied)[:, None] * dying, deaths)


def _evaluate(
    risk: _RiskSets, columns: list[FloatArray], beta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log likelihood (features), gradient (features x p), information (features x p x p)."""
    eta = sum((column * beta[:, k] for k, column in enumerate(columns)), start=np.zeros(1))
    eta = eta - eta.max(axis=0)
    w = np.exp(eta)
    denominator = np.maximum(risk.weights @ w, np.finfo(float).tiny)
    inverse = 1.0 / denominator
    log_likelihood = eta[risk.deaths].sum(axis=0) - np.log(denominator).sum(axis=0)
    expected = w * (risk.weights.T @ inverse)
    means = [(risk.weights @ (w * column)) * inverse for column in columns]
    p, features = len(columns), eta.shape[1]
    gradient = np.empty((features, p))
    information = np.empty((features, p, p))
    for k, column in enumerate(columns):
        weighted = expected * column
        gradient[:, k] = column[risk.deaths].sum(axis=0) - weighted.sum(axis=0)
        for m in range(k + 1):
            information[:, k, m] = information[:, m, k] = (weighted * columns[m]).sum(
                axis=0
            ) - np.einsum("jg,jg->g", means[k], means[m])
    return log_likelihood, gradient, information


def _fit_chunk(
    risk: _RiskSets, standard: FloatArray, shared: FloatArray, maximum_iterations: int
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.str_]]:
    n_features = standard.shape[1]
    p = 1 + shared.shape[1]
    best = np.zeros((n_features, p))
    step = np.zeros((n_features, p))
    best_likelihood = np.full(n_features, -np.inf)
    information = np.zeros((n_features, p, p))
    reason: NDArray[Any] = np.full(n_features, "did not converge", dtype="<U40")
    active = np.arange(n_features)
    for _ in range(maximum_iterations):
        if not active.size:
            break
        columns = [standard[:, active], *(shared[:, [k]] for k in range(p - 1))]
        trial = best[active] + step[active]
        value, gradient, hessian = _evaluate(risk, columns, trial)
        worse = ~(value >= best_likelihood[active] - ROUNDING)
        step[active[worse]] *= 0.5
        better = active[~worse]
        best[better], best_likelihood[better] = trial[~worse], value[~worse]
        information[better] = hessian[~worse]
        direction, solvable = _newton(hessian[~worse], gradient[~worse], len(risk.deaths))
        step[better] = direction
        decrement = 0.5 * (direction * gradient[~worse]).sum(axis=1)
        converged = solvable & (decrement < TOLERANCE)
        diverged = (np.abs(best[better]) > DIVERGED).any(axis=1)
        at_start = (best[better] == 0).all(axis=1)
        reason[better[converged]] = ""
        reason[better[~solvable & at_start]] = "collinear with the covariates"
        reason[better[(~solvable & ~at_start) | diverged]] = "monotone likelihood"
        finished = np.zeros(n_features, dtype=bool)
        finished[better[converged | ~solvable | diverged]] = True
        active = active[~finished[active]]
    fine = reason == ""
    variance = np.full(n_features, np.nan)
    if fine.any():
        # One coefficient of the inverse is wanted, so only its column is solved for.
        unit = np.zeros((int(fine.sum()), p, 1))
        unit[:, 0] = 1.0
        variance[fine] = np.linalg.solve(information[fine], unit)[:, 0, 0]
    return (
        np.where(fine, best[:, 0], np.nan),
        np.sqrt(variance),
        np.where(fine, best_likelihood, np.nan),
        reason,
    )


def _newton(
    information: FloatArray, gradient: FloatArray, n_events: int
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Newton step of each feature, and whether its information is positive definite enough."""
    smallest = np.linalg.eigvalsh(information)[:, 0] if len(information) else np.empty(0)
    solvable = smallest > FLAT * n_events
    safe = np.where(solvable[:, None, None], information, np.eye(gradient.shape[1]))
    direction = np.linalg.solve(safe, gradient[:, :, None])[:, :, 0]
    return np.where(solvable[:, None], direction, 0.0), solvable
