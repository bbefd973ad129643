"""Builders against counts by hand and independent software."""

import lifelines
import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.quality_control import without_patients
from ihdsi.study import ClinicalVariable, Contrast, Endpoint, QualityMetric, load_study
from ihdsi.summaries import validate_table
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.design import aliased_terms, contrast_design, model_parameters
from ihdsi.summaries.expression_effects import estimate_expression_effects
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.gene_alterations import COPY_NUMBER, build_gene_alterations
from ihdsi.summaries.mutation_burden import build_mutation_burden
from ihdsi.summaries.qc_profile import build_qc_profile
from ihdsi.summaries.survival_effects import estimate_survival_effects

VARIABLES = {
    "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
    "stage": ClinicalVariable(type="categorical", levels=("low", "high", "never seen")),
    "age": ClinicalVariable(type="number", unit="a", bins=(40, 60, 80)),
    "time": ClinicalVariable(type="number", unit="d"),
    "event": ClinicalVariable(type="categorical", levels=("no", "yes")),
}
CLINICAL = pl.DataFrame(
    {
        "patient": ["a", "b", "c", "d", "e"],
        "sex": ["female", "male", "male", None, "male"],
        "stage": ["low", "low", "high", "high", None],
        "age": [40.0, 60.0, 59.0, 80.0, None],
    }
)


def row(frame, **where):
    found = frame.filter(*(pl.col(name).eq_missing(pl.lit(value)) for name, value in where.items()))
    assert found.height == 1
    return found.row(0, named=True)


def test_cohort_profile():
    profile = build_cohort_profile(CLINICAL, VARIABLES, ["stage"])
    validate_table(profile, "cohort_profile")
    male = row(profile, variable="sex", level="male", stratum="all")
    assert (male["n"], male["n_total"]) == (3, 4)
    assert row(profile, variable="sex", level="male", stratum="high")["n"] == 1
    assert row(profile, variable="stage", level="never seen", stratum="all")["n"] == 0
    assert profile.filter(variable="stage", stratum_variable="stage").is_empty()
    age = row(profile, variable="age", kind="moments", stratum="all")
    known = [40.0, 60.0, 59.0, 80.0]
    assert age["n"] == age["n_total"] == 4
    assert age["mean"] == pytest.approx(np.mean(known))
    assert age["standard_deviation"] == pytest.approx(np.std(known, ddof=1))
    bins = profile.filter(variable="age", kind="bin", stratum="all").sort("bin_lower")
    assert bins["n"].to_list() == [2, 1]  # 80 is outside the half-open bins, but is counted in
    assert bins["n_total"].to_list() == [4, 4]
    assert profile["unit"].drop_nulls().unique().to_list() == ["a"]


def test_qc_profile_has_open_outer_bins():
    limits = {
        "mapped": QualityMetric(
            assay="dna", unit="%", minimum=90, warn_minimum=95, bins=(80, 90, 100)
        ),
        "depth": QualityMetric(assay="dna", unit="1", bins=(0, 10)),
    }
    metrics = pl.DataFrame(
        {
            "patient": list("abcde"),
            "sample": list("abcde"),
            "assay": "dna",
            "metric": ["mapped"] * 4 + ["depth"],
            "value": [10.0, 90.0, 95.0, 100.0, 3.0],
            "unit": "%",
            "status": ["fail", "warn", "pass", "pass", "unlimited"],
        }
    )
    decisions = pl.DataFrame(
        {
            "sample": list("abcdef"),
            "kind": ["tumour_dna", "normal_dna"] * 2 + ["tumour_dna", "tumour_rna"],
            "decision": ["fail", "warn", "pass", "pass", "pass", "pass"],
        }
    )
    profile = build_qc_profile(metrics, limits, decisions)
    validate_table(profile, "qc_profile")
    mapped = profile.filter(metric="mapped")
    assert mapped["n"].to_list() == [1, 3]
    numbers = ("n_total", "n_passed", "n_warned", "n_failed")
    assert mapped.select(numbers).row(0) == (4, 2, 1, 1)
    depth = row(profile, metric="depth")
    assert (depth["n"], depth["n_passed"], depth["n_failed"]) == (1, None, None)
    # Samples by the number of limits that they fail, and by decision.
    failed = profile.filter(metric="failed_limits", assay="dna")
    assert failed["n"].to_list() == [4, 1, 0, 0]
    assert failed.select(numbers).unique().row(0) == (5, 3, 1, 1)
    assert profile.filter(metric="failed_limits", assay="rna")["n"].to_list() == [1, 0, 0, 0]


def test_samples_of_every_assay_have_rows_of_their_own():
    """Failed limits are counted by the assay of the sample's kind, whatever was measured of it."""
    limits = {
        "cells_passed": QualityMetric(assay="single_cell", unit="1", minimum=9, bins=(0, 9, 99)),
        "protein_missing_percent": QualityMetric(assay="protein", unit="%", bins=(0, 50, 100)),
        "methylation_missing_percent": QualityMetric(
            assay="methylation", unit="%", bins=(0, 50, 100)
        ),
    }
    metrics = pl.DataFrame(
        {
            "patient": list("abc"),
            "sample": ["a-C", "b-C", "c-P"],
            "assay": ["single_cell", "single_cell", "protein"],
            "metric": ["cells_passed", "cells_passed", "protein_missing_percent"],
            "value": [5.0, 50.0, 60.0],
            "unit": ["1", "1", "%"],
            "status": ["fail", "pass", "unlimited"],
        }
    )
    decisions = pl.DataFrame(
        {
            "sample": ["a-C", "b-C", "c-P"],
            "kind": ["tumour_single_cell", "tumour_single_cell", "tumour_protein"],
            "decision": ["fail", "pass", "pass"],
        }
    )
    profile = build_qc_profile(metrics, limits, decisions)
    validate_table(profile, "qc_profile")
    assert profile.select("assay", "metric").unique().sort(pl.all()).rows() == [
        ("protein", "failed_limits"),
        ("protein", "protein_missing_percent"),
        ("single_cell", "cells_passed"),
        ("single_cell", "failed_limits"),
    ]
    cells = profile.filter(assay="single_cell", metric="failed_limits")
    assert cells["n"].to_list() == [1, 1, 0, 0]
    assert cells.select("n_total", "n_passed", "n_failed").row(0) == (2, 1, 1)
    assert profile.filter(metric="protein_missing_percent")["n"].to_list() == [0, 1]


def test_a_sample_that_fails_many_limits_is_in_the_last_bin():
    metrics = pl.DataFrame(
        {
            "patient": "a",
            "sample": "a",
            "assay": "dna",
            "metric": [f"m{number}" for number in range(9)],
            "value": 1.0,
            "unit": "1",
            "status": "fail",
        }
    )
    decisions = pl.DataFrame({"sample": ["a"], "kind": ["normal_dna"], "decision": ["fail"]})
    profile = build_qc_profile(metrics, {}, decisions)
    validate_table(profile, "qc_profile")
    assert profile["n"].to_list() == [0, 0, 0, 1]
    assert set(profile["n_failed"]) == {1}


def test_qc_profile_without_warning_limits_and_without_samples():
    limits = {"mapped": QualityMetric(assay="dna", unit="%", minimum=90, bins=(80, 90, 100))}
    metrics = pl.DataFrame(
        {"patient": "a", "sample": "a", "assay": "dna", "metric": ["mapped"], "value": 99.0}
        | {"unit": "%", "status": "pass"}
    )
    decisions = pl.DataFrame({"sample": ["a"], "kind": ["normal_dna"], "decision": ["pass"]})
    profile = build_qc_profile(metrics, limits, decisions).filter(metric="mapped")
    assert profile.select("n_passed", "n_warned", "n_failed").row(0) == (1, None, 0)
    nothing = build_qc_profile(metrics.clear(), limits, decisions.clear())
    validate_table(nothing, "qc_profile")
    assert nothing.is_empty()


VARIANTS = pl.DataFrame(
    {
        "patient": ["a", "a", "a", "b", "c", "c", "d"],
        "chromosome": "1",
        "position": [1, 2, 2, 3, 4, 5, 6],
        "reference_allele": "A",
        "alternate_allele": "G",
        "gene_id": [f"ENSG0000000000{g}" for g in (1, 1, 2, 1, 1, 2, 9)],
        "gene_name": "x",
        "alteration_class": [
            "missense",
            "missense",
            "truncating",
            "truncating",
            "synonymous",
            "noncoding",
            "missense",
        ],
    }
)
ASSESSED = pl.DataFrame(
    {"patient": list("abcde"), "callable_megabases": [1.0, 2.0, 1.0, None, 2.0]}
)
CATALOGUE = pl.DataFrame(
    {
        "gene_id": [f"ENSG0000000000{g}" for g in (1, 2, 3)],
        "gene_name": ["G1", "G2", None],
        "coding_length": [900, None, 300],
    }
)


def test_gene_alterations():
    table = build_gene_alterations(VARIANTS, ASSESSED, CATALOGUE, CLINICAL, ["stage"])
    validate_table(table, "gene_alterations")
    assert table.height == 3 * 7 * 3

    def altered(gene, kind, stratum):
        found = row(table, gene_id=gene, alteration_class=kind, stratum=stratum)
        return found["n_altered"], found["n_assessed"]

    assert altered("ENSG00000000001", "any", "all") == (2, 5)
    assert altered("ENSG00000000001", "missense", "all") == (1, 5)  # two variants, one patient
    assert altered("ENSG00000000001", "truncating", "low") == (1, 2)
    assert altered("ENSG00000000002", "any", "high") == (0, 2)  # non-coding does not count
    assert altered("ENSG00000000003", "any", "all") == (0, 5)
    only = build_gene_alterations(
        VARIANTS, ASSESSED, CATALOGUE, None, ["stage"], genes=["ENSG00000000002"]
    )
    assert only.height == 7


def test_a_variant_counts_in_its_most_specific_class():
    """Patient a has a hotspot and a missense in one gene, c a promoter variant."""
    variants = VARIANTS.with_columns(
        alteration_class=pl.Series(
            ["hotspot", "missense", "splice", "hotspot", "promoter", "promoter", "missense"]
        )
    )
    table = build_gene_alterations(
        variants, ASSESSED, CATALOGUE, CLINICAL, ["stage"], promoter_genes={"G1"}
    )
    validate_table(table, "gene_alterations")
    whole = table.filter(stratum="all", gene_id="ENSG00000000001")
    counts = dict(whole.select("alteration_class", "n_altered").iter_rows())
    assert counts == {
        "any": 2,  # without the promoter's patient
        "hotspot": 2,
        "missense": 1,
        "truncating": 0,
        "inframe": 0,
        "splice": 0,
        "other": 0,
        "promoter": 1,
    }
    # Where no promoter can be placed, nobody looked: there is no row rather than a zero.
    assert set(table.filter(alteration_class="promoter")["gene_id"]) == {"ENSG00000000001"}


COPY_NUMBERS = pl.DataFrame(
    [
        (patient, f"ENSG0000000000{gene}", f"G{gene}", kind)
        for gene, kinds in ((1, "gain neutral deletion"), (7, "amplification amplification loss"))
        for patient, kind in zip("abe", kinds.split(), strict=True)
    ],
    schema=["patient", "gene_id", "gene_name", "copy_number_class"],
    orient="row",
)


def test_copy_numbers_count_those_measured():
    table = build_gene_alterations(
        VARIANTS, ASSESSED, CATALOGUE, CLINICAL, ["stage"], copy_number=COPY_NUMBERS
    )
    validate_table(table, "gene_alterations")
    copies = table.filter(pl.col("alteration_class").is_in(COPY_NUMBER))
    # Four classes, zeros included, of the two genes that were measured (one is no catalogue gene).
    assert copies.filter(stratum="all").height == 2 * 4
    assert copies.filter(stratum="all")["n_assessed"].unique().to_list() == [3]
    altered = copies.filter(pl.col("n_altered") > 0, stratum="all")
    assert {
        (gene, kind): n
        for gene, kind, n in altered.select("gene_id", "alteration_class", "n_altered").iter_rows()
    } == {
        ("ENSG00000000001", "gain"): 1,
        ("ENSG00000000001", "deletion"): 1,
        ("ENSG00000000007", "amplification"): 2,
        ("ENSG00000000007", "loss"): 1,
    }
    first = copies.filter(gene_id="ENSG00000000001")
    assert first["coding_length"].unique().to_list() == [900]
    assert copies.filter(gene_id="ENSG00000000007")["gene_name"].unique().to_list() == ["G7"]
    # Copy numbers are no protein-altering variants.
    without = build_gene_alterations(VARIANTS, ASSESSED, CATALOGUE, CLINICAL, ["stage"])
    assert table.filter(~pl.col("alteration_class").is_in(COPY_NUMBER)).equals(without)


def test_nobody_with_copy_numbers():
    table = build_gene_alterations(
        VARIANTS, ASSESSED, CATALOGUE, None, [], copy_number=COPY_NUMBERS.clear()
    )
    assert not table["alteration_class"].is_in(COPY_NUMBER).any()


def test_a_patient_with_variants_must_be_assessed():
    with pytest.raises(InputError, match="1 patients have somatic variants"):
        build_gene_alterations(VARIANTS, ASSESSED.head(3), CATALOGUE, None, [])


def test_mutation_burden():
    table = build_mutation_burden(VARIANTS, ASSESSED, CLINICAL, ["stage"])
    validate_table(table, "mutation_burden")
    whole = row(table, stratum="all", measure="nonsynonymous_mutations")
    burden = [2.0, 0.5, 0.0, 0.0]  # a: two variants (one in two genes); d: territory unknown
    assert whole["n"] == 4
    assert whole["mean"] == pytest.approx(np.mean(burden))
    assert whole["variance"] == pytest.approx(np.var(burden, ddof=1))
    assert table.filter(stratum="high").is_empty()  # one patient has no variance
    # With the non-coding and the synonymous one.
    every = row(table, stratum="all", measure="all_mutations")
    counts = VARIANTS.unique(["patient", "position"]).group_by("patient").len()
    values = ASSESSED.drop_nulls().join(counts, on="patient", how="left")
    expected = (values["len"].fill_null(0) / values["callable_megabases"]).to_numpy()
    assert (every["n"], every["unit"]) == (4, "1/Mb")
    assert every["mean"] == pytest.approx(expected.mean())
    assert every["mean"] > whole["mean"]
    assert every["variance"] == pytest.approx(expected.var(ddof=1))


def test_signature_shares():
    shares = {"a": (0.5, 0.3, 0.2), "b": (0.1, 0.1, 0.8), "c": (0.0, 0.0, 1.0)}
    exposures = pl.DataFrame(
        [
            (patient, signature, share * 50, share, 50)
            for patient, row in shares.items()
            for signature, share in zip(("SBS2", "SBS13", "SBS5"), row, strict=True)
        ],
        schema=["patient", "signature", "exposure", "share", "n_mutations"],
        orient="row",
    )
    groups = {"apobec": ("SBS2", "SBS13"), "whole": ("SBS2", "SBS13", "SBS5")}
    table = build_mutation_burden(VARIANTS, ASSESSED, CLINICAL, ["stage"], exposures, groups)
    validate_table(table, "mutation_burden")
    apobec = row(table, stratum="all", measure="signature_share_apobec")
    assert (apobec["n"], apobec["unit"]) == (3, "1")
    assert apobec["mean"] == pytest.approx(np.mean([0.8, 0.2, 0.0]))
    assert apobec["variance"] == pytest.approx(np.var([0.8, 0.2, 0.0], ddof=1))
    low = row(table, stratum="low", measure="signature_share_apobec")
    assert (low["n"], low["mean"]) == (2, pytest.approx(0.5))
    assert row(table, stratum="all", measure="signature_share_whole")["mean"] == pytest.approx(1)
    # The burdens are those without signatures.
    alone = build_mutation_burden(VARIANTS, ASSESSED, CLINICAL, ["stage"])
    assert table.filter(unit="1/Mb").equals(alone)
    # Patients of unknown territory (a MAF without targets) have shares and no burden.
    unknown = ASSESSED.with_columns(callable_megabases=pl.lit(None, dtype=pl.Float64))
    only = build_mutation_burden(VARIANTS, unknown, CLINICAL, [], exposures, groups)
    assert only["measure"].to_list() == ["signature_share_apobec", "signature_share_whole"]
    # A patient who is left out by quality control is no longer among the assessed.
    without = ASSESSED.filter(pl.col("patient") != "a")
    fewer = build_mutation_burden(VARIANTS, without, CLINICAL, [], exposures, groups)
    assert row(fewer, measure="signature_share_apobec")["mean"] == pytest.approx(0.1)
    nobody = build_mutation_burden(
        VARIANTS.clear(), ASSESSED.clear(), None, [], exposures.clear(), groups
    )
    validate_table(nobody, "mutation_burden")
    assert nobody.is_empty()


@pytest.mark.parametrize(
    ("measure", "unit", "mean", "message"),
    [
        ("signature_share_apobec", "1/Mb", 0.5, "have the unit 1"),
        ("all_mutations", "1", 5.0, "have the unit 1"),
        ("signature_share_apobec", "1", 1.5, "at most 1"),
        ("signature_SBS2", "1", 0.5, "does not match"),
        ("mutations", "1/Mb", 0.5, "does not match"),
    ],
)
def test_a_burden_that_breaks_its_contract(measure, unit, mean, message):
    table = pl.DataFrame(
        {"measure": [measure], "unit": [unit], "stratum_variable": ["all"], "stratum": ["all"]}
        | {"n": [10], "mean": [mean], "variance": [1.0]}
    )
    with pytest.raises(InputError, match=message):
        validate_table(table, "mutation_burden")


@pytest.fixture(scope="module")
def survival_data():
    rng = np.random.default_rng(11)
    n = 120
    patients = [f"p{i}" for i in range(n)]
    signal = rng.normal(0, 1, n)
    counts = np.vstack([2.0 ** (8 + signal), rng.lognormal(5, 1, (30, n))]).round()
    counts[5] = 0
    clinical = pl.DataFrame(
        {
            "patient": patients,
            "age": rng.normal(68, 9, n),
            "sex": rng.choice(["female", "male"], n),
            "time": np.ceil(rng.exponential(600 * np.exp(-0.8 * signal))),
            "event": rng.choice(["yes", "no"], n, p=[0.7, 0.3]),
        }
    ).with_columns(age=pl.when(pl.col("patient") == "p3").then(None).otherwise("age"))
    genes = pl.DataFrame(
        {"gene_id": [f"ENSG{i:011d}" for i in range(31)], "gene_name": [f"G{i}" for i in range(31)]}
    )
    return genes.hstack(pl.DataFrame(counts, schema=patients)), clinical


ENDPOINTS = {"death": Endpoint(time="time", event="event", covariates=("age", "sex"))}


def test_survival_effects_equal_lifelines(survival_data):
    counts, clinical = survival_data
    table = estimate_survival_effects(counts, clinical, ENDPOINTS, VARIABLES, 10)
    validate_table(table, "survival_effects")
    assert table.height == 30  # the silent gene is not tested
    matrix = counts.drop("gene_id", "gene_name")
    expression = pl.DataFrame(log2_cpm(matrix.to_numpy())[:1].T, schema=["x"]).with_columns(
        patient=pl.Series(matrix.columns)
    )
    frame = clinical.join(expression, on="patient").drop_nulls()
    model = lifelines.CoxPHFitter().fit(
        frame.select(
            "time",
            "age",
            "x",
            event=(pl.col("event") == "yes").cast(pl.Int8),
            male=(pl.col("sex") == "male").cast(pl.Int8),
        ).to_pandas(),
        "time",
        "event",
        fit_options={"precision": 1e-10},
    )
    ours = row(table, gene_id="ENSG00000000000")
    assert ours["n"] == 119
    assert ours["n_events"] == (frame["event"] == "yes").sum()
    assert ours["log_hazard_ratio"] == pytest.approx(model.params_["x"], abs=1e-6)
    assert ours["standard_error"] == pytest.approx(model.standard_errors_["x"], abs=1e-6)
    assert ours["p_value"] == pytest.approx(model.summary.loc["x", "p"], rel=1e-4)
    assert ours["log_hazard_ratio"] > 0.4
    others = table.filter(pl.col("gene_id") != "ENSG00000000000")
    assert (others["p_value"] < 0.01).sum() <= 3


@pytest.mark.parametrize(
    ("n_events", "estimated"),
    [(0, False), (3, False), (4, True)],
    ids=["none", "as many as parameters", "one more"],
)
def test_an_endpoint_needs_more_events_than_parameters(survival_data, caplog, n_events, estimated):
    counts, clinical = survival_data
    # One of the patients has no age and is left out.
    clinical = clinical.sort(pl.col("age").is_null()).with_columns(
        event=pl.Series(["yes"] * n_events + ["no"] * (clinical.height - n_events))
    )
    table = estimate_survival_effects(counts, clinical, ENDPOINTS, VARIABLES, 10)
    assert table.is_empty() != estimated
    reason = f"endpoint death is skipped: {n_events} events do not determine 3 parameters"
    assert (reason in caplog.text) != estimated


def test_covariates_that_determine_each_other_are_named_and_not_the_genes(survival_data, caplog):
    counts, clinical = survival_data
    clinical = clinical.with_columns(
        months=12 * pl.col("age") + 3,
        smoking=pl.when(pl.col("sex") == "male").then(pl.lit("never")).otherwise(pl.lit("current")),
    )
    variables = {
        **VARIABLES,
        "months": ClinicalVariable(type="number", unit="mo"),
        "smoking": ClinicalVariable(type="categorical", levels=("never", "current")),
    }

    def fitted(*covariates):
        endpoint = Endpoint(time="time", event="event", covariates=covariates)
        return estimate_survival_effects(counts, clinical, {"death": endpoint}, variables, 10)

    assert fitted("sex", "age", "months").is_empty()
    assert "death is skipped: the design is rank deficient: months is determined by age\n" in (
        caplog.text
    )
    assert fitted("sex", "smoking").is_empty()
    # Indicators of opposite groups add up to the constant that the baseline hazard takes up.
    assert "smoking=current is determined by intercept, sex=male" in caplog.text
    assert "genes without estimate" not in caplog.text
    assert fitted("sex", "months")["log_hazard_ratio"].null_count() == 0


def test_aliased_terms_are_those_that_earlier_ones_determine():
    rng = np.random.default_rng(0)
    age, weight = rng.normal(68, 9, 30), rng.normal(80, 10, 30)
    matrix = np.column_stack([np.ones(30), age, 2 * age - 3, weight, np.zeros(30), age + weight])
    terms = ["intercept", "age", "double", "weight", "nothing", "sum"]
    assert aliased_terms(terms, matrix) == {
        "double": ("intercept", "age"),
        "nothing": (),
        "sum": ("age", "weight"),
    }
    scaled = matrix * 10.0 ** np.arange(-12, 12, 4)
    assert aliased_terms(terms, scaled) == aliased_terms(terms, matrix)
    matrix[:, 2] += rng.normal(0, 1e-3, 30)
    assert "double" not in aliased_terms(terms, matrix)
    assert aliased_terms([], np.empty((30, 0))) == {}


def test_nobody_is_left_after_quality_control(survival_data):
    counts, clinical = survival_data[:2]
    everyone = [name for name in counts.columns if name not in ("gene_id", "gene_name")]
    left = without_patients(counts, everyone)
    assert left.columns == ["gene_id", "gene_name"]
    effects = estimate_survival_effects(left, clinical, ENDPOINTS, VARIABLES, 10)
    validate_table(effects, "survival_effects")
    contrasts = {"c": Contrast(variable="sex", case="male", control="female")}
    design, moments = build_expression_moments(left, clinical, contrasts, VARIABLES, 10)
    validate_table(design, "expression_design")
    validate_table(moments, "expression_moments")
    differences = estimate_expression_effects(left, clinical, contrasts, VARIABLES, 10, n_cpus=1)
    validate_table(differences, "expression_effects")
    variants = pl.DataFrame(
        {"patient": ["a"], "gene_id": ["ENSG00000000001"], "alteration_class": ["missense"]}
        | {"chromosome": "1", "position": 1, "reference_allele": "A", "alternate_allele": "G"}
    )
    assessed = pl.DataFrame({"patient": ["a"], "callable_megabases": [1.0]})
    catalogue = pl.DataFrame({"gene_id": ["ENSG00000000001"], "gene_name": ["G1"]})
    variants, assessed = (without_patients(table, ["a"]) for table in (variants, assessed))
    alterations = build_gene_alterations(variants, assessed, catalogue, CLINICAL, ["stage"])
    validate_table(alterations, "gene_alterations")
    burden = build_mutation_burden(variants, assessed, CLINICAL, ["stage"])
    validate_table(burden, "mutation_burden")
    tables = (effects, design, moments, differences, alterations, burden)
    assert all(table.is_empty() for table in tables)


def test_an_endpoint_with_few_patients_is_skipped(survival_data, caplog):
    counts, clinical = survival_data
    table = estimate_survival_effects(counts, clinical.head(9), ENDPOINTS, VARIABLES, 10)
    assert table.is_empty()
    assert "fewer than 10" in caplog.text


def test_designs_are_coded_alike_at_all_sites():
    contrast = Contrast(variable="stage", case="high", control="low", covariates=("sex", "age"))
    design = contrast_design(CLINICAL, ["c", "a", "b", "x"], contrast, VARIABLES, full_rank=False)
    assert design.patients == ("c", "a", "b")
    assert design.terms == ("intercept", "case", "sex=male", "age")
    assert design.matrix[:, 1].tolist() == [1, 0, 0]
    assert design.matrix[:, 2].tolist() == [1, 0, 1]
    assert design.matrix[:, 3] == pytest.approx(np.array([59, 40, 60]) - 53)


def test_model_parameters_of_the_demo_study():
    study = load_study("config/studies/demo.yaml")
    assert model_parameters(study) == {"muscle_invasion": 4, "overall_survival": 3}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_patients_changes_no_bit_of_a_mean(seed):
    rng = np.random.default_rng(0)
    n = 400
    clinical = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "age": rng.normal(68, 9, n),
            "stage": rng.choice(["low", "high"], n),
        }
    )
    exposures = pl.DataFrame(
        {"patient": np.repeat(clinical["patient"].to_numpy(), 3), "signature": ["A", "B", "C"] * n}
    ).with_columns(share=pl.Series(rng.dirichlet(np.ones(3), n).ravel()))
    variants = pl.DataFrame(
        {
            "patient": rng.choice(clinical["patient"], 4000),
            "chromosome": "1",
            "position": np.arange(4000),
            "reference_allele": "A",
            "alternate_allele": "T",
            "alteration_class": "missense",
        }
    )
    assessed = clinical.select("patient", callable_megabases=pl.lit(31.7))
    variables = {"age": ClinicalVariable(type="number", unit="a")}

    def tables(order):
        def mixed(frame):
            return frame.sample(fraction=1, shuffle=True, seed=order) if order else frame

        return (
            build_cohort_profile(mixed(clinical), variables, ["stage"]),
            build_mutation_burden(
                mixed(variants),
                mixed(assessed),
                mixed(clinical),
                ["stage"],
                mixed(exposures),
                {"a_and_b": ["A", "B"]},
            ),
        )

    for first, second in zip(tables(0), tables(seed + 1), strict=True):
        assert first.equals(second)
