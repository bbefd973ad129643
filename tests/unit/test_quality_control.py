"""Quality metrics of a site, counted by hand and judged by the study's limits."""

import gzip
import shutil
import subprocess
from typing import get_args

import numpy as np
import polars as pl
import pytest
from scipy.stats import median_abs_deviation

from germline_files import call_set, record
from ihdsi.cohort import Assay
from ihdsi.quality_control import (
    DECISIONS_SCHEMA,
    KINDS,
    METRICS_SCHEMA,
    MINIMUM_SAMPLES,
    alignment_quality,
    decide_samples,
    distance_scores,
    excluded_patients,
    expression_quality,
    failed_samples,
    gather_quality,
    germline_quality,
    judge_metrics,
    metric_rows,
    somatic_quality,
    without_patients,
)
from ihdsi.study import QualityMetric
from ihdsi.summaries.qc_profile import ASSAYS, assay_of_kind
from ihdsi.variants.somatic import SOMATIC_SCHEMA

SAMPLES = {
    "tumour_dna": {"a": "a-tumour", "b": "b-tumour", "c": "c-tumour"},
    "normal_dna": {"a": "a-normal", "b": "b-normal"},
    "tumour_rna": {"a": "a-rna", "b": "b-rna"},
}
ASSESSED = pl.DataFrame({"patient": ["a", "b", "c"], "callable_megabases": [1.0, None, 2.0]})
GENE_COUNTS = pl.DataFrame(
    {
        "gene_id": ["G1", "G2", "G3"],
        "gene_name": ["g1", "g2", "g3"],
        "a": [0.0, 1.0, 10.5],
        "b": [0.0, 0.99, 0.0],
    }
)


def somatic_variant(patient, position, gene, alternate="G", chromosome="1"):
    values = {
        "patient": patient,
        "chromosome": chromosome,
        "position": position,
        "reference_allele": "A",
        "alternate_allele": alternate,
        "gene_name": gene,
    }
    return tuple(values.get(name) for name in SOMATIC_SCHEMA)


SOMATIC = pl.DataFrame(
    [
        somatic_variant("a", 5, "RB1"),
        somatic_variant("a", 5, "LPAR6"),  # the same variant, in a second gene
        somatic_variant("a", 5, "RB1", alternate="T"),
        somatic_variant("a", 5, "TP53", chromosome="2"),
        somatic_variant("c", 5, None),
    ],
    schema=SOMATIC_SCHEMA,
    orient="row",
)
STATISTICS = """# This file was produced by bcftools stats (1.16+htslib-1.16)
SN\t0\tnumber of samples:\t3
SN\t0\tnumber of records:\t8
# PSC, Per-sample counts.
PSC\t0\ta\t3\t1\t1\t2\t1\t1\t60.1\t0\t0\t0\t2
PSC\t0\tb\t0\t0\t0\t0\t0\t0\t60.1\t0\t0\t0\t8
PSC\t0\tz\t8\t0\t0\t0\t0\t0\t60.1\t0\t0\t0\t0
"""


@pytest.fixture
def germline_statistics(tmp_path):
    path = tmp_path / "call_set.bcftools_stats.txt"
    path.write_text(STATISTICS)
    return path


def values(metrics):
    assert metrics.schema == METRICS_SCHEMA
    return {
        (patient, metric): (sample, assay, value)
        for patient, sample, assay, metric, value, _ in metrics.iter_rows()
    }


def test_metric_rows():
    rows = metric_rows("a", "a-tumour", "dna", {"mapped_percent": 99.0, "reads": 7})
    assert rows.schema == METRICS_SCHEMA
    assert rows.rows() == [
        ("a", "a-tumour", "dna", "mapped_percent", 99.0, None),
        ("a", "a-tumour", "dna", "reads", 7.0, None),
    ]
    assert metric_rows("a", "s", "dna", {}).schema == METRICS_SCHEMA


def test_somatic_variants_count_once_and_none_is_zero():
    assert values(somatic_quality(SOMATIC, ASSESSED, SAMPLES["tumour_dna"])) == {
        ("a", "somatic_variants"): ("a-tumour", "dna", 3.0),
        ("b", "somatic_variants"): ("b-tumour", "dna", 0.0),
        ("c", "somatic_variants"): ("c-tumour", "dna", 1.0),
    }


def test_somatic_quality_of_nobody():
    metrics = somatic_quality(SOMATIC.clear(), ASSESSED.clear(), {})
    assert metrics.is_empty()
    assert metrics.schema == METRICS_SCHEMA


def test_germline_call_rate_is_of_what_the_patient_was_tried_for(germline_statistics):
    assert values(germline_quality(germline_statistics, SAMPLES["normal_dna"])) == {
        ("a", "germline_call_rate"): ("a-normal", "dna", 75.0),
        ("b", "germline_call_rate"): ("b-normal", "dna", 0.0),
        # A patient without a sample of the kind keeps the metric.
        ("z", "germline_call_rate"): (None, "dna", 100.0),
    }


def test_germline_call_rate_of_no_variants_is_unknown(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("SN\t0\tnumber of records:\t0\nPSC\t0\ta" + "\t0" * 11 + "\n")
    assert germline_quality(path, SAMPLES["normal_dna"]).is_empty()


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="not installed: bcftools")
def test_call_rate_of_snvs_and_indels_by_bcftools(tmp_path):
    """SNVs, indels and longer substitutions alike count; records that fail do not."""
    calls = call_set(
        tmp_path,
        record(1, "0/1", "./.", "0/0"),
        record(2, "0/1", "./.", "1/1", alleles="AC\tA"),
        record(3, "./.", "./.", "1", alleles="A\tAC"),
        record(4, "0/0", "./.", "0/0", alleles="AC\tGT"),
        record(4, "0/1", "0/1", "0/0", chromosome="X"),
        record(5, "./.", "./.", "./.", status="low", chromosome="X"),
        samples=("a", "b", "c"),
    )
    path = tmp_path / "stats.txt"
    with path.open("w") as stream:
        subprocess.run(
            ["bcftools", "stats", "--samples", "-", "--apply-filters", ".,PASS", calls],
            stdout=stream,
            check=True,
        )
    rates = dict(germline_quality(path, {}).select("patient", "value").iter_rows())
    assert rates == pytest.approx({"a": 80.0, "b": 20.0, "c": 100.0})


def test_expression_quality():
    assert values(expression_quality(GENE_COUNTS, SAMPLES["tumour_rna"])) == {
        ("a", "detected_genes"): ("a-rna", "rna", 2.0),
        ("a", "library_size"): ("a-rna", "rna", 11.5),
        ("b", "detected_genes"): ("b-rna", "rna", 0.0),
        ("b", "library_size"): ("b-rna", "rna", pytest.approx(0.99)),
    }


@pytest.fixture
def tool_files(tmp_path):
    """One alignment and one quantification, in the tools' forms."""
    stats = tmp_path / "a.stats"
    stats.write_text("SN\traw total sequences:\t100\nSN\treads mapped:\t90\n")
    thresholds = tmp_path / "a.thresholds.bed.gz"
    thresholds.write_bytes(gzip.compress(b"1\t0\t10\tx\t10\t5\n"))
    (tmp_path / "a.mosdepth.region.dist.txt").write_text("total\t12\t0.90\ntotal\t0\t1.00\n")
    (tmp_path / "a.regions.bed.gz").write_bytes(gzip.compress(b"1\t0\t10\tx\t60.00\n"))
    return stats, thresholds


def test_metrics_of_the_tools(tool_files):
    stats, thresholds = tool_files
    aligned = values(alignment_quality([(("a", "a-tumour"), stats, thresholds)]))
    assert len(aligned) == 7
    assert aligned["a", "mapped_percent"] == ("a-tumour", "dna", 90.0)
    assert aligned["a", "coverage_uniformity_percent"] == ("a-tumour", "dna", 90.0)
    assert aligned["a", "target_100x_percent"] == ("a-tumour", "dna", 50.0)
    assert alignment_quality([]).schema == METRICS_SCHEMA


def test_gather_quality_takes_what_the_site_has(tool_files, germline_statistics):
    stats, thresholds = tool_files
    assert gather_quality([], SAMPLES).is_empty()
    alignments = [
        (("a", "a-tumour"), stats, thresholds),
        (("a", "a-normal"), stats, thresholds),
    ]
    metrics = gather_quality(
        alignments,
        SAMPLES,
        somatic_variants=SOMATIC,
        somatic_assessed=ASSESSED,
        germline_statistics=[germline_statistics],
        gene_counts=GENE_COUNTS,
        sample_checks=metric_rows("a", "a-normal", "dna", {"contamination_percent": 0.5}),
    )
    assert metrics.schema == METRICS_SCHEMA
    assert metrics.height == 2 * 7 + 3 + 3 + 4 + 1
    assert dict(metrics["metric"].value_counts().iter_rows())["mapped_percent"] == 2
    assert metrics.filter(metric="germline_call_rate", patient="a")["sample"].item() == "a-normal"


LIMITS = {
    "low": QualityMetric(assay="dna", unit="%", minimum=90, bins=(0, 100)),
    "high": QualityMetric(assay="dna", unit="1", maximum=40.5, bins=(0, 100)),
    "both": QualityMetric(assay="rna", unit="bp", minimum=-1, maximum=1, bins=(0, 100)),
    "free": QualityMetric(assay="rna", unit="g", bins=(0, 100)),
    "soft": QualityMetric(assay="dna", unit="1", warn_maximum=3, bins=(0, 100)),
    "graded": QualityMetric(
        assay="dna", unit="%", minimum=10, warn_minimum=20, warn_maximum=80, maximum=90, bins=(0, 9)
    ),
}


@pytest.mark.parametrize(
    ("metric", "value", "status"),
    [
        ("low", 89.9, "fail"),
        ("low", 90.0, "pass"),
        ("low", 1e9, "pass"),
        ("high", 40.5, "pass"),
        ("high", 40.6, "fail"),
        ("high", -1e9, "pass"),
        ("both", -1.0, "pass"),
        ("both", 1.0, "pass"),
        ("both", 1.1, "fail"),
        ("both", -1.1, "fail"),
        # A value that is not there fails its limits.
        ("low", None, "fail"),
        ("low", float("nan"), "fail"),
        ("high", float("nan"), "fail"),
        ("soft", 3.0, "pass"),
        ("soft", 3.1, "warn"),
        ("soft", None, "fail"),
        ("graded", 9.9, "fail"),
        ("graded", 10.0, "warn"),
        ("graded", 19.9, "warn"),
        ("graded", 20.0, "pass"),
        ("graded", 80.0, "pass"),
        ("graded", 80.1, "warn"),
        ("graded", 90.0, "warn"),
        ("graded", 90.1, "fail"),
        ("graded", float("nan"), "fail"),
        # The study sets no limit: neither minimum nor maximum, or does not know the metric.
        ("free", 5.0, "unlimited"),
        ("unknown", 5.0, "unlimited"),
    ],
)
def test_judgement(metric, value, status):
    judged = judge_metrics(metric_rows("a", "s", "dna", {metric: value}), LIMITS)
    assert judged["status"].to_list() == [status]


def test_judged_table_tells_unit_and_limit():
    metrics = pl.concat(
        [
            metric_rows("b", "s2", "rna", {"free": 1, "both": 0}),
            metric_rows("a", "s1", "rna", {"both": 2}),
            metric_rows("a", "s1", "dna", {"low": 95, "high": 3, "unknown": 1}),
        ]
    )
    judged = judge_metrics(metrics, LIMITS)
    assert judged.schema == METRICS_SCHEMA | {
        "unit": pl.String,
        "limit": pl.String,
        "status": pl.String,
    }
    assert judged.select("sample", "metric", "unit", "status", "limit").rows() == [
        ("s1", "high", "1", "pass", "at most 40.5"),
        ("s1", "low", "%", "pass", "at least 90"),
        ("s1", "unknown", None, "unlimited", None),
        ("s1", "both", "bp", "fail", "at least -1, at most 1"),
        ("s2", "both", "bp", "pass", "at least -1, at most 1"),
        ("s2", "free", "g", "unlimited", None),
    ]


def test_without_limits_nothing_is_judged():
    judged = judge_metrics(metric_rows("a", "s", "dna", {"low": 1}), {})
    assert judged["status"].to_list() == ["unlimited"]
    assert judge_metrics(pl.DataFrame(schema=METRICS_SCHEMA), LIMITS).is_empty()


def judged(*rows):
    """Judge rows (patient, sample, metric, value, note)."""
    metrics = pl.DataFrame(
        [
            (patient, sample, "dna", metric, value, note)
            for patient, sample, metric, value, note in rows
        ],
        schema=METRICS_SCHEMA,
        orient="row",
    )
    return judge_metrics(metrics, LIMITS)


def test_a_sample_is_as_good_as_its_worst_metric_and_says_why():
    decisions = decide_samples(
        judged(
            ("a", "a-tumour", "low", 95.0, None),
            ("a", "a-tumour", "unknown", 3.0, None),
            ("a", "a-normal", "graded", 15.0, None),
            ("a", "a-normal", "low", 50.123, "matches b-normal of patient b (99.8 %)"),
            ("a", "a-normal", "high", 41.0, None),
            ("b", "b-tumour", "soft", 12345.6, None),
            ("b", "b-normal", "free", 5.0, None),
            ("b", "b-normal-rna", "low", 1.0, None),
        ),
        SAMPLES,
    )
    assert decisions.schema == DECISIONS_SCHEMA
    # Normal RNA is no sample of a kind that is summarised; c and the tumours' RNA have no metric.
    assert decisions.rows() == [
        (
            "a",
            "a-normal",
            "normal_dna",
            "fail",
            "fail: high 41.0 (at most 40.5); "
            "fail: low 50.12 % (at least 90), matches b-normal of patient b (99.8 %); "
            "warn: graded 15.0 % (at least 10, at most 90, warning below 20, warning above 80)",
        ),
        ("a", "a-tumour", "tumour_dna", "pass", ""),
        ("b", "b-normal", "normal_dna", "pass", ""),
        ("b", "b-tumour", "tumour_dna", "warn", "warn: soft 12350.0 (warning above 3)"),
    ]


def test_a_value_that_is_not_there_is_a_reason():
    decisions = decide_samples(judged(("a", "a-tumour", "low", None, None)), SAMPLES)
    assert decisions["reasons"].item() == "fail: low not there (at least 90)"


def test_what_could_not_be_judged_is_a_warning_with_its_reason():
    note = "could not be judged: 7 homozygous common sites with enough reads, 20 are needed"
    decisions = decide_samples(
        judged(("a", "a-tumour", "low", None, note), ("a", "a-tumour", "high", 1.0, None)), SAMPLES
    )
    assert decisions["decision"].item() == "warn"
    assert decisions["reasons"].item() == f"warn: low not there (at least 90), {note}"
    # A metric that the study does not list is no reason.
    unlisted = decide_samples(judged(("a", "a-tumour", "unknown", None, note)), SAMPLES)
    assert unlisted["decision"].item() == "pass"


def test_nothing_measured_is_nothing_decided():
    assert decide_samples(judged(), SAMPLES).schema == DECISIONS_SCHEMA
    assert decide_samples(judged(), SAMPLES).is_empty()
    assert decide_samples(judged(("a", "a-tumour", "low", 1.0, None)), {}).is_empty()
    assert excluded_patients(decide_samples(judged(), SAMPLES), ["tumour_dna"]) == []


DECISIONS = pl.DataFrame(
    [
        ("a", "a-tumour", "tumour_dna", "fail", "x"),
        ("a", "a-normal", "normal_dna", "fail", "x"),
        ("b", "b-normal", "normal_dna", "fail", "x"),
        ("c", "c-tumour", "tumour_dna", "warn", "x"),
        ("d", "d-rna", "tumour_rna", "fail", "x"),
    ],
    schema=DECISIONS_SCHEMA,
    orient="row",
)


@pytest.mark.parametrize(
    ("kinds", "patients"),
    [
        (["tumour_dna", "normal_dna"], ["a", "b"]),
        (["tumour_dna"], ["a"]),
        (["normal_dna"], ["a", "b"]),
        (["tumour_rna"], ["d"]),
        ([], []),
    ],
)
def test_excluded_patients(kinds, patients):
    assert excluded_patients(DECISIONS, kinds) == patients


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="tumor_dna"):
        excluded_patients(DECISIONS, ["tumor_dna"])


def test_patients_leave_rows_and_columns():
    assert without_patients(ASSESSED, ["a", "z"])["patient"].to_list() == ["b", "c"]
    assert without_patients(ASSESSED, []).equals(ASSESSED)
    assert without_patients(ASSESSED, ["a", "b", "c"]).is_empty()
    assert without_patients(GENE_COUNTS, ["b", "z"]).columns == ["gene_id", "gene_name", "a"]
    assert without_patients(GENE_COUNTS, ["a", "b"]).shape == (3, 2)


def test_a_sample_without_counts_fails_whatever_the_limits():
    counts = GENE_COUNTS.with_columns(pl.lit(0.0).alias(GENE_COUNTS.columns[2]))
    patient = GENE_COUNTS.columns[2]
    metrics = expression_quality(counts, SAMPLES["tumour_rna"])
    decisions = decide_samples(judge_metrics(metrics, {}), SAMPLES)
    found = dict(decisions.select("patient", "decision").iter_rows())
    assert found.pop(patient) == "fail"
    assert set(found.values()) <= {"pass"}
    assert excluded_patients(decisions, ["tumour_rna"]) == [patient]
    reasons = decisions.filter(patient=patient)["reasons"].item()
    assert "fail: library size 0.0 (above 0)" in reasons


@pytest.mark.parametrize("metric", ["cells_kept", "protein_usable_values", "library_size"])
def test_a_sample_of_which_nothing_is_left_fails_without_a_limit(metric):
    metrics = pl.concat(
        [metric_rows("a", "a-s", "x", {metric: 0}), metric_rows("b", "b-s", "x", {metric: 1})]
    )
    decisions = decide_samples(
        judge_metrics(metrics, {}), {"tumour_protein": {"a": "a-s", "b": "b-s"}}
    )
    assert list(failed_samples(decisions)) == ["a-s"]
    assert excluded_patients(decisions, ["tumour_protein"]) == ["a"]


def test_samples_of_every_assay_are_decided_on():
    assert {kind.split("_", 1)[1] for kind in KINDS} == set(get_args(Assay)) == set(ASSAYS)
    frame = pl.DataFrame({"kind": KINDS})
    assert frame.select(assay_of_kind()).to_series().to_list() == ["dna", *ASSAYS]


def test_distances_are_robust_standard_deviations_of_the_distance_from_medians():
    rng = np.random.default_rng(8)
    values = rng.normal(0, 1, (40, 15)) * rng.uniform(1, 3, (1, 15))
    distance = np.linalg.norm(values - np.median(values, axis=1, keepdims=True), axis=0)
    centred = distance - np.median(distance)
    expected = centred / median_abs_deviation(distance, scale="normal")
    np.testing.assert_allclose(distance_scores(values), expected, rtol=1e-4)
    # A feature that few samples have is not looked at; a sample that is not there has no score.
    rare = np.full((1, 15), np.nan)
    rare[0, :7] = 1000.0 * np.arange(7)
    absent = np.full((41, 1), np.nan)
    scores = distance_scores(np.hstack([np.vstack([values, rare]), absent]))
    np.testing.assert_allclose(scores[:-1], expected, rtol=1e-4)
    assert np.isnan(scores[-1])


def test_distances_among_few_or_equal_samples_are_unknown():
    rng = np.random.default_rng(9)
    values = rng.normal(size=(30, MINIMUM_SAMPLES))
    assert np.isfinite(distance_scores(values)).all()
    assert np.isnan(distance_scores(values[:, 1:])).all()
    assert np.isnan(distance_scores(np.ones((30, 12)))).all()
    assert np.isnan(distance_scores(np.full((30, 12), np.nan))).all()
    # Every sample has a value, but no feature has one in most samples.
    scattered = np.full((12, 12), np.nan)
    np.fill_diagonal(scattered, 1.0)
    assert np.isnan(distance_scores(scattered)).all()
