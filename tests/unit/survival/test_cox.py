"""Batch Cox against lifelines and statsmodels, which share no code with it."""

import lifelines
import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.hazard_regression import PHReg

from ihdsi.survival import cox
from ihdsi.survival.cox import fit_cox


def cohort(seed=0, n=150, features=6, rounding=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(5.0, 2.0, (n, features))
    z = np.column_stack([rng.normal(68.0, 10.0, n), rng.integers(0, 2, n)])
    hazard = 0.3 * (x[:, 0] - 5) + 0.03 * (z[:, 0] - 68)
    survival, censoring = rng.exponential(500 * np.exp(-hazard)), rng.exponential(900, n)
    follow_up = np.minimum(survival, censoring)
    if rounding:
        follow_up = np.ceil(follow_up / rounding)
    return follow_up, survival <= censoring, x, z


def phreg(follow_up, event, design):
    # BFGS stops early by default; Newton's own tolerance is what limits the agreement.
    model = PHReg(follow_up, design, status=event.astype(int), ties="efron")
    return model.fit(method="newton", tol=1e-12, maxiter=100)


@pytest.mark.parametrize("rounding", [None, 30, 365], ids=["no ties", "ties", "heavy ties"])
def test_estimates_equal_statsmodels(rounding):
    follow_up, event, x, z = cohort(rounding=rounding)
    fit = fit_cox(follow_up, event, x, z)
    assert fit.converged.all()
    for g in range(x.shape[1]):
        reference = phreg(follow_up, event, np.column_stack([x[:, g], z]))
        assert fit.log_hazard_ratio[g] == pytest.approx(reference.params[0], abs=1e-6)
        assert fit.standard_error[g] == pytest.approx(reference.bse[0], abs=1e-6)


@pytest.mark.parametrize("rounding", [None, 365], ids=["no ties", "heavy ties"])
def test_estimates_equal_lifelines(rounding):
    follow_up, event, x, z = cohort(seed=1, rounding=rounding)
    fit = fit_cox(follow_up, event, x, z)
    for g in range(2):
        frame = pd.DataFrame(
            {"t": follow_up, "e": event, "x": x[:, g], "age": z[:, 0], "sex": z[:, 1]}
        )
        reference = lifelines.CoxPHFitter().fit(
            frame, "t", "e", fit_options={"precision": 1e-10, "r_precision": 1e-12}
        )
        assert fit.log_hazard_ratio[g] == pytest.approx(reference.params_["x"], abs=1e-6)
        assert fit.standard_error[g] == pytest.approx(reference.standard_errors_["x"], abs=1e-6)
        assert fit.log_likelihood[g] == pytest.approx(reference.log_likelihood_, abs=1e-6)


def test_without_covariates():
    follow_up, event, x, _ = cohort(seed=2)
    fit = fit_cox(follow_up, event, x)
    reference = phreg(follow_up, event, x[:, [3]])
    assert fit.log_hazard_ratio[3] == pytest.approx(reference.params[0], abs=1e-6)


def test_the_chunk_size_does_not_matter():
    follow_up, event, x, z = cohort(features=7, rounding=100)
    whole, small = fit_cox(follow_up, event, x, z), fit_cox(follow_up, event, x, z, chunk_bytes=1)
    np.testing.assert_allclose(whole.log_hazard_ratio, small.log_hazard_ratio, atol=1e-10)


def test_the_estimate_recovers_the_simulated_effect():
    follow_up, event, x, z = cohort(seed=3, n=4000, features=2)
    fit = fit_cox(follow_up, event, x, z)
    assert abs(fit.log_hazard_ratio[0] - 0.3) < 4 * fit.standard_error[0]
    assert abs(fit.log_hazard_ratio[1]) < 4 * fit.standard_error[1]


def test_what_has_no_estimate_says_why():
    follow_up, event, x, z = cohort(seed=4)
    x[:, 1] = 3.3
    x[:, 2] = 2.0 * z[:, 0] + 1.0
    x[:, 3] = -follow_up  # whoever dies next always has the largest value at risk
    fit = fit_cox(follow_up, event, x, z)
    assert fit.reason[1] == "constant feature"
    assert fit.reason[2] == "collinear with the covariates"
    assert fit.reason[3] == "monotone likelihood"
    assert np.isnan(fit.log_hazard_ratio[1:4]).all()
    assert np.isnan(fit.standard_error[1:4]).all()
    assert not fit.converged[1:4].any()
    assert fit.converged[[0, 4, 5]].all()


def test_separation_by_a_binary_feature_is_monotone():
    follow_up, event, x, _ = cohort(seed=5, n=60)
    x[:, 0] = event  # every event in one group
    assert fit_cox(follow_up, event, x).reason[0] == "monotone likelihood"


def test_no_events():
    follow_up, event, x, z = cohort()
    fit = fit_cox(follow_up, np.zeros_like(event), x, z)
    assert set(fit.reason) == {"no events"}
    assert np.isnan(fit.log_hazard_ratio).all()


@pytest.mark.parametrize("fault", ["shape", "nan", "negative"])
def test_bad_input_is_refused(fault):
    follow_up, event, x, z = cohort()
    if fault == "shape":
        z = z[:-1]
    elif fault == "nan":
        x[0, 0] = np.nan
    else:
        follow_up[0] = -1.0
    with pytest.raises(ValueError, match=r"row|finite|negative"):
        fit_cox(follow_up, event, x, z)


def test_a_chunk_of_features_is_one_array_operation(monkeypatch):
    """Work in Python grows with Newton's steps, not with features, and nothing mixes features."""
    evaluated = []
    evaluate = cox._evaluate

    def counted(risk, columns, beta):
        evaluated.append(len(beta))
        return evaluate(risk, columns, beta)

    follow_up, event, x, z = cohort(seed=6, n=120, features=500, rounding=100)
    alone = [fit_cox(follow_up, event, x[:, [g]], z) for g in range(0, 500, 25)]
    monkeypatch.setattr(cox, "_evaluate", counted)
    fit = fit_cox(follow_up, event, x, z)
    assert fit.converged.all()
    assert evaluated[0] == 500
    assert len(evaluated) < 30
    for name in ("log_hazard_ratio", "standard_error", "log_likelihood"):
        one_by_one = np.concatenate([getattr(single, name) for single in alone])
        np.testing.assert_allclose(getattr(fit, name)[::25], one_by_one, rtol=1e-9, atol=1e-10)
