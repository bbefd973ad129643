"""Membership attacks on simulated cohorts: known power, and little once variants are selected."""

from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from ihdsi.disclosure.membership import (
    analytic_power,
    area_under_curve,
    attack_power,
    homer_scores,
    likelihood_ratio_scores,
    predict_power,
    release_priority,
    select_frequencies,
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


@cache
def controlled(copies=2, missing=0.0, seeds=SEEDS):
    """For each seed: attacked before and after, the selection."""
    results = []
    for seed in range(seeds):
        truth, *people = cohort(seed, copies=copies, missing=missing)
        selection = select_frequencies(*people[:2], np.arange(M), **QUICK)
        kept = [matrix[selection.mask] for matrix in people]
        results.append(
            (
                power_of_knowing(truth, *people),
                power_of_knowing(truth[selection.mask], *kept),
                selection,
            )
        )
    return results


@pytest.mark.parametrize("kind", [(), (2, 0.2, 5), (1, 0.0, 5)], ids=["", "missing", "haploid"])
def test_the_selection_stops_an_attacker_who_knows_the_population(kind):
    off, on, selections = zip(*controlled(*kind), strict=True)
    assert 0.6 < np.mean(off) < 0.85
    assert np.mean(on) < 0.10 + 3 * np.sqrt(0.1 * 0.9 / (N * len(on)))
    for selection in selections:
        assert selection.after.pessimistic <= 0.10
        assert selection.before.pessimistic > 0.6
        n_kept = selection.mask.sum()
        assert selection.mask[:n_kept].all()  # a prefix of the priority
        # √(m/n) = z(0.05) − z(0.10) gives 26.4; the simulation may ask for fewer.
        assert 8 <= n_kept <= 27


def test_the_sites_estimate_is_not_below_the_power_of_knowing_the_population():
    off, _, selections = zip(*controlled(), strict=True)
    difference = [s.before.empirical - power for s, power in zip(selections, off, strict=True)]
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


@pytest.mark.parametrize(("n", "most"), [(1, 0), (5, 0), (10, 1), (30, 4)])
def test_small_cohorts_release_few_frequencies_or_none(n, most):
    _, dosage, ploidy, *_ = cohort(5, n=n, m=200, others=0)
    selection = select_frequencies(dosage, ploidy, np.arange(200), **QUICK)
    assert selection.mask.sum() <= most
    if not most:
        assert selection.after.empirical == selection.after.analytic == 0.05


def test_few_variants_of_many_patients_are_all_released():
    _, dosage, ploidy, *_ = cohort(6, n=2000, m=60, others=0)
    selection = select_frequencies(dosage, ploidy, np.arange(60), **QUICK)
    assert selection.mask.all()
    assert selection.after == selection.before


def test_selection_follows_priority_and_not_the_order_of_rows():
    _, dosage, ploidy, *_ = cohort(7, m=300, others=0)
    priority = np.random.default_rng(1).permutation(300)
    ploidy[priority == 0], dosage[priority == 0] = 0, 0  # called in nobody: never released
    selection = select_frequencies(dosage, ploidy, priority, **QUICK)
    n_kept = selection.mask.sum()
    assert sorted(priority[selection.mask]) == list(range(1, n_kept + 1))
    shuffle = np.random.default_rng(2).permutation(300)
    again = select_frequencies(dosage[shuffle], ploidy[shuffle], priority[shuffle], **QUICK)
    assert (again.mask == selection.mask[shuffle]).all()
    assert (again.before, again.after) == (selection.before, selection.after)


def test_nothing_to_release():
    none = np.zeros((0, 4), dtype=np.int8)
    assert select_frequencies(none, none, np.zeros(0, dtype=np.int64)).mask.shape == (0,)
    _, dosage, ploidy, *_ = cohort(8, m=20, others=0)
    strict = select_frequencies(dosage, ploidy, np.arange(20), maximum_power=0.05, **QUICK)
    assert not strict.mask.any()
    uncalled = select_frequencies(dosage * 0, ploidy * 0, np.arange(20), **QUICK)
    assert not uncalled.mask.any()


def test_matrices_that_do_not_fit_are_refused():
    ones = np.ones((3, 2), dtype=np.int8)
    for call in (
        lambda: predict_power(ones, ones[:2]),
        lambda: predict_power(ones[:, :0], ones[:, :0]),
        lambda: predict_power(ones, ones, np.ones(2)),
        lambda: select_frequencies(ones, ones, np.arange(2)),
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
