"""No minimum and no maximum is ever released, neither as a statistic nor as an edge of a bin."""

import dataclasses
from typing import get_args

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.statistics import STATISTICS, Statistic
from ihdsi.study import ClinicalVariable, DisclosureSettings, QualityMetric
from ihdsi.summaries import TABLES
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.mutation_burden import build_mutation_burden
from ihdsi.summaries.qc_profile import build_qc_profile
from ihdsi.summaries.table import Column
from judged_features import nobody_makes_up
from somatic_mutations import missense

#: Statistics that are some patient's value, in the words of contracts.
ORDER_STATISTICS = (
    *("min", "max", "range", "median", "quantile", "percentile", "quartile", "mode", "first"),
    *("last", "extreme", "outlier"),
)
AGES = ClinicalVariable(type="number", unit="a", bins=(40.0, 55.0, 65.0, 75.0))


def test_every_statistic_of_every_table_is_declared_and_none_is_an_order_statistic():
    statistics = {
        (table, column.name)
        for table, spec in TABLES.items()
        for column in spec.columns
        if column.role == "statistic"
    }
    assert statistics == set(STATISTICS)
    assert set(STATISTICS.values()) <= set(get_args(Statistic))
    words = [*get_args(Statistic), *(column for _, column in STATISTICS)]
    for word in words:
        assert not set(word.split("_")) & {w + s for w in ORDER_STATISTICS for s in ("", "imum")}


def test_a_maximum_cannot_leave(monkeypatch):
    """A column that somebody adds to a table has no kind, so it is refused."""
    spec = TABLES["mutation_burden"]
    maximum = Column("maximum", pl.Float64, "statistic", description="Largest burden.")
    monkeypatch.setitem(
        TABLES, "mutation_burden", dataclasses.replace(spec, columns=(*spec.columns, maximum))
    )
    table = pl.DataFrame(
        [("all_mutations", "1/Mb", "all", "all", 30, 3.0, 1.0, 9.0)],
        schema=TABLES["mutation_burden"].schema,
        orient="row",
    )
    with pytest.raises(ValueError, match="column 'maximum'"):
        apply_disclosure_control({"mutation_burden": table}, DisclosureSettings(), [], {})


def numbers(frame):
    return {
        round(value, 12)
        for column in frame.select(pl.col(pl.Int64, pl.Float64)).get_columns()
        for value in column.drop_nulls()
    }


@pytest.mark.parametrize("seed", range(6))
def test_no_released_number_is_a_patients_value(seed):
    rng = np.random.default_rng(seed)
    patients = [f"p{i}" for i in range(120)]
    ages = np.round(rng.normal(66, 9, 120), 1) + 0.0123
    clinical = pl.DataFrame(
        {"patient": patients, "age": ages, "stage": rng.choice(["low", "high"], 120)}
    )
    variables = {
        "age": AGES,
        "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    }
    profile = build_cohort_profile(clinical, variables, ["stage"])
    megabases = rng.uniform(30, 40, 120)
    mutations = rng.poisson(60, 120)
    variants = missense(np.repeat(patients, mutations))
    assessed = pl.DataFrame({"patient": patients, "callable_megabases": megabases})
    burden = build_mutation_burden(variants, assessed, clinical, ["stage"])
    tables, _ = apply_disclosure_control(
        made := {"cohort_profile": profile, "mutation_burden": burden},
        DisclosureSettings(),
        [],
        {},
        features=nobody_makes_up(made),
    )
    assert tables["cohort_profile"].height > 0
    assert tables["mutation_burden"].height > 0
    assert not numbers(tables["cohort_profile"]) & {round(age, 12) for age in ages}
    values = {round(value, 12) for value in mutations / megabases}
    assert not numbers(tables["mutation_burden"]) & values


@pytest.mark.parametrize("extreme", [-1e6, 39.9, 75.0, 111.5, 1e9])
def test_edges_of_bins_are_the_studys_whatever_the_data_are(extreme):
    """A value beyond all bins is in no bin, and moves no edge and no released row of the bins."""
    ages = np.r_[np.linspace(41, 74, 200), [extreme] * 20]
    clinical = pl.DataFrame({"patient": [f"p{i}" for i in range(ages.size)], "age": ages})
    table = build_cohort_profile(clinical, {"age": AGES}, [])
    cleared, _ = apply_disclosure_control({"cohort_profile": table}, DisclosureSettings(), [], {})
    bins = cleared["cohort_profile"].filter(kind="bin")
    assert bins.height > 0
    assert set(bins["bin_lower"]) | set(bins["bin_upper"]) <= set(AGES.bins)
    assert set(table.drop_nulls("bin_lower")["bin_lower"]) == set(AGES.bins[:-1])
    inside = build_cohort_profile(clinical.head(200), {"age": AGES}, []).filter(kind="bin")
    assert inside["n"].sum() == table.filter(kind="bin")["n"].sum()


@pytest.mark.parametrize("extreme", [-1e6, 1e9])
def test_edges_of_quality_bins_are_the_studys(extreme):
    limit = QualityMetric(assay="dna", unit="%", minimum=0, bins=(0.0, 50.0, 100.0))
    values = np.r_[np.linspace(1, 99, 60), extreme]
    metrics = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(61)],
            "sample": [f"s{i}" for i in range(61)],
            "assay": "dna",
            "metric": "mapped_percent",
            "value": values,
            "unit": "%",
            "status": "pass",
        }
    )
    decisions = pl.DataFrame(
        {"sample": metrics["sample"], "kind": "tumour_dna", "decision": "pass"}
    )
    table = build_qc_profile(metrics, {"mapped_percent": limit}, decisions)
    cleared, _ = apply_disclosure_control({"qc_profile": table}, DisclosureSettings(), [], {})
    bins = cleared["qc_profile"].filter(metric="mapped_percent")
    assert set(bins["bin_lower"]) | set(bins["bin_upper"]) == set(limit.bins)
