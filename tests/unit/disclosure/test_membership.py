"""Membership attacks on simulated cohorts of known power, and what the site predicts of them.

How many frequencies leave is tested in test_frequency_release.py.
"""

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from ihdsi.disclosure.membership import (
    PredictedPower,
    ReleasedGroups,
    analytic_power,
    area_under_curve,
    attack_power,
    combined_power,
    homer_scores,
    largest_prefix,
    likelihood_ratio_scores,
    predict_power,
    release_priority,
)

N, M, OTHERS = 200, 1000, 2000


def attack(score, seed, m=M, alter=lambda p: p, copies=2, missing=0.0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.005, 0.5, m)  # some allele counts fall below ten
    people = rng.binomial(copies, truth[:, None], (m, 2 * N + OTHERS))
    ploidy = np.where(rng.random(people.shape) < missing, 0, copies)
    people = np.where(ploidy > 0, people, 0)
    released = alter(people[:, :N].sum(axis=1) / ploidy[:, :N].sum(axis=1))
    scores = score(people, ploidy, released, truth)
    return scores[:N], scores[N : 2 * N], scores[2 * N :]


def mean_power(score, **kwargs):
    return np.mean([attack_power(*attack(score, seed, **kwargs)[::2]) for seed in range(3)])


def test_likelihood_ratio_attack_succeeds_on_exact_and_on_controlled_frequencies():
    exact = mean_power(likelihood_ratio_scores)
    rounded = mean_power(likelihood_ratio_scores, alter=lambda p: np.round(p, 2))
    withheld = []

    def at_least_ten(p):
        withheld.append(int((p * 2 * N < 10).sum()))
        return np.where(p * 2 * N >= 10, p, np.nan)

    common = mean_power(likelihood_ratio_scores, alter=at_least_ten)
    assert min(withheld) > 10
    assert 0.6 < exact < 0.8
    assert rounded > 0.55
    assert common > 0.55
    assert abs(exact - analytic_power(M, N)) < 0.08


def test_homer_attack_succeeds():
    assert mean_power(homer_scores) > 0.15


@pytest.mark.parametrize("score", [likelihood_ratio_scores, homer_scores])
def test_people_who_were_not_counted_are_not_found(score):
    _, fresh, others = attack(score, 5)
    assert attack_power(fresh, others) < 0.11
    assert abs(area_under_curve(fresh, others) - 0.5) < 0.08


def test_power_grows_with_the_number_of_frequencies():
    powers = [mean_power(likelihood_ratio_scores, m=m) for m in (20, 200, 1000)]
    assert powers == sorted(powers)
    assert powers[0] < 0.15


def test_haploid_and_missing_genotypes():
    assert 0.6 < mean_power(likelihood_ratio_scores, copies=1) < 0.85
    # Half the genotypes of half the people: m and n both halve, and m/n is what matters.
    assert 0.6 < mean_power(likelihood_ratio_scores, missing=0.5) < 0.85
    one, none = np.array([[1]]), np.array([[0]])
    p, q = np.array([0.5]), np.array([0.25])
    for score in (likelihood_ratio_scores, homer_scores):
        assert score(none, none, p, q) == 0
    assert likelihood_ratio_scores(one, one, p, q) == pytest.approx(np.log(2))


def test_equal_scores_are_decided_by_lot():
    # Threshold 1, which a tenth of the others reach: half of those have to be accused.
    others = np.repeat([0.0, 1.0], [90, 10])
    assert attack_power(np.array([0.0, 1.0]), others) == pytest.approx(0.25)
    assert attack_power(others, others) == pytest.approx(0.05)
    assert attack_power(others + np.linspace(0, 1e-12, 100), others) == pytest.approx(0.05)
    assert attack_power(np.zeros(3), np.zeros(7)) == pytest.approx(0.05)


def cohort(seed, n=N, m=M, copies=2, missing=0.0, others=1000):
    """Population frequencies, and dosage and ploidy of patients and of other people."""
    rng = np.random.default_rng([seed, 77])
    truth = rng.uniform(0.005, 0.5, m)
    people = rng.binomial(copies, truth[:, None], (m, n + others)).astype(np.int8)
    ploidy = np.where(rng.random(people.shape) < missing, 0, copies).astype(np.int8)
    people[ploidy == 0] = 0
    return truth, people[:, :n], ploidy[:, :n], people[:, n:], ploidy[:, n:]


def power_of_knowing(truth, dosage, ploidy, others, other_ploidy):
    """Power of the attacker who knows the population's frequencies."""
    released = dosage.sum(axis=1) / ploidy.sum(axis=1)
    return attack_power(
        likelihood_ratio_scores(dosage, ploidy, released, truth),
        likelihood_ratio_scores(others, other_ploidy, released, truth),
    )


QUICK = {"n_draws": 4, "n_others": 500}
SEEDS = 10


def test_the_sites_estimate_is_not_below_the_power_of_knowing_the_population():
    difference = []
    for seed in range(SEEDS):
        truth, *people = cohort(seed)
        predicted = predict_power(*people[:2], **QUICK)
        difference.append(predicted.empirical - power_of_knowing(truth, *people))
    assert np.mean(difference) > -3 * np.std(difference) / np.sqrt(SEEDS) - 0.005
    few = []
    for seed in range(SEEDS):
        truth, *people = (matrix[:100] for matrix in cohort(seed, m=100))
        predicted = predict_power(*people[:2], **QUICK)
        few.append(predicted.empirical - power_of_knowing(truth, *people))
    assert np.mean(few) > -3 * np.std(few) / np.sqrt(SEEDS)
    assert np.mean(few) < 0.04  # nor is it so high that it would say nothing


def test_prediction_without_a_frequency_of_the_resource_or_with_one_that_holds_the_patients():
    truth, dosage, ploidy, *_ = cohort(3, m=300, others=0)
    alone = predict_power(dosage, ploidy, **QUICK)
    own = dosage.mean(axis=1) / 2
    # Against itself the likelihood ratio is zero everywhere and would find nobody.
    assert predict_power(dosage, ploidy, own, **QUICK) == alone
    assert predict_power(dosage, ploidy, np.full(300, np.nan), **QUICK) == alone
    assert abs(predict_power(dosage, ploidy, truth, **QUICK).empirical - alone.empirical) < 0.1
    elsewhere = np.clip(truth + 0.1, 0.01, 0.99)  # other ancestry
    assert predict_power(dosage, ploidy, elsewhere, **QUICK).empirical > alone.empirical + 0.2


def test_predicted_power_grows_with_the_number_of_variants():
    _, dosage, ploidy, *_ = cohort(4, others=0)
    powers = [predict_power(dosage[:m], ploidy[:m], **QUICK) for m in (10, 50, 250, 1000)]
    for measure in ("empirical", "analytic", "area_under_curve"):
        values = [getattr(power, measure) for power in powers]
        assert values == sorted(values)
    assert powers[-1].analytic == pytest.approx(analytic_power(M, N))


def test_analytic_power_counts_called_alleles():
    rng = np.random.default_rng(8)
    ploidy = rng.integers(0, 3, (50, 30), dtype=np.int8)
    dosage = rng.binomial(ploidy, 0.3).astype(np.int8)
    information = [sum(ploidy[j, i] / ploidy[j].sum() for j in range(50)) for i in range(30)]
    expected = np.mean([norm.cdf(np.sqrt(d) - norm.ppf(0.95)) for d in information])
    assert predict_power(dosage, ploidy, n_draws=1).analytic == pytest.approx(expected)


def test_power_is_taken_over_the_cohort_where_it_is_largest():
    """People of whom nothing was told do not dilute the power of those of whom something was."""
    _, dosage, ploidy, *_ = cohort(2, n=300, m=100, others=0)
    first = np.zeros((300, 1), dtype=bool)
    first[:100] = True
    told = np.ones((100, 1), dtype=bool)
    everyone = np.ones((300, 1), dtype=bool)
    alone = predict_power(dosage[:, :100], ploidy[:, :100], **QUICK)
    diluted = predict_power(dosage, ploidy, groups=ReleasedGroups(first, told), **QUICK)
    cohorts = np.concatenate([everyone, first], axis=1)
    groups = ReleasedGroups(first, told, cohorts)
    judged = predict_power(dosage, ploidy, groups=groups, **QUICK)
    assert (
        judged.analytic == pytest.approx(alone.analytic) == pytest.approx(analytic_power(100, 100))
    )
    assert combined_power(ploidy, groups) == pytest.approx(alone.analytic)
    assert diluted.analytic == pytest.approx((alone.analytic + 2 * 0.05) / 3)
    assert abs(judged.empirical - alone.empirical) < 0.06
    assert judged.empirical > diluted.empirical + 0.1
    assert groups[:5].cohorts is cohorts


@pytest.mark.parametrize(
    ("n", "possible", "least", "found"),
    [
        (100, 37, 0, 37),
        (100, 0, 0, 0),
        (100, 100, 0, 100),
        (100, 37, 20, 37),
        (100, 37, 37, 37),
        (100, 37, 60, 60),  # what is known already exceeds the limit: nothing is added
        (40, 39, 40, 40),
        (40, 39, 38, 39),
        (0, 0, 0, 0),
    ],
)
def test_the_largest_prefix(n, possible, least, found):
    def predict(size):
        power = 0.1 if size <= possible else 0.11
        return PredictedPower(power, 0.5, power)

    size, power = largest_prefix(n, predict, lambda size: predict(size).analytic, 0.1, least)
    assert (size, power) == (found, predict(found))


def test_a_simulation_that_is_not_monotone_adds_nothing_to_what_left_before():
    """Of what was found once, one more exceeded the limit; that many more do not is by chance."""

    def predict(size):
        power = 0.11 if size == 21 else 0.1
        return PredictedPower(power, 0.5, 0.05)

    assert largest_prefix(100, predict, lambda _: 0.2, 0.1, 20)[0] == 20
    assert largest_prefix(50, predict, lambda size: 0.2 if size == 50 else 0.0, 0.1)[0] == 49


def test_matrices_that_do_not_fit_are_refused():
    ones = np.ones((3, 2), dtype=np.int8)
    for call in (
        lambda: predict_power(ones, ones[:2]),
        lambda: predict_power(ones[:, :0], ones[:, :0]),
        lambda: predict_power(ones, ones, np.ones(2)),
    ):
        with pytest.raises(ValueError, match=r"must be variants|needs one"):
            call()


def test_priority_is_panel_then_severity_then_position():
    rows = [  # chromosome, position, reference, alternate, gene, consequence; in the order wanted
        ("chr17", 5, "A", "G", "TP53", "*stop_gained"),
        ("chr2", 9, "A", "C", "FGFR3", "missense&splice_region"),
        ("chr10", 1, "A", "C", "FGFR3", "missense"),
        ("chr10", 1, "A", "G", "FGFR3", "missense"),
        ("chrX", 1, "A", "G", "KDM6A", "missense"),
        ("chr1", 1, "A", "G", "FGFR3", None),
        ("chr1", 1, "A", "T", "OTHER", "frameshift"),
        ("chr1", 2, "A", "T", "OTHER", "intron"),
        ("chr1", 1, "A", "C", None, "a_term_of_tomorrow"),
        ("chr1", 3, "A", "C", None, None),
    ]
    names = [
        "chromosome",
        "position",
        "reference_allele",
        "alternate_allele",
        "gene_name",
        "consequence",
    ]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    panel = ["FGFR3", "TP53", "KDM6A"]
    assert release_priority(frame, panel).tolist() == list(range(len(rows)))
    shuffle = np.random.default_rng(0).permutation(len(rows))
    assert release_priority(frame[shuffle], panel).tolist() == shuffle.tolist()
    assert release_priority(frame.clear(), panel).shape == (0,)


def test_no_scores_are_refused():
    for measure in (attack_power, area_under_curve):
        with pytest.raises(ValueError, match="needs scores"):
            measure(np.empty(0), np.ones(1))
