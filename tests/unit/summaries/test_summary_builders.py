"""Builders against counts by hand and independent software."""

import lifelines
import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.study import ClinicalVariable, Contrast, Endpoint, QualityMetric, load_study
from ihdsi.summaries import validate_table
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.design import contrast_design, model_parameters
from ihdsi.summaries.gene_alterations import COPY_NUMBER, build_gene_alterations
from ihdsi.summaries.mutation_burden import build_mutation_burden
from ihdsi.summaries.qc_profile import build_qc_profile
from ihdsi.summaries.survival_effects import estimate_survival_effects
from ihdsi.summaries.variant_frequencies import build_variant_frequencies

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
        "mapped": QualityMetric(assay="dna", unit="%", minimum=90, bins=(80, 90, 100)),
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
            "status": ["fail", "pass", "pass", "pass", "unlimited"],
        }
    )
    profile = build_qc_profile(metrics, limits)
    validate_table(profile, "qc_profile")
    mapped = profile.filter(metric="mapped")
    assert mapped["n"].to_list() == [1, 3]
    assert mapped.select("n_total", "n_passed", "n_failed").row(0) == (4, 3, 1)
    depth = row(profile, metric="depth")
    assert (depth["n"], depth["n_passed"], depth["n_failed"]) == (1, None, None)


def test_variant_frequencies():
    genotypes = pl.DataFrame(
        {
            "patient": ["a", "b", "c", "d"] * 2,
            "chromosome": "1",
            "position": [7] * 4 + [9] * 4,
            "reference_allele": "A",
            "alternate_allele": "G",
            "gene_id": "ENSG00000000001",
            "gene_name": "G1",
            "consequence": [None, "missense", "missense", None] * 2,
            "allele_dosage": [0, 1, 2, None, 0, 0, 0, 0],
        }
    )
    table = build_variant_frequencies(genotypes, CLINICAL, ["stage"])
    validate_table(table, "variant_frequencies")
    assert table["position"].unique().to_list() == [7]  # nobody carries the other
    whole = row(table, stratum="all")
    numbers = [
        whole[name]
        for name in (
            "n_samples_called",
            "allele_count",
            "allele_number",
            "n_carriers",
            "n_homozygous",
        )
    ]
    assert numbers == [3, 3, 6, 2, 1]
    assert whole["consequence"] == "missense"
    high = row(table, stratum="high")
    assert (high["n_samples_called"], high["n_carriers"], high["n_homozygous"]) == (1, 1, 1)


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
    whole = row(table, stratum="all")
    burden = [2.0, 0.5, 0.0, 0.0]  # a: two variants (one in two genes); d: territory unknown
    assert whole["n"] == 4
    assert whole["mean"] == pytest.approx(np.mean(burden))
    assert whole["variance"] == pytest.approx(np.var(burden, ddof=1))
    assert table.filter(stratum="high").is_empty()  # one patient has no variance


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


def test_without_events_there_is_no_estimate(survival_data, caplog):
    counts, clinical = survival_data
    clinical = clinical.with_columns(event=pl.lit("no"))
    table = estimate_survival_effects(counts, clinical, ENDPOINTS, VARIABLES, 10)
    validate_table(table, "survival_effects")
    assert table["log_hazard_ratio"].null_count() == table.height == 30
    assert "no events" in caplog.text


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
