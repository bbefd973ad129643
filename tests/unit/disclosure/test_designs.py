"""Residuals of features from their cross-products, against least squares on the patients."""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure.designs import unexplained

TERMS = ["intercept", "case", "sex=male", "age"]


def long_form(matrix):
    place = [(row, column) for row in range(len(TERMS)) for column in range(len(TERMS))]
    return pl.DataFrame(
        {
            "row_term": [TERMS[row] for row, _ in place],
            "column_term": [TERMS[column] for _, column in place],
            "value": (matrix.T @ matrix).ravel(),
        }
    )


@pytest.fixture
def patients():
    rng = np.random.default_rng(3)
    matrix = np.column_stack(
        [np.ones(40), rng.integers(0, 2, 40), rng.integers(0, 2, 40), rng.normal(0, 9, 40)]
    )
    explained = matrix @ rng.normal(size=(4, 3))
    values = np.column_stack([explained, rng.normal(size=(40, 5)), np.zeros(40)]).T
    return matrix, values


@pytest.mark.parametrize("seed", range(3))
def test_residuals_are_found_whatever_the_order_of_terms(patients, seed):
    matrix, values = patients
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(4) for _ in values]
    moments = pl.DataFrame(
        {
            "terms": [[TERMS[index] for index in order] for order in orders],
            "xty": [
                (matrix.T @ y)[order].tolist() for y, order in zip(values, orders, strict=True)
            ],
            "yty": (values**2).sum(axis=1),
        }
    )
    fitted = matrix @ np.linalg.lstsq(matrix, values.T)[0]
    expected = ((values.T - fitted) ** 2).sum(axis=0) > 1e-6
    assert expected.tolist() == [False] * 3 + [True] * 5 + [False]
    assert unexplained(long_form(matrix), moments).tolist() == expected.tolist()
