"""Survival curves against lifelines and counts by hand."""

import lifelines
import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.study import Endpoint
from ihdsi.summaries import validate_table
from ihdsi.summaries.survival_curve import build_survival_curve

EDGES = (0, 100, 250, 400)
ENDPOINTS = {"death": Endpoint(time="time", event="event", curve_bins=EDGES)}
COUNTS = ("n_at_risk", "n_events", "n_censored")


def simulated(seed=1, n=300):
    rng = np.random.default_rng(seed)
    death, lost = rng.exponential(300, n), rng.uniform(20, 700, n)
    return pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            # Whole days make ties with each other and with the edges.
            "time": np.floor(np.minimum(death, lost) / 10) * 10,
            "event": np.where(death <= lost, "yes", "no"),
            "stage": pl.Series(rng.choice(["low", "high", "?"], n)).replace({"?": None}),
        }
    )


def curve_of(table, stratum="all"):
    return table.filter(stratum=stratum).sort("time_lower")


def test_by_hand():
    clinical = pl.DataFrame(
        {
            "patient": list("abcdefgh"),
            "time": [0.0, 99.5, 100.0, 249.0, 400.0, 9000.0, None, 50.0],
            "event": ["yes", "no", "yes", "yes", "no", "yes", "yes", None],
        }
    )
    table = build_survival_curve(clinical, ENDPOINTS, [])
    validate_table(table, "survival_curve")
    assert table["time_upper"].to_list() == [100, 250, 400, None]
    assert table.select(COUNTS).rows() == [(6, 1, 1), (4, 2, 0), (2, 0, 0), (2, 1, 1)]


@pytest.mark.parametrize("stratum", ["all", "low", "high"])
def test_counts_are_those_of_lifelines(stratum):
    clinical = simulated()
    table = build_survival_curve(clinical, ENDPOINTS, ["stage"])
    validate_table(table, "survival_curve")
    frame = clinical if stratum == "all" else clinical.filter(stage=stratum)
    fit = lifelines.KaplanMeierFitter().fit(frame["time"], frame["event"] == "yes")
    theirs = pl.from_pandas(fit.event_table.reset_index()).rename({"event_at": "time"})
    ours = curve_of(table, stratum)
    assert ours.height == len(EDGES)
    for lower, upper, *counts in ours.select("time_lower", "time_upper", *COUNTS).iter_rows():
        within = theirs.filter(pl.col("time") >= lower, pl.col("time") < (upper or np.inf))
        assert counts == [
            within["at_risk"][0] if lower else frame.height,
            within["observed"].sum(),
            within["censored"].sum(),
        ]


def test_patients_of_unknown_stratum_are_in_the_whole_only():
    clinical = simulated()
    table = build_survival_curve(clinical, ENDPOINTS, ["stage"])
    events = table.group_by("stratum").agg(pl.col("n_events").sum())
    sums = dict(events.iter_rows())
    unknown = clinical.filter(pl.col("stage").is_null(), event="yes").height
    assert unknown > 0
    assert sums["all"] == sums["low"] + sums["high"] + unknown


def test_endpoints_without_edges_or_columns_have_no_curve(caplog):
    endpoints = {
        "plain": Endpoint(time="time", event="event"),
        "unknown": Endpoint(time="time", event="relapse", curve_bins=EDGES),
    }
    table = build_survival_curve(simulated(), endpoints, ["stage"])
    validate_table(table, "survival_curve")
    assert table.is_empty()
    assert "endpoint unknown has no curve: no relapse" in caplog.text


def test_nobody():
    table = build_survival_curve(simulated().clear(), ENDPOINTS, ["stage"])
    validate_table(table, "survival_curve")
    assert table.is_empty()


def test_negative_times_are_refused():
    clinical = simulated().with_columns(time=pl.col("time") - 50)
    with pytest.raises(InputError, match="negative time"):
        build_survival_curve(clinical, ENDPOINTS, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_events": 7}, "n_events"),
        ({"time_upper": 300.0}, "do not overlap"),
        ({"n_censored": 0}, "of the bin that follows"),
        ({"time_upper": 0.0}, "not above 0"),
    ],
)
def test_curves_that_contradict_themselves_are_refused(change, message):
    row = {"endpoint": "death", "stratum_variable": "all", "stratum": "all"}
    first = {"time_lower": 0.0, "time_upper": 100.0, "n_at_risk": 6, "n_events": 1, "n_censored": 1}
    second = {"time_lower": 100.0, "time_upper": None}
    rest = {"n_at_risk": 4, "n_events": 2, "n_censored": 2}
    schema = build_survival_curve(simulated().clear(), ENDPOINTS, []).schema
    good = [row | first, row | second | rest]
    validate_table(pl.DataFrame(good, schema=schema), "survival_curve")
    with pytest.raises(InputError, match=message):
        validate_table(pl.DataFrame([good[0] | change, good[1]], schema=schema), "survival_curve")
