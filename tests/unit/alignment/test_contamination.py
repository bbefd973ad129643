"""Contamination of known size is found again."""

import numpy as np
import pytest

from ihdsi.alignment.contamination import estimate_contamination
from ihdsi.alignment.identity import call_genotypes

N_SITES = 2000


def mixture(share, depth=80, error=0.003, seed=1, n_sites=N_SITES):
    """Reads of a person with a share of another's, and the true genotypes of the first."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.1, 0.9, n_sites)
    dosage, foreign = rng.binomial(2, frequency, (2, n_sites))
    alternate = (1 - share) * dosage / 2 + share * foreign / 2
    n = rng.poisson(depth, n_sites)
    # A read is wrong in `error` of the cases, and then shows one of the three other bases.
    to_alternate = alternate * (1 - error) + (1 - alternate) * error / 3
    wrong = np.full(n_sites, 2 * error / 3)
    counts = rng.multinomial(n, np.stack([1 - to_alternate - wrong, to_alternate, wrong], axis=1))
    return (*counts.T[:, None, :], dosage[None].astype(np.int8), frequency)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("share", "tolerance"), [(0.0, 0.1), (0.02, 0.3), (0.10, 1.0)])
@pytest.mark.parametrize("own", [True, False])
def test_contamination_is_recovered(share, tolerance, own, seed):
    reference, alternate, other, truth, frequency = mixture(share, seed=seed)
    called = call_genotypes(reference, alternate, 8) if own else truth
    percent = estimate_contamination(reference, alternate, other, called, frequency, 20)
    assert percent.shape == (1,)
    assert percent[0] == pytest.approx(100 * share, abs=tolerance)


def test_errors_of_the_sequencer_are_no_contamination():
    reference, alternate, other, truth, frequency = mixture(0.0, error=0.03)
    assert estimate_contamination(reference, alternate, other, truth, frequency, 20)[0] < 0.3
    unaware = estimate_contamination(
        reference, alternate, np.zeros_like(other), truth, frequency, 20
    )
    assert unaware[0] > 1.5


def test_much_contamination_is_beyond_any_limit_even_by_own_genotypes():
    reference, alternate, other, _, frequency = mixture(0.35)
    called = call_genotypes(reference, alternate, 8)
    assert estimate_contamination(reference, alternate, other, called, frequency, 20)[0] > 7


def test_own_alleles_are_taken_out_of_frequencies_counted_here():
    # Five patients; this one is homozygous for the reference, all others for the alternate: the
    # frequency among the others is 1, so that 5 of 100 reads are 5 %.
    reference, alternate = np.full((1, 30), 95), np.full((1, 30), 5)
    zero = np.zeros((1, 30), dtype=int)
    frequency = np.full(30, 0.8)
    arguments = (reference, alternate, zero, zero.astype(np.int8), frequency, 20)
    assert estimate_contamination(*arguments)[0] == pytest.approx(5 / 0.8)
    assert estimate_contamination(*arguments, np.full(30, 10.0))[0] == pytest.approx(5)
    assert estimate_contamination(*arguments, np.full(30, np.nan))[0] == pytest.approx(5 / 0.8)


def test_by_hand():
    # Hom-ref with f = 0.5 and hom-alt with f = 0.75: 200 reads, 8 foreign, 4 of neither allele.
    reference, alternate, other = np.array([[95, 3]]), np.array([[5, 97]]), np.array([[2, 2]])
    genotype = np.array([[0, 2]], dtype=np.int8)
    percent = estimate_contamination(
        reference, alternate, other, genotype, np.array([0.5, 0.75]), 2
    )
    assert percent[0] == pytest.approx(100 * (8 - 2) / (100 * 0.5 + 100 * 0.25))


def test_undefined_without_sites():
    empty = np.zeros((2, 0), dtype=int)
    nothing = estimate_contamination(empty, empty, empty, empty.astype(np.int8), np.zeros(0), 20)
    assert np.isnan(nothing).all()
    reference, alternate, other, truth, frequency = mixture(0.0, n_sites=30)
    few = estimate_contamination(reference, alternate, other, truth, frequency, 31)
    assert np.isnan(few).all()
    heterozygous = np.ones_like(truth)
    assert np.isnan(
        estimate_contamination(reference, alternate, other, heterozygous, frequency, 1)
    ).all()
