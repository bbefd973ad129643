"""Samples of simulated persons: swaps, duplicates, contamination and sex are seen and named."""

import gzip

import numpy as np
import polars as pl
import pytest

from ihdsi.alignment.artefacts import SUBSTITUTIONS_SCHEMA
from ihdsi.alignment.common_sites import ALLELE_COUNTS_SCHEMA
from ihdsi.quality_control import METRICS_SCHEMA
from ihdsi.sample_checks import (
    CONCORDANCE_SCHEMA,
    AlignedSample,
    artefact_metrics,
    compare_samples,
    sex_metrics,
)
from ihdsi.study import SampleChecks, SexCheck

SETTINGS = SampleChecks()
N_SITES = 300
PERSONS = "abcde"


@pytest.fixture(scope="module")
def cohort():
    """A function that draws the counts of a sample of a person, with a share of another's."""
    rng = np.random.default_rng(11)
    frequency = rng.uniform(0.1, 0.9, N_SITES)
    dosage = {person: rng.binomial(2, frequency) for person in PERSONS}

    def counts(person, share=0.0, other="e", depth=80):
        alternate = ((1 - share) * dosage[person] + share * dosage[other]) / 2
        alternate = 0.001 + 0.998 * alternate
        n = rng.poisson(depth, N_SITES)
        count = rng.binomial(n, alternate)
        return pl.DataFrame(
            {
                "chromosome": "chr1",
                "position": np.arange(1, N_SITES + 1),
                "reference_allele": "A",
                "alternate_allele": "G",
                "allele_frequency": frequency,
                "allele_number": None,
                "reference_count": n - count,
                "alternate_count": count,
                "other_count": rng.poisson(0.002 * depth, N_SITES),
            },
            schema=ALLELE_COUNTS_SCHEMA,
        )

    return counts


def compare(samples):
    """`samples`: name such as a-T to counts."""
    aligned = [
        AlignedSample(name[0], name, "normal" if name.endswith("N") else "tumour")
        for name in samples
    ]
    metrics, concordance = compare_samples(aligned, list(samples.values()), SETTINGS)
    assert metrics.schema == METRICS_SCHEMA
    assert concordance.schema == CONCORDANCE_SCHEMA
    assert concordance.height == len(samples) * (len(samples) - 1) // 2
    values = {
        metric: dict(metrics.filter(metric=metric).select("sample", "value").iter_rows())
        for metric in (
            "identity_concordance_percent",
            "foreign_concordance_percent",
            "contamination_percent",
        )
    }
    notes = dict(
        metrics.filter(metric="identity_concordance_percent").select("sample", "note").iter_rows()
    )
    return values, notes


def test_sound_samples(cohort):
    values, _ = compare({f"{p}-{k}": cohort(p) for p in "abc" for k in "TN"})
    assert set(values["identity_concordance_percent"]) == {f"{p}-{k}" for p in "abc" for k in "TN"}
    assert min(values["identity_concordance_percent"].values()) > 99
    assert max(values["foreign_concordance_percent"].values()) < 70
    assert max(values["contamination_percent"].values()) < 0.5


def test_exchanged_normals_are_named(cohort):
    samples = {f"{p}-T": cohort(p) for p in "abc"}
    samples |= {"a-N": cohort("b"), "b-N": cohort("a"), "c-N": cohort("c")}
    values, notes = compare(samples)
    identity = values["identity_concordance_percent"]
    for name in ("a-T", "a-N", "b-T", "b-N"):
        assert identity[name] < 70
    assert identity["a-T"] == identity["a-N"]
    assert identity["c-T"] == identity["c-N"] > 99
    assert notes["a-T"].startswith("matches b-N of patient b (")
    assert notes["b-N"].startswith("matches a-T of patient a (")
    assert notes["c-T"] == "matches no other patient's sample"
    assert values["foreign_concordance_percent"]["a-T"] > 99
    # Another person's genotypes would make a swapped tumour look contaminated.
    assert max(values["contamination_percent"].values()) < 0.5


def test_a_stranger_matches_nobody(cohort):
    values, notes = compare({"a-T": cohort("a"), "a-N": cohort("d"), "b-N": cohort("b")})
    assert values["identity_concordance_percent"]["a-T"] < 70
    assert notes["a-T"] == notes["a-N"] == "matches no other patient's sample"


def test_one_person_under_two_names(cohort):
    values, notes = compare(
        {"a-T": cohort("a"), "a-N": cohort("a"), "b-N": cohort("a"), "c-T": cohort("c")}
    )
    assert values["identity_concordance_percent"]["a-T"] > 99
    assert values["foreign_concordance_percent"]["b-N"] > 99
    # The pair agrees, so that the match alone says nothing against it.
    assert notes["a-N"].startswith("matches b-N of patient b")
    assert "b-N" not in values["identity_concordance_percent"]
    assert "c-T" not in values["identity_concordance_percent"]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_a_contaminated_tumour_is_measured_by_its_normal(cohort, share):
    values, _ = compare(
        {"a-T": cohort("a", share, depth=150), "a-N": cohort("a"), "b-N": cohort("b")}
    )
    contamination = values["contamination_percent"]
    if share < 0.3:
        assert contamination["a-T"] == pytest.approx(100 * share, rel=0.2)
        assert values["identity_concordance_percent"]["a-T"] > 95
    # So much that the pair does not agree any more: by the tumour's own genotypes it is too small.
    assert contamination["a-T"] > 100 * min(share, 0.15) * 0.7
    assert contamination["a-N"] < 0.5
    assert values["foreign_concordance_percent"]["a-T"] < 85


def unjudged(samples):
    """Metrics without a value, by name: samples and the reasons that are given."""
    aligned = [AlignedSample(n[0], n, "normal" if n.endswith("N") else "tumour") for n in samples]
    metrics, _ = compare_samples(aligned, list(samples.values()), SETTINGS)
    found = {}
    for name, sample, note in (
        metrics.filter(pl.col("value").is_null()).select("metric", "sample", "note").iter_rows()
    ):
        found.setdefault(name.removesuffix("_percent"), {})[sample] = note
    return found


def test_what_cannot_be_judged_is_said(cohort):
    few = unjudged({"a-T": cohort("a", depth=2), "a-N": cohort("a")})
    assert set(few) == {"identity_concordance", "contamination"}
    assert set(few["identity_concordance"]) == {"a-T", "a-N"}
    assert set(few["contamination"]) == {"a-T"}
    assert (
        "homozygous common sites with enough reads, 20 are needed"
        in (few["identity_concordance"]["a-T"])
    )
    assert unjudged({"a-T": cohort("a"), "a-N": cohort("a"), "b-N": cohort("b")}) == {}


def test_without_common_sites_nothing_passes_in_silence(cohort):
    samples = {name: cohort(name[0]).clear() for name in ("a-T", "a-N", "b-N")}
    found = unjudged(samples)
    assert set(found["foreign_concordance"]) == set(samples)
    assert set(found["identity_concordance"]) == {"a-T", "a-N"}
    assert set(found["contamination"]) == set(samples)
    assert found["foreign_concordance"]["b-N"].startswith("could not be judged: 0 homozygous")


def test_metrics_that_do_not_apply_have_no_row(cohort):
    alone, _ = compare({"a-N": cohort("a")})
    assert set(alone["contamination_percent"]) == {"a-N"}
    assert alone["identity_concordance_percent"] == {}
    assert alone["foreign_concordance_percent"] == {}
    nobody, pairs = compare_samples([], [], SETTINGS)
    assert nobody.is_empty()
    assert pairs.is_empty()


CLINICAL = pl.DataFrame({"patient": ["a", "b", "c"], "sex": ["F", "M", None]})
SEX = SampleChecks(sex=SexCheck(variable="sex", female="F", male="M"))


def regions(folder, name, x, y=None):
    rows = f"chr1\t0\t100\tr\t100.0\nchrX\t0\t100\tr\t{x}\n"
    if y is not None:
        rows += f"chrY\t0\t100\tr\t{y}\n"
    path = folder / f"{name}.regions.bed.gz"
    path.write_bytes(gzip.compress(rows.encode()))
    return path


def sexes(folder, samples, settings=SEX, clinical=CLINICAL):
    aligned = [
        AlignedSample(name[0], name, "normal" if name.endswith("N") else "tumour")
        for name in samples
    ]
    metrics = sex_metrics(
        aligned, [regions(folder, name, *c) for name, c in samples.items()], settings, clinical
    )
    assert metrics.schema == METRICS_SCHEMA
    judged = metrics.filter(metric="sex_discordance")
    assert metrics.filter(metric="x_coverage_ratio").height == len(samples)
    return {
        name: (value, note)
        for name, value, note in judged.select("sample", "value", "note").iter_rows()
    }


def test_sex_against_the_clinical_table(tmp_path):
    found = sexes(tmp_path, {"a-N": (50, 40), "b-N": (50, 40), "c-N": (50, 40), "d-N": (100, 0)})
    # The sex of c is not recorded, and d is not in the table.
    assert set(found) == {"a-N", "b-N"}
    assert found["a-N"] == (1.0, "recorded as F, coverage shows M")
    assert found["b-N"][0] == 0.0


def test_sex_is_not_judged_where_it_does_not_show(tmp_path):
    # A tumour that lost X is judged by its normal; a woman without X and Y in coverage by nothing.
    assert set(sexes(tmp_path, {"a-T": (50,), "a-N": (100,), "b-N": (50, 0)})) == {"a-N"}
    assert set(sexes(tmp_path, {"a-T": (50, 40)})) == {"a-T"}
    assert sexes(tmp_path, {"a-N": (50, 40)}, settings=SETTINGS) == {}
    assert sexes(tmp_path, {"a-N": (50, 40)}, clinical=None) == {}
    assert sex_metrics([], [], SEX, CLINICAL).schema == METRICS_SCHEMA


def test_artefacts_of_each_sample():
    counted = pl.DataFrame(
        [("G", "T", 20), ("C", "A", 0), ("G", "G", 1e6 - 20), ("C", "C", 1e6)],
        schema=SUBSTITUTIONS_SCHEMA,
        orient="row",
    )
    samples = [AlignedSample("a", "a-T", "tumour"), AlignedSample("b", "b-T", "tumour")]
    metrics = artefact_metrics(samples, [counted, counted.clear()])
    assert metrics.schema == METRICS_SCHEMA
    assert metrics.select("sample", "metric", "value").rows() == [
        ("a-T", "oxidation_artefact_rate", pytest.approx(10)),
        ("a-T", "deamination_artefact_rate", 0.0),
    ]
    assert artefact_metrics([], []).is_empty()
