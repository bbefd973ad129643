"""Rules, settings, identifiers, log; and that nothing leaves without a rule."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import (
    apply_disclosure_control,
    disclosure_summary,
    refuse_identifiers,
    stricter_of,
)
from ihdsi.disclosure import tables as rules
from ihdsi.disclosure.tables import judging
from ihdsi.errors import InputError
from ihdsi.study import DisclosureOverrides, DisclosureSettings
from ihdsi.summaries import TABLES, empty_table, validate_table
from judged_features import nobody_makes_up

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)


def cleared_of(tables, settings, parameters):
    features = nobody_makes_up(tables)
    return apply_disclosure_control(tables, settings, [], parameters, features=features)


def clear(name, table, settings=SETTINGS, parameters=None, **others):
    return cleared_of({name: table, **others}, settings, parameters or {"c": 3, "e": 3})


def burden(n, variance=1.0):
    return pl.DataFrame(
        {
            "measure": ["nonsynonymous_mutations"],
            "unit": ["1/Mb"],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n": [n],
            "mean": [3.0],
            "variance": [variance],
        }
    )


def effects(n_case, n_control):
    return pl.DataFrame(
        {
            "contrast": ["c"],
            "gene_id": ["ENSG00000000001"],
            "gene_name": ["G"],
            "n_case": [n_case],
            "n_control": [n_control],
            "base_mean": [10.0],
            "log2_fold_change": [1.0],
            "standard_error": [0.5],
            "statistic": [2.0],
            "p_value": [0.05],
        }
    )


def survival(n, n_events):
    return pl.DataFrame(
        {
            "endpoint": ["e"],
            "feature_type": ["expression"],
            "gene_id": ["ENSG00000000001"],
            "gene_name": ["G"],
            "n": [n],
            "n_events": [n_events],
            "log_hazard_ratio": [1.0],
            "standard_error": [0.5],
            "statistic": [2.0],
            "p_value": [0.05],
        }
    )


def alterations(n_altered, n_assessed=40):
    return pl.DataFrame(
        {
            "gene_id": ["ENSG00000000001"],
            "gene_name": ["G"],
            "coding_length": [900],
            "alteration_class": ["any"],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n_assessed": [n_assessed],
            "n_altered": [n_altered],
        }
    )


def model(n=40, n_case=20, n_male=20, n_male_case=10):
    """Tables expression_design and expression_moments of intercept, case and sex."""
    terms = ["intercept", "case", "sex=male"]
    xtx = [[n, n_case, n_male], [n_case, n_case, n_male_case], [n_male, n_male_case, n_male]]
    design = pl.DataFrame(
        [
            ("c", n, a, b, float(xtx[i][j]))
            for i, a in enumerate(terms)
            for j, b in enumerate(terms)
        ],
        schema=TABLES["expression_design"].schema,
        orient="row",
    )
    moments = pl.DataFrame(
        [("c", "ENSG00000000001", "G", n, terms, [1.0, 2.0, 3.0], 4.0)],
        schema=TABLES["expression_moments"].schema,
        orient="row",
    )
    return {"expression_design": design, "expression_moments": moments}


@pytest.mark.parametrize(("n", "left"), [(9, 0), (10, 1)])
def test_minimum_n(n, left):
    cleared, log = clear("mutation_burden", burden(n))
    assert cleared["mutation_burden"].height == left
    assert log["rule"].to_list() == ["minimum_n"] * (1 - left)


def test_a_statistic_without_variation_is_every_patients_value():
    _, log = clear("mutation_burden", burden(30, variance=0.0))
    assert log["rule"].to_list() == ["no_variation"]


def test_a_stratum_without_variation_does_not_follow_from_the_others():
    rows = [burden(60, 2.0), burden(30, 2.0), burden(30, 0.0)]
    table = pl.concat(rows).with_columns(
        stratum_variable=pl.Series(["all", "stage", "stage"]),
        stratum=pl.Series(["all", "low", "high"]),
        # 30 values of mean 4 and variance 2, and 30 times the value 2.
        mean=pl.Series([3.0, 4.0, 2.0]),
        variance=pl.Series([118.0 / 59.0, 2.0, 0.0]),
    )
    cleared, log = clear("mutation_burden", table)
    assert cleared["mutation_burden"]["stratum"].to_list() == ["all"]
    assert sorted(log["rule"]) == ["complementary_suppression", "no_variation"]


def of_values(values, measure="all_mutations", unit="1/Mb", stratum="all"):
    values = pl.Series(values, dtype=pl.Float64)
    return pl.DataFrame(
        {
            "measure": [measure],
            "unit": [unit],
            "stratum_variable": ["all" if stratum == "all" else "stage"],
            "stratum": [stratum],
            "n": [len(values)],
            "mean": [values.mean()],
            "variance": [values.var()],
        }
    )


@pytest.mark.parametrize(
    ("values", "limit", "left"),
    [
        ([0.4] + [0.0] * 29, 0.5, 0),  # the mean is one patient's share
        ([0.9, 0.8] + [0.01] * 28, 0.5, 0),
        ([9.0] + [1.0, 2.0] * 10, 0.5, 1),
        ([9.0] + [1.0, 2.0] * 10, 0.25, 0),
        ([0.4] + [0.0] * 29, 1.0, 1),  # a study of public data
    ],
)
def test_no_patient_dominates_a_mean(values, limit, left):
    changes = {"maximum_contribution": limit}
    if limit == 1.0:
        changes |= {"dominance_k": 1.0, "p_ratio": 0.0}
    settings = SETTINGS.model_copy(update=changes)
    cleared, log = clear("mutation_burden", of_values(values), settings)
    assert cleared["mutation_burden"].height == left
    assert log["rule"].to_list() == ["dominance"] * (1 - left)


def test_no_patient_dominates_what_the_strata_leave_over():
    low, high = [0.1, 0.2, 0.3] * 10, [0.9] + [0.0] * 14
    table = pl.concat(
        of_values(values, "signature_share_apobec", "1", stratum)
        for values, stratum in ((low + high, "all"), (low, "low"), (high, "high"))
    )
    cleared, log = clear("mutation_burden", table)
    assert cleared["mutation_burden"]["stratum"].to_list() == ["all"]
    assert sorted(log["rule"]) == ["complementary_suppression", "dominance"]


@pytest.mark.parametrize(("lacking", "left"), [(0, 1), (1, 0), (4, 0), (5, 1)])
def test_patients_without_a_share_are_a_count(lacking, left):
    shares = of_values([0.1, 0.5] * 15, "signature_share_apobec", "1")
    everyone = of_values([1.0, 2.0] * 15 + [0.0] * lacking)
    cleared, log = clear("mutation_burden", pl.concat([everyone, shares]))
    assert cleared["mutation_burden"].height == 1 + left
    assert log["rule"].to_list() == ["patients_without_estimate"] * (1 - left)
    # Where burdens cannot be told, the denominators of gene alterations tell the same.
    cleared, _ = clear("mutation_burden", shares, gene_alterations=alterations(20, 30 + lacking))
    assert cleared["mutation_burden"].height == left


def test_patients_without_a_share_do_not_follow_from_the_other_strata():
    shares = {"all": [0.1, 0.5] * 25, "low": [0.1, 0.5] * 15, "high": [0.1, 0.5] * 10}
    lacking = {"all": 12, "low": 8, "high": 4}
    table = pl.concat(
        [of_values(v, "signature_share_apobec", "1", s) for s, v in shares.items()]
        + [
            of_values([1.0, 2.0] * (len(v) // 2 + lacking[s] // 2), stratum=s)
            for s, v in shares.items()
        ]
    )
    cleared, log = clear("mutation_burden", table)
    left = cleared["mutation_burden"].filter(measure="signature_share_apobec")
    assert left["stratum"].to_list() == ["all"]
    assert sorted(log["rule"]) == ["complementary_suppression", "patients_without_estimate"]
    assert cleared["mutation_burden"].filter(measure="all_mutations").height == 3


@pytest.mark.parametrize(
    ("n_altered", "zero", "left"),
    [
        (0, True, 1),
        (0, False, 0),
        (1, True, 0),
        (4, True, 0),
        (5, False, 1),
        (35, False, 1),
        (36, True, 0),
        (39, True, 0),
        (40, True, 1),
        (40, False, 0),
    ],
)
def test_minimum_cell_count_of_the_count_and_its_complement(n_altered, zero, left):
    settings = SETTINGS.model_copy(update={"zero_cells_allowed": zero})
    cleared, _ = clear("gene_alterations", alterations(n_altered), settings)
    assert cleared["gene_alterations"].height == left


@pytest.mark.parametrize(("groups", "left"), [((10, 10), 1), ((9, 40), 0), ((40, 9), 0)])
def test_groups_of_effects(groups, left):
    cleared, _ = clear("expression_effects", effects(*groups))
    assert cleared["expression_effects"].height == left


@pytest.mark.parametrize(("parameters", "left"), [(4, 1), (5, 0)])
def test_parameters_per_patient(parameters, left):
    cleared, log = clear("expression_effects", effects(10, 10), parameters={"c": parameters})
    assert cleared["expression_effects"].height == left
    assert log["rule"].to_list() == ["maximum_parameter_share"] * (1 - left)


@pytest.mark.parametrize(
    ("n", "n_events", "rule"),
    [
        (40, 20, None),
        (9, 5, "minimum_n"),
        (40, 4, "minimum_cell_count"),
        (40, 37, "minimum_cell_count"),
        (40, 14, "maximum_parameter_share"),  # three parameters need fifteen events
    ],
)
def test_survival(n, n_events, rule):
    _, log = clear("survival_effects", survival(n, n_events))
    assert log["rule"].to_list() == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({}, True),
        ({"n_male": 31, "n_male_case": 16}, False),  # nine women: their sums would leave
        ({"n_male_case": 4}, False),  # four male cases
        ({"n_male_case": 16}, False),  # sixteen male cases: four male controls
        ({"n_case": 15, "n_male": 26, "n_male_case": 11}, False),  # four female cases
    ],
)
def test_cells_of_the_cross_products(change, left):
    cleared, _ = cleared_of(model(**change), SETTINGS, {"c": 3})
    assert (cleared["expression_design"].height == 9) is left
    assert (cleared["expression_moments"].height == 1) is left


def test_moments_without_their_design_stay():
    tables = model()
    cleared, log = cleared_of(
        {"expression_moments": tables["expression_moments"]}, SETTINGS, {"c": 3}
    )
    assert cleared["expression_moments"].is_empty()
    assert log["rule"].to_list() == ["design_withheld"]
    tables["expression_moments"] = tables["expression_moments"].with_columns(
        n=pl.lit(41, dtype=pl.Int64)
    )
    cleared, _ = cleared_of(tables, SETTINGS, {"c": 3})
    assert cleared["expression_moments"].is_empty()


def qc(counts, n_failed, n_warned=None):
    total = sum(counts)
    return pl.DataFrame(
        {
            "metric": "mapped",
            "assay": "dna",
            "unit": "%",
            "bin_lower": [float(i) for i in range(len(counts))],
            "bin_upper": [float(i + 1) for i in range(len(counts))],
            "n": counts,
            "n_total": total,
            "n_passed": total - n_failed - (n_warned or 0),
            "n_warned": n_warned,
            "n_failed": n_failed,
        },
        schema=TABLES["qc_profile"].schema,
    )


@pytest.mark.parametrize(
    ("counts", "n_failed", "bins", "numbers"),
    [
        ([0, 10, 20], 0, [0, 10, 20], True),
        ([3, 10, 20], 3, [20], False),  # the fails are the small bin
        ([3, 10, 20], 13, [20], True),  # the fails are just the two withheld bins
        ([10, 3, 20], 10, [20], False),  # 10 fails would give the two withheld bins away
        ([3, 2, 4], 0, [], None),
    ],
)
def test_quality(counts, n_failed, bins, numbers):
    cleared, _ = clear("qc_profile", qc(counts, n_failed))
    left = cleared["qc_profile"]
    assert left["n"].to_list() == bins
    if numbers is not None:
        assert left["n_failed"].null_count() == (0 if numbers else left.height)
        assert left["n_passed"].null_count() == (0 if numbers else left.height)


@pytest.mark.parametrize(
    ("counts", "warned", "failed", "bins", "numbers"),
    [
        ([10, 10, 20], 10, 10, [10, 10, 20], True),
        ([0, 10, 20], 10, 0, [0, 10, 20], True),
        ([10, 10, 20], 3, 10, [10, 10, 20], False),  # three warnings are too few
        ([10, 3, 20], 13, 0, [20], True),  # just the two withheld bins
        ([10, 3, 20], 3, 10, [20], False),  # the warnings are the small bin
        # Warnings within a bin: 43 failed, 40 of them in a bin that is released.
        ([10, 40, 3, 0], 5, 43, [40, 0], False),
        ([40, 10, 3, 0], 10, 13, [40, 0], True),
    ],
)
def test_warnings_are_held_back_with_passes_and_fails(
    counts, warned, failed, bins, numbers, monkeypatch
):
    # The smallest bin with samples hides the withheld one.
    order = np.argsort(np.argsort(np.where(np.array(counts) == 0, 99, counts)))
    monkeypatch.setattr(judging, "partner_ranks", lambda key, names: order)
    cleared, _ = clear("qc_profile", qc(counts, failed, warned))
    left = cleared["qc_profile"]
    assert left["n"].to_list() == bins
    for name in ("n_passed", "n_warned", "n_failed"):
        assert left[name].null_count() == (0 if numbers else left.height)


def test_descriptive_moments_are_rounded_and_model_moments_are_not():
    profile = pl.DataFrame(
        {
            "variable": ["age"],
            "kind": ["moments"],
            "level": [None],
            "unit": ["a"],
            "bin_lower": [None],
            "bin_upper": [None],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n": [50],
            "n_total": [50],
            "mean": [67.1234567],
            "standard_deviation": [9.87654321],
        },
        schema=TABLES["cohort_profile"].schema,
    )
    cleared, _ = clear("cohort_profile", profile)
    assert cleared["cohort_profile"].select("mean", "standard_deviation").row(0) == (67.1, 9.88)
    tables = model()
    tables["expression_moments"] = tables["expression_moments"].with_columns(yty=pl.lit(100 / 3))
    cleared, _ = cleared_of(tables, SETTINGS, {"c": 3})
    assert cleared["expression_moments"]["yty"].item() == 100 / 3


def test_all_tables_come_back_valid_and_measured_or_not():
    cleared, log = clear("mutation_burden", burden(30))
    assert list(cleared) == list(TABLES)
    for name, frame in cleared.items():
        validate_table(frame, name)
    assert log.is_empty()


def test_the_log_names_rows_and_the_summary_does_not():
    _, log = clear("gene_alterations", alterations(3))
    assert log.columns == ["table", "rule", "key", "reason"]
    assert json.loads(log["key"].item())["gene_id"] == "ENSG00000000001"
    summary = disclosure_summary(log, SETTINGS)
    assert summary["withheld"] == {"gene_alterations": {"minimum_cell_count": "1 to 9"}}
    assert summary["settings"]["minimum_n"] == 10
    assert "ENSG" not in json.dumps(summary)


def test_no_table_leaves_without_a_rule(monkeypatch):
    monkeypatch.delitem(rules.RULES, "mutation_burden")
    with pytest.raises(ValueError, match="'mutation_burden' has no disclosure rule"):
        clear("mutation_burden", burden(30))
    with pytest.raises(ValueError, match="'patients' has no disclosure rule"):
        clear("patients", pl.DataFrame({"patient": ["p1"]}))


def test_no_column_leaves_without_a_rule(monkeypatch):
    with pytest.raises(ValueError, match="column 'extra'"):
        clear("mutation_burden", burden(30).with_columns(extra=pl.lit(1)))
    spec = TABLES["mutation_burden"]
    columns = tuple(
        dataclasses.replace(c, role="undecided") if c.name == "mean" else c for c in spec.columns
    )
    monkeypatch.setitem(TABLES, "mutation_burden", dataclasses.replace(spec, columns=columns))
    with pytest.raises(ValueError, match="column 'mean'"):
        clear("mutation_burden", burden(30))


@pytest.mark.parametrize(
    ("name", "table"),
    [("expression_effects", effects(40, 40)), ("survival_effects", survival(90, 40))],
)
def test_no_model_leaves_without_its_number_of_parameters(name, table):
    with pytest.raises(ValueError, match="number of parameters"):
        clear(name, table, parameters={"other": 3})


@pytest.mark.parametrize(
    ("identifier", "text", "found"),
    [
        ("LIH-0001", "LIH-0001", True),
        ("LIH-0001", "lih-0001 ", True),
        ("LIH-0001", "tumour of LIH-0001, second", True),
        ("LIH-0001", "LIH-00012", False),
        ("p7", "p7", True),
        ("p7", "p7 gene", False),  # too short to be looked for inside words
        ("reads_R1.fastq.gz", "see reads_R1.fastq.gz", True),
        ("", "anything", False),
    ],
)
def test_identifiers_in_texts(identifier, text, found):
    table = {"gene_alterations": alterations(20).with_columns(gene_name=pl.lit(text))}
    if not found:
        refuse_identifiers(table, [identifier])
        return
    with pytest.raises(InputError) as caught:
        refuse_identifiers(table, [identifier])
    (problem,) = caught.value.problems
    assert (problem.file, problem.column, problem.row) == (
        "summary table gene_alterations",
        "gene_name",
        1,
    )
    assert identifier not in str(caught.value)


def test_identifiers_in_column_names_and_lists():
    with pytest.raises(InputError, match="column 1"):
        refuse_identifiers({"t": pl.DataFrame({"LIH-0001": [1]})}, ["LIH-0001"])
    tables = model()
    tables["expression_moments"] = tables["expression_moments"].with_columns(
        terms=pl.lit(["intercept", "case", "LIH-0001"])
    )
    with pytest.raises(InputError, match="terms"):
        refuse_identifiers(tables, ["LIH-0001"])


def test_patients_named_like_chromosomes_do_not_block_coordinates():
    frame = empty_table("variant_frequencies")
    row = pl.DataFrame(
        [("1", 5, "A", "T", None, None, None, None, None, "all", "all", 40, 20, 80, 15, 5)],
        schema=frame.schema,
        orient="row",
    )
    refuse_identifiers({"variant_frequencies": row}, ["1", "A"])
    with pytest.raises(InputError):
        refuse_identifiers({"variant_frequencies": row}, ["all"])


def test_an_identifier_stops_the_release():
    table = alterations(20).with_columns(gene_name=pl.lit("P-0007"))
    with pytest.raises(InputError):
        apply_disclosure_control({"gene_alterations": table}, SETTINGS, ["P-0007"], {})


def test_a_site_can_only_be_stricter():
    study = DisclosureSettings(zero_cells_allowed=True)
    assert stricter_of(study, DisclosureOverrides()) == study
    looser = DisclosureOverrides(
        minimum_n=3,
        minimum_cell_count=1,
        zero_cells_allowed=True,
        maximum_parameter_share=0.9,
        maximum_contribution=1.0,
        maximum_membership_power=0.5,
        stratified_frequencies=True,
        minimum_residual_degrees_of_freedom=0,
        dominance_n=1,
        dominance_k=1.0,
        p_ratio=0.0,
        maximum_levels_density=1.0,
    )
    assert stricter_of(study, looser) == study
    stricter = DisclosureOverrides(
        minimum_n=20,
        minimum_cell_count=10,
        zero_cells_allowed=False,
        maximum_parameter_share=0.1,
        maximum_contribution=0.3,
        maximum_membership_power=0.07,
        stratified_frequencies=False,
        minimum_residual_degrees_of_freedom=20,
        dominance_n=3,
        dominance_k=0.5,
        p_ratio=0.2,
        maximum_levels_density=0.1,
    )
    stratified = study.model_copy(update={"stratified_frequencies": True})
    assert stricter_of(stratified, looser).stratified_frequencies
    assert not stricter_of(stratified, stricter).stratified_frequencies
    liberal = study.model_copy(update={"membership_false_positive_rate": 0.2})
    assert stricter_of(liberal, stricter).membership_false_positive_rate == 0.2
    combined = stricter_of(study, stricter).model_dump()
    given = stricter.model_dump(exclude_none=True)
    assert {name: combined[name] for name in given} == given
    closed = study.model_copy(update={"zero_cells_allowed": False})
    assert stricter_of(closed, looser).zero_cells_allowed is False


def test_a_sites_preset_only_tightens():
    study = DisclosureSettings(zero_cells_allowed=True)
    combined = stricter_of(study, DisclosureOverrides(preset="acro", minimum_n=12))
    assert (combined.minimum_n, combined.minimum_cell_count) == (12, 10)
    assert combined.zero_cells_allowed is False
    # ACRO bounds neither the share of parameters nor one patient's contribution; the study does.
    assert (combined.maximum_parameter_share, combined.maximum_contribution) == (0.2, 0.5)
    assert stricter_of(study, DisclosureOverrides(preset="datashield")) == study
