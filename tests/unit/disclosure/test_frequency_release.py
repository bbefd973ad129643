"""The number of germline frequencies that leave, and what an attacker makes of those that do.

The attacker here is independent of the functions under test: he knows the population's allele
frequencies and a person's genotypes, takes the released tables, and adds up log likelihood ratios.
"""

import json

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from cohort_in_memory import Cohort, block, clinical_table
from ihdsi.bundle.manifest import DisclosureStatement
from ihdsi.disclosure import apply_disclosure_control, disclosure_summary
from ihdsi.disclosure.differencing import EarlierRelease
from ihdsi.disclosure.membership import (
    ReleasedGroups,
    combined_power,
    likelihood_ratio_scores,
    predict_power,
    release_priority,
)
from ihdsi.errors import InputError
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
OFF = SETTINGS.model_copy(update={"maximum_membership_power": 1.0})
GENES = pl.DataFrame(
    {
        "gene_id": [f"ENSG{number:011d}" for number in range(1, 7)],
        "gene_name": [f"GENE{number}" for number in range(1, 7)],
    }
)
N_OTHERS = 4000
KINDS = tuple(
    f"{term}|{{}}|T|protein_coding" for term in ("*stop_gained", "missense", "synonymous")
)


def clear(cohort, settings=SETTINGS, **given):
    table = cohort.frequencies()
    return apply_disclosure_control(
        {"variant_frequencies": table}, settings, [], {}, genotypes=cohort, **given
    )


def simulate(seed, n, m, stage=None, consequences=None, panel=None, truth=None):
    """A cohort, the population's frequencies, and other people of the population."""
    rng = np.random.default_rng([seed, n, m])
    truth = rng.uniform(0.02, 0.5, m) if truth is None else truth
    people = rng.binomial(2, truth[:, None], (m, n + N_OTHERS))
    variables = {} if stage is None else {"stage": stage}
    clinical = clinical_table(n, **variables)
    cohort = Cohort(
        clinical, (block(clinical["patient"], people[:, :n], consequences=consequences),)
    )
    if panel is not None:
        cohort.panel = panel
    return cohort, truth, people[:, :n], people[:, n:]


def log_likelihood_ratio(genotypes, rows, truth):
    """Of genotypes (V, P) where a row tells them, of alleles elsewhere; truth (V,)."""
    score = np.zeros(genotypes.shape[1])
    for own, row, p in zip(genotypes, rows.iter_rows(named=True), truth, strict=True):
        if row["n_carriers"] is None:
            ours = np.clip(row["allele_count"] / row["allele_number"], 1e-6, 1 - 1e-6)
            score += own * np.log(ours / p) + (2 - own) * np.log((1 - ours) / (1 - p))
            continue
        n, carriers, homozygous = (
            row[name] for name in ("n_samples_called", "n_carriers", "n_homozygous")
        )
        ours = np.array([n - carriers, carriers - homozygous, homozygous]) / n
        theirs = np.array([(1 - p) ** 2, 2 * p * (1 - p), p**2])
        score += np.log(np.maximum(ours, 1e-6) / theirs)[own]
    return score


def power(members, others, rate=0.05):
    threshold = np.quantile(others, 1 - rate)
    return np.mean(members > threshold)


def attack(cleared, truth, members, others):
    rows = cleared["variant_frequencies"].filter(stratum_variable="all")
    index = rows["position"].to_numpy() - 1
    return tuple(
        log_likelihood_ratio(people[index], rows, truth[index]) for people in (members, others)
    )


def test_an_attacker_wins_without_the_rule_and_hardly_with_it():
    cohort, truth, members, others = simulate(0, 150, 500)
    everything, _ = clear(cohort, OFF)
    assert everything["variant_frequencies"].height > 400
    off = power(*attack(everything, truth, members, others))
    assert off > 0.5
    on, null, sizes = [], [], []
    for seed in range(3):
        cohort, truth, members, others = simulate(seed, 150, 500)
        limited, log = clear(cohort)
        scores = attack(limited, truth, members, others)
        on.append(power(*scores))
        null.append(power(scores[1][::2], scores[1][1::2]))
        sizes.append(limited["variant_frequencies"].height)
        stated = disclosure_summary(log, SETTINGS)["membership"]
        assert stated["power_before"] > off - 0.05
        assert limited["variant_frequencies"]["n_carriers"].null_count() == sizes[-1]
        assert stated["power_after"] <= 0.10
        assert stated["n_frequencies"] == sizes[-1]
        assert stated["n_patients"] == 150
    assert np.mean(on) <= 0.12
    assert abs(np.mean(null) - 0.05) < 0.02
    assert min(sizes) >= 5  # the rule is no ban


@pytest.mark.parametrize(("copies", "missing"), [(2, 0.2), (1, 0.0)], ids=["missing", "haploid"])
def test_missing_and_haploid_genotypes(copies, missing):
    on, sizes = [], []
    for seed in range(4):
        rng = np.random.default_rng([seed, copies])
        truth = rng.uniform(0.02, 0.5, 300)
        people = rng.binomial(copies, truth[:, None], (300, 150 + N_OTHERS))
        ploidy = np.where(rng.random(people.shape) < missing, 0, copies)
        people[ploidy == 0] = 0
        clinical = clinical_table(150)
        called = block(clinical["patient"], people[:, :150], ploidy[:, :150])
        cleared, log = clear(Cohort(clinical, (called,)))
        rows = cleared["variant_frequencies"].sort("position")
        index = rows["position"].to_numpy() - 1
        released = (rows["allele_count"] / rows["allele_number"]).to_numpy()
        scores = likelihood_ratio_scores(people[index], ploidy[index], released, truth[index])
        on.append(power(scores[:150], scores[150:]))
        sizes.append(rows.height)
        stated = disclosure_summary(log, SETTINGS)["membership"]
        assert stated["power_after"] <= 0.10 < 0.35 < stated["power_before"]
    assert np.mean(on) < 0.10 + 3 * np.sqrt(0.1 * 0.9 / (150 * len(on)))
    # √(m/n) = z(0.05) − z(0.10) gives 19.8; the simulation may ask for fewer.
    assert min(sizes) >= 5
    assert max(sizes) <= 20


def test_variants_leave_by_priority_and_not_in_the_order_of_the_call_set():
    """The list is cut at one place; a variant that nobody has called is not on it."""
    rng = np.random.default_rng(3)
    n, m = 150, 120
    dosage = rng.binomial(2, rng.uniform(0.1, 0.5, m)[:, None], (m, n))
    ploidy = np.full((m, n), 2)
    dosage[5] = ploidy[5] = 0
    consequences = [KINDS[number % 3].format(f"GENE{1 + number % 7}") for number in range(m)]
    clinical = clinical_table(n)
    whole = block(clinical["patient"], dosage, ploidy, consequences=consequences)
    parts = [
        block(
            clinical["patient"],
            dosage[[row]],
            ploidy[[row]],
            consequences=[consequences[row]],
            start=1 + row,
        )
        for row in rng.permutation(m)
    ]
    cohort, other = (Cohort(clinical, tuple(blocks), GENES) for blocks in ([whole], parts))
    settings = SETTINGS.model_copy(update={"minimum_cell_count": 1})
    cleared, again = (clear(one, settings)[0] for one in (cohort, other))
    for name, frame in cleared.items():
        assert frame.equals(again[name])
    table = cohort.frequencies().filter(stratum="all")
    order = table[np.argsort(release_priority(table, GENES["gene_name"].to_list()))]["position"]
    released = cleared["variant_frequencies"]["position"].to_list()
    assert set(released) == set(order.to_list()[: len(released)])
    assert 5 <= len(released) < m
    assert 6 not in released


def test_nothing_to_release():
    cohort, *_ = simulate(2, 400, 12)
    empty = cohort.frequencies().clear()
    cleared, log = apply_disclosure_control(
        {"variant_frequencies": empty}, SETTINGS, [], {}, genotypes=cohort
    )
    assert cleared["variant_frequencies"].is_empty()
    assert log.is_empty()


def test_a_harmless_table_is_released_whole():
    cohort, *_ = simulate(1, 400, 12)
    cleared, log = clear(cohort)
    variants = cleared["variant_frequencies"]
    assert variants.height == 12
    n_genotyped = variants["n_carriers"].count()
    assert n_genotyped >= 8
    assert log["rule"].to_list().count("membership") == 0
    stated = disclosure_summary(log, SETTINGS, override=True)["membership"]
    assert stated["power_before"] == stated["power_after"] <= 0.10
    assert stated["n_frequencies"] == 12 + n_genotyped
    assert stated["override"]


def test_genotype_counts_are_a_second_frequency():
    """Whoever reads them wins more often than by alleles alone, and the prediction knows."""
    cohort, truth, members, others = simulate(0, 150, 200)
    everything, log = clear(cohort, OFF)
    frequencies = everything["variant_frequencies"]
    assert frequencies["n_carriers"].count() > 120
    alleles = frequencies.with_columns(n_carriers=pl.lit(None, dtype=pl.Int64))
    genotyped = power(*attack(everything, truth, members, others))
    by_alleles = power(*attack({"variant_frequencies": alleles}, truth, members, others))
    assert genotyped > by_alleles + 0.05
    stated = disclosure_summary(log, OFF)["membership"]
    assert stated["power_after"] > genotyped - 0.03


def test_genotype_counts_stay_where_they_would_cost_variants():
    cohort, *_ = simulate(1, 400, 30)
    cleared, log = clear(cohort)
    assert cleared["variant_frequencies"].height == 30
    assert cleared["variant_frequencies"]["n_carriers"].null_count() == 30
    assert log["rule"].to_list().count("membership_genotypes") >= 20
    stated = disclosure_summary(log, SETTINGS)["membership"]
    assert stated["n_frequencies"] == 30
    assert stated["power_after"] <= 0.10 < stated["power_before"]


def test_without_genotypes_nothing_leaves_and_the_log_says_why():
    cohort, *_ = simulate(2, 400, 12)
    table = cohort.frequencies()
    for settings in (SETTINGS, OFF):
        cleared, log = apply_disclosure_control({"variant_frequencies": table}, settings, [], {})
        assert cleared["variant_frequencies"].is_empty()
        assert set(log["rule"]) == {"membership_not_judged"}
        assert "membership" not in disclosure_summary(log, settings)


def test_a_gene_table_from_elsewhere_does_not_leave():
    cohort, *_ = simulate(2, 400, 12)
    row = pl.DataFrame(
        {
            "gene_id": ["ENSG00000000001"],
            "gene_name": ["G"],
            "consequence_group": ["missense"],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n_assessed": [400],
            "n_carriers": [100],
        }
    )
    tables = {"variant_frequencies": cohort.frequencies(), "germline_gene_carriers": row}
    cleared, log = apply_disclosure_control(tables, SETTINGS, [], {}, genotypes=cohort)
    assert cleared["germline_gene_carriers"].is_empty()
    assert "membership_not_judged" in log["rule"].to_list()


def test_genotypes_that_are_not_those_counted_are_refused():
    cohort, *_ = simulate(3, 100, 12)
    other, *_ = simulate(4, 100, 12)
    tables = {"variant_frequencies": cohort.frequencies()}
    with pytest.raises(InputError, match="are not those that were counted"):
        apply_disclosure_control(tables, SETTINGS, [], {}, genotypes=other)
    shorter = Cohort(cohort.clinical, (block(cohort.patients, np.ones((3, 100))),))
    with pytest.raises(InputError, match="not at all"):
        apply_disclosure_control(tables, SETTINGS, [], {}, genotypes=shorter)


def test_strata_do_not_leave_unless_the_study_says_so():
    stage = ["low", "high"] * 100
    cohort, *_ = simulate(5, 200, 10, stage)
    cleared, log = clear(cohort)
    assert set(cleared["variant_frequencies"]["stratum"]) == {"all"}
    strata = log.filter(pl.col("rule") == "membership")["key"].str.json_path_match("$.stratum")
    assert {"low", "high"} <= set(strata)
    stratified = SETTINGS.model_copy(update={"stratified_frequencies": True})
    cohort, *_ = simulate(5, 600, 10, ["low", "high"] * 300)
    cleared, _ = clear(cohort, stratified)
    assert set(cleared["variant_frequencies"]["stratum"]) == {"all", "low", "high"}


def test_strata_that_do_not_leave_cost_the_whole_nothing():
    """Two men of one stage show in the stratum's allele_number on X, not in the cohort's."""
    clinical = clinical_table(300, stage=["low"] * 250 + ["high"] * 50)
    ploidy = np.full((6, 300), 2)
    ploidy[:, :100] = ploidy[:, 250:252] = 1
    dosage = np.random.default_rng(11).binomial(ploidy, 0.4)
    cohort = Cohort(clinical, (block(clinical["patient"], dosage, ploidy, "X"),))
    assert clear(cohort)[0]["variant_frequencies"].height == 6
    stratified = SETTINGS.model_copy(update={"stratified_frequencies": True})
    assert clear(cohort, stratified)[0]["variant_frequencies"].is_empty()


def test_strata_are_judged_together_with_the_whole():
    """A person of a stratum is compared with the frequencies of the stratum and of all."""
    stratified = SETTINGS.model_copy(update={"stratified_frequencies": True})
    on, sizes = [], []
    for seed in range(4):
        stage = ["low", "high", "third"] * 60
        cohort, truth, members, others = simulate(seed, 180, 120, stage)
        cleared, log = clear(cohort, stratified)
        frequencies = cleared["variant_frequencies"]
        sizes.append(frequencies.filter(stratum="all").height)
        scores = [np.zeros(180), np.zeros(N_OTHERS)]
        for stratum in ("all", "low", "high", "third"):
            part = frequencies.filter(stratum=stratum)
            rows = part["position"].to_numpy() - 1
            # Others are asked whether they are in the stratum that they would be in.
            for kind, (people, score) in enumerate(zip((members, others), scores, strict=True)):
                labels = np.resize(np.array(stage), 180 if kind == 0 else N_OTHERS)
                inside = (labels == stratum) | (stratum == "all")
                score[inside] += log_likelihood_ratio(people[rows][:, inside], part, truth[rows])
        on.append(power(*scores))
        assert disclosure_summary(log, stratified)["membership"]["power_after"] <= 0.10
    assert np.mean(on) <= 0.12
    whole_only = [clear(simulate(s, 180, 120)[0])[0]["variant_frequencies"].height for s in (0, 1)]
    assert max(sizes) < min(whole_only)


def test_groups_that_differ_by_one_patient_are_a_frequency_of_that_patient():
    _, _, members, _ = simulate(6, 100, 40)
    ploidy = np.full(members.shape, 2, dtype=np.int8)
    both = np.ones((100, 2), dtype=bool)
    both[0, 1] = False
    groups = ReleasedGroups(both, np.ones((40, 2), dtype=bool))
    alone = predict_power(members, ploidy, groups=groups)
    # Information on patient 0 is 2 an allele pair and variant, on the others 1/99.
    information = np.full(100, 40 / 99)
    information[0] = 80 / 2
    expected = norm.cdf(np.sqrt(information) - norm.isf(0.05)).mean()
    assert alone.analytic == pytest.approx(expected, rel=1e-6)
    assert combined_power(ploidy, groups) == pytest.approx(expected, rel=1e-6)
    assert alone.empirical > predict_power(members, ploidy).empirical


def panel_cohort(n=300, per_gene=40, seed=0, truth=0.01):
    """Six genes, of each kind of variant some rare ones."""
    rng = np.random.default_rng(seed)
    consequences = [
        KINDS[number % 3].format(f"GENE{gene + 1}")
        for gene in range(6)
        for number in range(per_gene)
    ]
    dosage = rng.binomial(2, truth, (len(consequences), n))
    clinical = clinical_table(n)
    cohort = Cohort(
        clinical, (block(clinical["patient"], dosage, consequences=consequences),), GENES
    )
    return cohort, dosage, consequences


def test_variants_that_do_not_leave_are_folded_into_their_gene():
    cohort, dosage, consequences = panel_cohort(n=2000, per_gene=12, truth=0.0006)
    cleared, log = clear(cohort)
    carriers = cleared["germline_gene_carriers"]
    assert carriers.height
    released = set(cleared["variant_frequencies"].select(VARIANT_KEY)["position"])
    assert cleared["variant_frequencies"].height < dosage.any(axis=1).sum()
    truth = {}
    for gene in GENES["gene_name"]:
        for kind, term in (("truncating", "stop_gained"), ("missense", "missense")):
            rows = [
                row
                for row, text in enumerate(consequences)
                if f"|{gene}|" in text and term in text and row + 1 not in released
            ]
            truth[gene, kind] = int((dosage[rows] > 0).any(axis=0).sum())
    rows = carriers.select("gene_name", "consequence_group", "n_carriers", "n_assessed")
    for gene, kind, number, assessed in rows.iter_rows():
        assert number == truth[gene, kind] >= 5
        assert assessed == 2000
    withheld = log.filter(table="germline_gene_carriers")
    small = [key for key, number in truth.items() if 0 < number < 5]
    assert withheld.filter(rule="minimum_cell_count").height == len(small)


def test_gene_rows_and_variants_share_one_limit():
    cohort, *_ = panel_cohort(n=300, per_gene=90, truth=0.02)
    cleared, log = clear(cohort)
    variants, carriers = (
        cleared[name] for name in ("variant_frequencies", "germline_gene_carriers")
    )
    stated = disclosure_summary(log, SETTINGS)["membership"]
    assert stated["n_frequencies"] == variants.height + carriers.height
    # √(m/n) = z(0.05) − z(0.10): 39.6 of 300 patients.
    assert 15 <= stated["n_frequencies"] <= 40
    assert stated["power_after"] <= 0.10 < stated["power_before"]
    # Most severe first: nothing but stop gains leaves, and of these by themselves before all.
    assert set(variants["consequence"]) == {"stop_gained"}
    assert "membership" in log.filter(table="germline_gene_carriers")["rule"].to_list()


def test_an_attacker_of_variants_and_gene_rows_together_hardly_wins():
    """Per gene one common stop gain, twenty rare ones and missense variants of all frequencies."""
    kinds = [0] + [0] * 20 + [1] * 10
    consequences = [KINDS[kind].format(f"GENE{gene + 1}") for gene in range(6) for kind in kinds]
    truth = np.tile([0.3] + [0.003] * 20 + [0.02, 0.05, 0.1, 0.2, 0.3] * 2, 6)
    on, null = [], []
    for seed in range(4):
        cohort, _, members, others = simulate(
            seed, 160, truth.size, None, consequences, GENES, truth
        )
        cleared, _ = clear(cohort)
        carriers = cleared["germline_gene_carriers"]
        assert carriers.height >= 3
        scores = list(attack(cleared, truth, members, others))
        released = set(cleared["variant_frequencies"]["position"] - 1)
        for gene, n, number in carriers.select("gene_name", "n_assessed", "n_carriers").iter_rows():
            rows = [
                row
                for row, text in enumerate(consequences)
                if f"|{gene}|" in text and "stop_gained" in text and row not in released
            ]
            theirs = 1 - np.prod((1 - truth[rows]) ** 2)
            ours = number / n
            for kind, people in enumerate((members, others)):
                carries = (people[rows] > 0).any(axis=0)
                scores[kind] += np.where(
                    carries, np.log(ours / theirs), np.log((1 - ours) / (1 - theirs))
                )
        on.append(power(*scores))
        null.append(power(scores[1][::2], scores[1][1::2]))
    assert np.mean(on) <= 0.12
    assert abs(np.mean(null) - 0.05) < 0.02


def test_gene_rows_come_in_the_order_of_the_panel():
    cohort, dosage, _ = panel_cohort(n=40, per_gene=60, truth=0.004)
    cohort.panel = GENES.reverse()
    cleared, _ = clear(cohort)
    carriers = cleared["germline_gene_carriers"]
    assert 0 < carriers.height < 6
    assert set(carriers["consequence_group"]) == {"truncating"}
    names = set(carriers["gene_name"])
    numbers = {
        f"GENE{gene + 1}": int((dosage[gene * 60 : gene * 60 + 60 : 3] > 0).any(axis=0).sum())
        for gene in range(6)
    }
    possible = [name for name in GENES.reverse()["gene_name"] if numbers[name] >= 5]
    assert names == set(possible[: len(names)])


def test_a_patient_without_genotypes_is_not_assessed():
    cohort, dosage, consequences = panel_cohort(n=2000, per_gene=12, truth=0.0015)
    ploidy = np.full(dosage.shape, 2)
    ploidy[:, :50] = 0
    dosage[:, :50] = 0
    cohort.blocks = (block(cohort.patients, dosage, ploidy, consequences=consequences),)
    cleared, _ = clear(cohort)
    assert set(cleared["germline_gene_carriers"]["n_assessed"]) == {1950}


def test_the_power_stands_in_the_log_and_counts_as_nothing_withheld():
    cohort, *_ = simulate(9, 120, 60)
    _, log = clear(cohort)
    entry = log.filter(rule="membership_power")
    assert entry.height == 1
    assert json.loads(entry["key"].item())["power_after"] <= 0.10
    summary = disclosure_summary(log, SETTINGS)
    assert "membership_power" not in summary["withheld"]["variant_frequencies"]
    assert not summary["membership"]["override"]


def test_the_statement_travels_in_the_bundle():
    cohort, *_ = simulate(9, 120, 60)
    summary = disclosure_summary(clear(cohort)[1], SETTINGS)
    statement = DisclosureStatement.model_validate(summary)
    assert DisclosureStatement.model_validate_json(statement.model_dump_json()) == statement
    assert statement.model_dump(mode="json") == summary
    for key, wrong in (("power_after", 1.01), ("n_frequencies", -1), ("override", 0), ("x", 1)):
        altered = summary | {"membership": summary["membership"] | {key: wrong}}
        with pytest.raises(ValidationError, match=key):
            DisclosureStatement.model_validate(altered)
    del summary["membership"]
    assert DisclosureStatement.model_validate(summary).model_dump(mode="json") == summary
    few, *_ = simulate(9, 8, 60)
    assert disclosure_summary(clear(few)[1], SETTINGS)["membership"]["n_patients"] is None


@pytest.mark.parametrize("n", [12, 30])
def test_small_cohorts_release_few_frequencies(n):
    cohort, *_ = simulate(7, n, 100)
    cleared, log = clear(cohort)
    assert cleared["variant_frequencies"].height <= 0.14 * n
    assert disclosure_summary(log, SETTINGS)["membership"]["power_after"] <= 0.10


def test_a_limit_below_chance_lets_nothing_leave():
    cohort, *_ = simulate(8, 300, 20)
    strict = SETTINGS.model_copy(update={"maximum_membership_power": 0.05})
    cleared, log = clear(cohort, strict)
    assert cleared["variant_frequencies"].is_empty()
    assert disclosure_summary(log, strict)["membership"]["power_after"] == 0.05


def gene_and_variant(cohort, least, earlier=()):
    """Carriers of the common stop gain and of its gene's row, and the release."""
    settings = OFF.model_copy(update={"minimum_cell_count": least})
    populations = cohort.strata.select(
        pl.lit("germline").alias("population"),
        "stratum_variable",
        "stratum",
        patient_hash="patient",
    )
    cleared, _ = clear(cohort, settings, earlier=earlier, populations=populations)
    told = [
        cleared[table]["n_carriers"].to_list()
        for table in ("variant_frequencies", "germline_gene_carriers")
    ]
    return told, EarlierRelease(1 + len(earlier), cleared, populations)


def test_gene_rows_and_variants_of_different_releases_are_not_subtracted_either():
    """Twenty carry the common stop gain, three others a rare one: 23 - 20 must not be had."""
    dosage = np.zeros((4, 400))
    dosage[0, :20] = dosage[1, 50] = dosage[2, 51] = dosage[3, 52] = 1
    clinical = clinical_table(400)
    consequences = [KINDS[0].format("GENE1")] * 4
    cohort = Cohort(
        clinical, (block(clinical["patient"], dosage, consequences=consequences),), GENES
    )
    single, by_gene = gene_and_variant(cohort, 5), gene_and_variant(cohort, 21)
    assert single[0] == [[20], []]
    assert by_gene[0] == [[], [23]]
    assert gene_and_variant(cohort, 21, [single[1]])[0] == [[], []]
    # The variant stays in the row that counted it before, and the row leaves as it did.
    assert gene_and_variant(cohort, 5, [by_gene[1]])[0] == [[], [23]]
    for least, (told, release) in ((5, single), (21, by_gene)):
        assert gene_and_variant(cohort, least, [release])[0] == told
