"""Several releases of one site, and what an attacker makes of all of them together.

The attacker is independent of the functions under test: he knows the population's allele
frequencies and a person's genotypes, and adds up log likelihood ratios over all releases.
"""

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from cohort_in_memory import Cohort, block, clinical_table
from ihdsi.bundle.manifest import DisclosureStatement, needs_exception
from ihdsi.disclosure import apply_disclosure_control, disclosure_summary
from ihdsi.disclosure.differencing import EarlierRelease
from ihdsi.disclosure.history import read_history
from ihdsi.disclosure.ledger import Ledger
from ihdsi.disclosure.membership import ReleasedGroups, combined_power
from ihdsi.disclosure.released_frequencies import (
    alleles_by_lot,
    earlier_frequencies,
    people_of_releases,
    released_lines,
)
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
N, N_OTHERS = 150, 3000
GENES = pl.DataFrame(
    {
        "gene_id": [f"ENSG{number:011d}" for number in range(1, 7)],
        "gene_name": [f"GENE{number}" for number in range(1, 7)],
    }
)
STOP = "*stop_gained|{}|T|protein_coding"


def limit(power):
    return SETTINGS.model_copy(update={"maximum_membership_power": power})


def populations_of(cohort):
    return cohort.strata.select(
        pl.lit("germline").alias("population"),
        "stratum_variable",
        "stratum",
        patient_hash="patient",
    )


class Site:
    """A site that releases again and again; `union`: the rule knows of the earlier releases."""

    def __init__(self, *, union=True):
        self.union, self.releases = union, []

    def release(self, cohort, settings=SETTINGS):
        populations = populations_of(cohort)
        cleared, log = apply_disclosure_control(
            {"variant_frequencies": cohort.frequencies()},
            settings,
            [],
            {},
            genotypes=cohort,
            populations=populations,
            earlier=self.releases if self.union else [],
        )
        self.releases.append(EarlierRelease(len(self.releases) + 1, cleared, populations))
        return cleared, disclosure_summary(log, settings)["membership"]


def simulate(seed, n, m, low=0.05):
    rng = np.random.default_rng([seed, n, m])
    truth = rng.uniform(low, 0.5, m)
    people = rng.binomial(2, truth[:, None], (m, n + N_OTHERS)).astype(np.int8)
    return truth, people[:, :n], people[:, n:]


def cohort_of(dosage, rows=slice(None), **given):
    clinical = clinical_table(dosage.shape[1])
    whole = range(len(dosage))[rows]
    return Cohort(
        clinical, (block(clinical["patient"], dosage[rows], start=1 + whole[0]),), **given
    )


def score(dosage, frequency, truth):
    frequency = np.clip(frequency, 1e-6, 1 - 1e-6)
    return np.log(frequency / truth) @ dosage + np.log((1 - frequency) / (1 - truth)) @ (2 - dosage)


def attack(releases, truth, *groups):
    """Scores by each variant once, as in the first release that tells it."""
    rows = pl.concat([release.tables["variant_frequencies"] for release in releases])
    assert rows["n_carriers"].null_count() == rows.height
    rows = rows.filter(stratum="all").unique(VARIANT_KEY, keep="first", maintain_order=True)
    index = rows["position"].to_numpy() - 1
    frequency = (rows["allele_count"] / rows["allele_number"]).to_numpy()
    return [score(dosage[index], frequency, truth[index]) for dosage in groups]


def power(members, others):
    return np.mean(members > np.quantile(others, 0.95))


@pytest.mark.parametrize(
    ("n_rounds", "maximum", "at_hand"),
    [(2, 0.3, False), (5, 0.1, True)],
    ids=["two_rounds_gone", "five_rounds_at_hand"],
)
def test_releases_of_other_variants_add_up(n_rounds, maximum, at_hand):
    """Each round has candidates of its own; of earlier ones the genotypes may be at hand or not."""
    attacked = {False: [], True: []}
    for seed in range(2):
        size = 60 if maximum == 0.1 else 200
        truth, members, others = simulate(seed, N, size * n_rounds)
        for union, powers in attacked.items():
            site = Site(union=union)
            for number in range(n_rounds):
                first = 0 if at_hand else number * size
                cohort = cohort_of(members, slice(first, (number + 1) * size))
                if at_hand:
                    # The panel changes, so that the new variants come first.
                    gene = ["OTHER"] * (number * size) + ["GENE1"] * size
                    cohort = Cohort(
                        cohort.clinical,
                        (
                            block(
                                cohort.patients,
                                members[: (number + 1) * size],
                                consequences=[STOP.format(name) for name in gene],
                            ),
                        ),
                        GENES.head(1),
                    )
                _, stated = site.release(cohort, limit(maximum))
                # A by-lot copy of what is gone is not the same cohort to the last patient.
                assert stated["power_after"] <= maximum + union * 0.02
            told = attack(site.releases, truth, members, others)
            powers.append(power(*told))
    error = np.sqrt(maximum * (1 - maximum) / (N * len(attacked[True])))
    assert np.mean(attacked[False]) > maximum + 2 * error
    assert np.mean(attacked[True]) < maximum + 2 * error


def test_an_unchanged_site_releases_the_same_again():
    for seed in range(2):
        _, members, _ = simulate(seed, N, 200)
        site = Site()
        first, second, third = (site.release(cohort_of(members)) for _ in range(3))
        assert first[0]["variant_frequencies"].height >= 5
        for cleared, stated in (second, third):
            assert stated == first[1]
            assert not stated["exceeded_before"]
            assert all(cleared[name].equals(first[0][name]) for name in cleared)


def test_what_an_override_let_leave_counts_later_and_grants_nothing():
    truth, members, others = simulate(1, N, 400)
    site = Site()
    wide, stated = site.release(cohort_of(members, slice(0, 250)), limit(0.4))
    assert 0.1 < stated["power_after"] <= 0.4
    assert needs_exception(stated | {"override": True})
    # Without it, the same may leave again, and nothing else.
    both, again = site.release(cohort_of(members))
    assert both["variant_frequencies"].equals(wide["variant_frequencies"])
    assert again["exceeded_before"]
    assert again["power_after"] > 0.1 == again["maximum_power"]
    assert again["n_frequencies"] == both["variant_frequencies"].height
    assert not needs_exception(again)
    assert needs_exception(again | {"exceeded_before": False})
    DisclosureStatement.model_validate({"settings": {}, "withheld": {}, "membership": again})
    other, others_stated = site.release(cohort_of(members, slice(250, 400)))
    assert other["variant_frequencies"].is_empty()
    assert others_stated["exceeded_before"]
    # The rule by release would have let them leave.
    alone, _ = Site().release(cohort_of(members, slice(250, 400)))
    assert alone["variant_frequencies"].height >= 5
    # With an override again, all releases together stay below its limit.
    more, more_stated = site.release(cohort_of(members), limit(0.6))
    assert more["variant_frequencies"].height > wide["variant_frequencies"].height
    assert stated["power_after"] < more_stated["power_after"] <= 0.6
    assert power(*attack(site.releases, truth, members, others)) < 0.6 + 0.08


def test_a_grown_cohort_is_attacked_by_old_and_new_frequencies():
    """Of a variant in both, two sums are known: of the first patients, and of those who came."""
    n, grown = 100, 130
    judged = {False: [], True: []}
    sizes = {False: [], True: []}
    for seed in range(3):
        truth, members, others = simulate(seed, grown, 60)
        for union, powers in judged.items():
            site = Site(union=union)
            site.release(cohort_of(members[:, :n]))
            cleared, stated = site.release(cohort_of(members))
            first, second = (r.tables["variant_frequencies"] for r in site.releases)
            sizes[union].append(second.height)
            both = first.join(second, on=VARIANT_KEY, suffix="_now")
            index = both["position"].to_numpy() - 1
            came = both.select(
                (pl.col("allele_count_now") - pl.col("allele_count"))
                / (pl.col("allele_number_now") - pl.col("allele_number"))
            )
            frequency = came.to_series().to_numpy()
            new = members[:, n:]
            scores = [score(people[index], frequency, truth[index]) for people in (new, others)]
            powers.append(power(*scores))
            if union:
                assert stated["power_after"] <= 0.12
                assert set(cleared["variant_frequencies"]["stratum"]) <= {"all"}
    # By release, the thirty newcomers are found by the difference.
    assert np.mean(judged[False]) > 0.13
    assert np.mean(judged[True]) < np.mean(judged[False])
    assert sum(sizes[True]) < sum(sizes[False])


def test_a_cohort_of_others_has_its_own_limit():
    _, members, _ = simulate(3, 2 * N, 100)
    site = Site()
    site.release(cohort_of(members[:, :N]))
    clinical = clinical_table(2 * N)[N:]
    others = Cohort(clinical, (block(clinical["patient"], members[:, N:]),))
    alone, _ = Site().release(others)
    cleared, stated = site.release(others)
    assert not stated["exceeded_before"]
    # Nobody is in both: as many leave as from that cohort alone, but for the draws.
    assert abs(cleared["variant_frequencies"].height - alone["variant_frequencies"].height) <= 8
    assert cleared["variant_frequencies"].height >= 5


def test_genotype_counts_that_left_before_stay_and_new_ones_do_not_come():
    _, members, _ = simulate(4, 400, 60, low=0.3)
    site = Site()
    few, stated = site.release(cohort_of(members, slice(0, 10)))
    counts = few["variant_frequencies"].select("position", "n_carriers", "n_homozygous")
    assert counts["n_carriers"].null_count() == 0
    assert stated["n_frequencies"] == 20
    more, _ = site.release(cohort_of(members))
    rows = more["variant_frequencies"].select("position", "n_carriers", "n_homozygous")
    assert rows.height > 10
    assert rows.filter(pl.col("position") <= 10).equals(counts)
    assert rows.filter(pl.col("position") > 10)["n_carriers"].count() == 0
    # In the place of each genotype count one more variant could have left.
    plain, _ = Site().release(cohort_of(members))
    assert plain["variant_frequencies"].height > rows.height


def panel_cohort(seed=0, n=300, genes=range(6)):
    """A common stop gain a gene, which leaves, and twenty rare ones, which are folded."""
    rng = np.random.default_rng(seed)
    truth = np.tile([0.3] + [0.004] * 20, 6)
    dosage = rng.binomial(2, truth[:, None], (truth.size, n))
    names = np.repeat(GENES["gene_name"].to_list(), 21)
    clinical = clinical_table(n)
    whole = block(clinical["patient"], dosage, consequences=[STOP.format(name) for name in names])
    return Cohort(clinical, (whole,), GENES[list(genes)])


def test_gene_rows_of_earlier_releases_count():
    site = Site()
    first, stated = site.release(panel_cohort())
    assert first["germline_gene_carriers"].height >= 4
    again, same = site.release(panel_cohort())
    assert all(again[name].equals(first[name]) for name in again)
    assert same == stated
    # Genes that are on the panel no more are still known to everybody.
    other, others_stated = site.release(panel_cohort(genes=[5, 4]))
    told = set(first["germline_gene_carriers"]["gene_name"])
    assert set(other["germline_gene_carriers"]["gene_name"]) == told & {"GENE5", "GENE6"}
    assert abs(others_stated["power_after"] - stated["power_after"]) < 0.02
    tight = limit(0.055)
    wide, _ = Site().release(panel_cohort(), limit(0.3))
    site = Site()
    site.releases = [EarlierRelease(1, wide, populations_of(panel_cohort()))]
    once_more, exceeded = site.release(panel_cohort(), tight)
    assert exceeded["exceeded_before"]
    assert all(once_more[name].equals(wide[name]) for name in once_more)


def test_patients_who_left_stand_among_those_who_were_told_of():
    _, members, _ = simulate(5, N, 40)
    site = Site()
    first, _ = site.release(cohort_of(members))
    fewer = cohort_of(members[:, :100])
    earlier = earlier_frequencies(site.releases, populations_of(fewer))
    people = people_of_releases(fewer.patients, np.ones((100, 1), dtype=bool), earlier)
    assert people.n_patients == 100
    assert people.members.sum(axis=0).tolist() == [100, N]
    assert people.cohorts.sum(axis=0).tolist() == [100, N]
    rows = first["variant_frequencies"]
    at_hand = rows.select(VARIANT_KEY)
    lines = released_lines(
        earlier.variants,
        VARIANT_KEY,
        ("allele_count", "allele_number"),
        at_hand,
        rows.clear().with_columns(group=pl.lit(0)),
        people,
    )
    assert lines.dosage.shape == (rows.height, N)
    assert lines.dosage.sum(axis=1).tolist() == rows["allele_count"].to_list()
    assert lines.released.tolist() == [[False, True]] * rows.height
    with pytest.raises(ValueError, match="1 patients are not in the populations"):
        people_of_releases(["somebody"], np.ones((1, 1), dtype=bool), earlier)


def test_counts_that_changed_of_the_same_patients_are_a_second_measurement():
    _, members, _ = simulate(6, N, 3)
    cohort = cohort_of(members)
    rows = cohort.frequencies()
    told = [
        EarlierRelease(
            number,
            {"variant_frequencies": rows.with_columns(pl.col("allele_count") + change)},
            populations_of(cohort),
        )
        for number, change in ((1, 0), (2, 7), (3, 0))
    ]
    earlier = earlier_frequencies(told, populations_of(cohort))
    assert earlier.variants.height == 6  # the first and the third release tell the same
    assert len(earlier.groups) == len(earlier.cohorts) == 1
    people = people_of_releases(cohort.patients, np.ones((N, 1), dtype=bool), earlier)
    assert people.members.shape == people.cohorts.shape == (N, 1)
    lines = released_lines(
        earlier.variants,
        VARIANT_KEY,
        ("allele_count", "allele_number"),
        rows.select(VARIANT_KEY),
        rows.with_columns(group=pl.lit(0, dtype=pl.Int64)),
        people,
    )
    counts = rows["allele_count"].to_numpy()
    assert lines.dosage[:3].sum(axis=1).tolist() == counts.tolist()
    assert sorted(lines.dosage[3:].sum(axis=1)) == sorted(counts + 7)
    assert lines.released.all()


def test_alleles_are_dealt_as_they_were_counted():
    rng = np.random.default_rng(1)
    carried, called = np.array([0, 5, 40, 99, 7]), np.array([0, 40, 40, 40, 33])
    dosage, ploidy = alleles_by_lot(carried, called, 20, rng)
    assert ploidy.sum(axis=1).tolist() == [0, 40, 40, 40, 33]
    assert dosage.sum(axis=1).tolist() == [0, 5, 40, 40, 7]
    assert (dosage <= ploidy).all()
    carriers, assessed = alleles_by_lot(carried[1:2], np.array([15]), 20, rng, copies=1)
    assert (carriers.sum(), assessed.sum(), assessed.max()) == (5, 15, 1)
    # All ways are as likely: each person's share is hypergeometric, 2 of 10 alleles with 5 carried.
    many, _ = alleles_by_lot(np.full(4000, 5), np.full(4000, 10), 5, rng)
    assert np.abs(many.mean(axis=0) - 1).max() < 0.05
    # P(both) = 5/10 · 4/9, so that the standard error of 4,000 draws is 0.0066.
    assert abs(np.mean(many == 2) - 20 / 90) < 0.015


def test_nothing_left_before():
    earlier = earlier_frequencies([], None)
    assert not earlier
    members = np.ones((7, 2), dtype=bool)
    people = people_of_releases(["a"] * 7, members, earlier)
    assert people.members is members
    assert people.cohorts.shape == (7, 1)
    release = EarlierRelease(1, {"cohort_profile": pl.DataFrame({"n": [1]})}, pl.DataFrame())
    unrelated = EarlierRelease(1, release.tables, populations_of(cohort_of(members[:2])))
    assert not earlier_frequencies([unrelated], populations_of(cohort_of(members[:2])))


def test_the_history_names_the_patients_whose_hashes_it_has(tmp_path):
    given = populations_of(cohort_of(np.ones((1, 12)))).rename({"patient_hash": "patient"})
    alone = read_history(None, given).populations
    assert alone["patient_hash"].equals(alone["patient"], check_names=False)
    with Ledger(tmp_path / "ledger.sqlite"):
        pass
    populations = read_history(tmp_path / "ledger.sqlite", given).populations
    assert populations["patient"].to_list() == given["patient"].to_list()
    assert populations["patient_hash"].str.len_chars().unique().to_list() == [64]
    hashes = earlier_frequencies([], populations).hashes
    assert hashes == dict(populations.select("patient", "patient_hash").iter_rows())


def test_patients_are_known_again_by_the_hashes_of_the_ledger(tmp_path):
    _, members, _ = simulate(7, N, 200)
    before, cohort = (cohort_of(members, rows) for rows in (slice(0, 100), slice(100, 200)))
    names = populations_of(cohort)
    with Ledger(tmp_path / "ledger.sqlite"):
        pass
    hashed = read_history(
        tmp_path / "ledger.sqlite", names.rename({"patient_hash": "patient"})
    ).populations
    first, _ = Site().release(before)

    def second(populations, then):
        cleared, _ = apply_disclosure_control(
            {"variant_frequencies": cohort.frequencies()},
            SETTINGS,
            [],
            {},
            genotypes=cohort,
            populations=populations,
            earlier=[EarlierRelease(1, first, then)],
        )
        return cleared["variant_frequencies"]

    by_name = second(names, names)
    assert second(hashed, hashed.drop("patient")).equals(by_name)
    # Under other hashes the patients of then are others, whose limit the new frequencies leave.
    assert second(hashed, names).height > by_name.height + 3


def test_the_analytic_power_of_two_cohorts():
    """Known truth: m frequencies of n patients, then of these and k more, in both m/n and m/k."""
    n, k, m = 80, 40, 30
    everyone = np.ones((n + k, 2), dtype=bool)
    everyone[n:, 1] = False
    groups = ReleasedGroups(everyone, np.ones((m, 2), dtype=bool), everyone)
    old, new = (norm.cdf(np.sqrt(m / size) - norm.isf(0.05)) for size in (n, k))
    ploidy = np.full((m, n + k), 2)
    assert combined_power(ploidy, groups) == pytest.approx(max(old, (n * old + k * new) / (n + k)))
