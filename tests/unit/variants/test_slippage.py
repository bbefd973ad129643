"""Indels of repeat units."""

import numpy as np
import polars as pl
import pysam
import pytest
from scipy.stats import binom

from ihdsi.variants.panel_of_normals import ALLELE
from ihdsi.variants.slippage import repeat_units, slippage_log_odds

#           1234567890123456789012345678901
SEQUENCE = "GCAAAAAAAAAATGCGATATATATCCTTGACg"


@pytest.mark.parametrize(
    ("position", "reference", "alternate", "units"),
    [
        (2, "CA", "C", 10),
        (2, "C", "CAA", 10),
        (2, "CAAA", "C", 10),
        (2, "C", "CT", 0),
        (2, "C", "G", 0),
        (2, "CA", "GT", 0),
        (2, "CA", "T", 0),
        (16, "GAT", "G", 4),
        (16, "G", "GATAT", 4),
        (16, "G", "GATA", 1),
        (24, "TCC", "T", 2),
        (31, "C", "CG", 1),
        (32, "G", "GT", 0),
    ],
)
def test_units(tmp_path, position, reference, alternate, units):
    path = tmp_path / "g.fa"
    path.write_text(f">1\n{SEQUENCE}\n")
    pysam.faidx(str(path))
    variants = pl.DataFrame(
        [("1", position, reference, alternate)], schema=list(ALLELE), orient="row"
    )
    with pysam.FastaFile(str(path)) as genome:
        assert repeat_units(variants, genome).tolist() == [units]


def test_odds_are_a_binomial_likelihood_ratio():
    reference, alternate = np.array([70, 85, 99]), np.array([30, 15, 8])
    n = reference + alternate
    expected = (
        binom.logpmf(alternate, n, alternate / n) - binom.logpmf(alternate, n, 0.05)
    ) / np.log(10)
    np.testing.assert_allclose(slippage_log_odds(reference, alternate, 0.05), expected)


def test_odds_at_and_below_the_rate_and_without_reads():
    odds = slippage_log_odds([95, 99, 0, 0], [5, 1, 0, 20], 0.05)
    np.testing.assert_allclose(odds[:3], 0, atol=1e-9)
    assert odds[3] == pytest.approx(20 * np.log10(20))
