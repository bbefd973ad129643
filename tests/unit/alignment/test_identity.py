"""Genotypes and concordance of simulated persons: the same, strangers, parents, siblings."""

import numpy as np
import pytest

from ihdsi.alignment.identity import call_genotypes, pairwise_concordance

N_SITES = 2000
RNG = np.random.default_rng(7)
FREQUENCY = RNG.uniform(0.1, 0.9, N_SITES)


def stranger():
    """Two haplotypes, shape (2, n_sites)."""
    return RNG.random((2, N_SITES)) < FREQUENCY


def child(mother, father):
    rows = RNG.integers(0, 2, (2, N_SITES))
    index = np.arange(N_SITES)
    return np.stack([mother[rows[0], index], father[rows[1], index]])


def reads(person, depth=60, error=0.002, lost=0.0, purity=0.7):
    """Reads of both alleles; at a share `lost` of the sites the tumour has lost an allele."""
    weight = np.where(RNG.random(N_SITES) < lost, 1 - purity, 1.0)
    alternate = (person[0] * weight + person[1]) / (weight + 1)
    n = RNG.poisson(depth, N_SITES)
    count = RNG.binomial(n, alternate * (1 - error) + (1 - alternate) * error)
    return n - count, count


def genotypes(*samples):
    reference, alternate = (np.stack(counts) for counts in zip(*samples, strict=True))
    return call_genotypes(reference, alternate, 8)


def by_site(typed, normal, i, j):
    """The same by the definition, one site after the other."""
    same = total = 0
    for a, b in zip(typed[i], typed[j], strict=True):
        counted = b in (0, 2) if normal[j] and not normal[i] else a in (0, 2)
        if normal[i] == normal[j]:
            counted = a in (0, 2) or b in (0, 2)
        if counted and a >= 0 and b >= 0:
            total += 1
            same += a == b
    return 100 * same / total, total


@pytest.fixture(scope="module")
def family():
    mother, father, other = stranger(), stranger(), stranger()
    first, second = child(mother, father), child(mother, father)
    samples = {
        "normal": (reads(first), True),
        "tumour": (reads(first, 150, lost=0.5), False),
        "again": (reads(first, 20), True),
        "mother": (reads(mother), True),
        "sibling": (reads(second), True),
        "stranger": (reads(other), True),
        "other_tumour": (reads(other, 150, lost=0.5), False),
    }
    normal = [is_normal for _, is_normal in samples.values()]
    typed = genotypes(*(counts for counts, _ in samples.values()))
    concordance, sites = pairwise_concordance(typed, normal, 20)
    return list(samples), typed, normal, concordance, sites


def test_the_matrix_is_what_the_definition_says(family):
    names, typed, normal, concordance, sites = family
    for i in range(len(names)):
        for j in range(i):
            share, total = by_site(typed, normal, i, j)
            assert concordance[i, j] == concordance[j, i] == pytest.approx(share)
            assert sites[i, j] == sites[j, i] == total


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("normal", "tumour", 99, 100),  # in spite of lost alleles at half of the sites
        ("normal", "again", 98, 100),
        ("stranger", "other_tumour", 99, 100),
        ("normal", "mother", 48, 82),
        ("normal", "sibling", 48, 82),
        ("normal", "stranger", 30, 47),
        ("tumour", "stranger", 40, 66),
        ("tumour", "sibling", 60, 82),
        ("tumour", "other_tumour", 30, 66),
    ],
)
def test_persons_are_told_apart(family, one, other, low, high):
    names, *_, concordance, _ = family
    assert low <= concordance[names.index(one), names.index(other)] <= high


def test_called_genotypes_are_right():
    person = stranger()
    typed = genotypes(reads(person, 40))[0]
    called = typed >= 0
    assert called.mean() > 0.9
    assert (typed[called] == person.sum(axis=0)[called]).mean() > 0.998


@pytest.mark.parametrize(
    ("reference", "alternate", "genotype"),
    [
        (8, 0, 0),
        (0, 8, 2),
        (7, 0, -1),  # too few reads
        (7, 1, -1),  # a heterozygous site shows this in one of 28
        (4, 4, 1),
        (6, 2, 1),
        (80, 10, 0),
        (10, 80, 2),
        (80, 24, -1),  # between the two
        (75, 25, 1),
        (0, 0, -1),
    ],
)
def test_genotype_of(reference, alternate, genotype):
    assert call_genotypes(np.array([reference]), np.array([alternate]), 8).item() == genotype


def test_too_few_sites_and_no_samples():
    typed = np.array([[0, 2, 0], [0, 2, 1]], dtype=np.int8)
    concordance, sites = pairwise_concordance(typed, [True, False], 4)
    assert np.isnan(concordance).all()
    assert sites[0, 1] == 3
    concordance, _ = pairwise_concordance(typed, [True, False], 3)
    assert concordance[0, 1] == pytest.approx(200 / 3)
    for shape in ((0, 5), (3, 0)):
        concordance, sites = pairwise_concordance(np.zeros(shape, np.int8), [True] * shape[0], 1)
        assert concordance.shape == sites.shape == (shape[0], shape[0])
        assert np.isnan(concordance).all()
