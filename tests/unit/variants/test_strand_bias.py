"""Fisher's exact test of many tables against scipy's, one table at a time."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from ihdsi.variants import strand_bias
from ihdsi.variants.strand_bias import fisher_exact_p_values


def tables(n, seed=3):
    rng = np.random.default_rng(seed)
    scale = rng.choice([2, 20, 200, 1500], size=(n, 4))
    return np.floor(rng.random((n, 4)) * scale).astype(int)


def test_equal_to_scipy():
    counts = np.vstack(
        [
            tables(400),
            # Ties of both tails, which rounding must not break.
            [[50, 50, 10, 4], [7, 7, 3, 3], [100, 100, 5, 5], [1000, 1000, 30, 12]],
            # Empty rows and columns.
            [[0, 0, 0, 0], [10, 0, 5, 0], [0, 0, 3, 4], [5, 6, 0, 0]],
        ]
    )
    expected = [fisher_exact(table.reshape(2, 2)).pvalue for table in counts]
    np.testing.assert_allclose(fisher_exact_p_values(counts), expected, rtol=1e-9, atol=1e-12)


def test_pieces_do_not_change_the_result(monkeypatch):
    counts = tables(200)
    whole = fisher_exact_p_values(counts)
    monkeypatch.setattr(strand_bias, "TERMS_AT_ONCE", 7)
    np.testing.assert_array_equal(fisher_exact_p_values(counts), whole)


def test_by_hand():
    # The lady tasting tea: of 8 cups, 3 of 4 right on each side.
    assert fisher_exact_p_values([[3, 1, 1, 3]])[0] == pytest.approx(34 / 70)


def test_no_tables():
    assert fisher_exact_p_values(np.empty((0, 4))).shape == (0,)
