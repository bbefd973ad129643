"""The pooled survival curve against the Kaplan–Meier curve and the life table of the patients."""

import lifelines
import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.meta.survival_curve import CURVE_SCHEMA, pool_survival_curve
from ihdsi.study import DisclosureSettings, Endpoint
from ihdsi.summaries import empty_table
from ihdsi.summaries.survival_curve import build_survival_curve

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
EDGES = (0, 200, 400, 600, 800, 1000)


def patients(seed, n, rate=700.0):
    rng = np.random.default_rng(seed)
    death, lost = rng.exponential(rate, n), rng.uniform(100, 2000, n)
    return pl.DataFrame(
        {
            "patient": [f"p{seed}_{i}" for i in range(n)],
            "time": np.floor(np.minimum(death, lost)),
            "event": np.where(death < lost, "yes", "no"),
            "stage": rng.choice(["low", "high"], n),
        }
    )


def curve(frame, edges=EDGES, cleared=False):
    endpoints = {"death": Endpoint(time="time", event="event", curve_bins=edges)}
    table = build_survival_curve(frame, endpoints, ["stage"])
    if not cleared:
        return table
    tables = apply_disclosure_control({"survival_curve": table}, SETTINGS, [], {})[0]
    return tables["survival_curve"]


def kaplan_meier(frame, days):
    """Survival just before each day."""
    fit = lifelines.KaplanMeierFitter().fit(frame["time"], frame["event"] == "yes")
    return fit.survival_function_at_times(np.array(days) - 0.5).to_numpy()


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("stratum", ["all", "low", "high"])
def test_kaplan_meier_of_the_patients_lies_within_the_bounds(stratum, cleared):
    # Disclosure control merges bins, at each site other ones; large cohorts keep common edges.
    size = 8 if cleared else 1
    cohorts = [patients(1, 150 * size), patients(2, 90 * size, 500.0), patients(3, 120 * size)]
    tables = {f"s{i}": curve(c, cleared=cleared) for i, c in enumerate(cohorts)}
    pooled = pool_survival_curve(tables).filter(stratum=stratum)
    together = pl.concat(cohorts)
    if stratum != "all":
        together = together.filter(stage=stratum)
    assert pooled.schema == CURVE_SCHEMA
    assert pooled.height >= 2
    assert set(pooled["n_sites"]) == {3}
    truth = kaplan_meier(together, pooled["time_upper"].to_list())
    assert (pooled["kaplan_meier_low"].to_numpy() <= truth + 1e-12).all()
    assert (truth <= pooled["kaplan_meier_high"].to_numpy() + 1e-12).all()
    assert pooled["survival"].to_numpy() == pytest.approx(truth, abs=0.02)
    assert (pooled["confidence_low"] < pooled["survival"]).all()
    assert (pooled["survival"] < pooled["confidence_high"]).all()
    for lower, at_risk in pooled.select("time_lower", "n_at_risk").iter_rows():
        assert at_risk == (together["time"] >= lower).sum()


def test_without_censoring_the_estimate_is_kaplan_meier_with_greenwoods_error():
    frame = patients(4, 200).with_columns(event=pl.lit("yes"))
    pooled = pool_survival_curve({"a": curve(frame[:120]), "b": curve(frame[120:])})
    pooled = pooled.filter(stratum="all")
    fit = lifelines.KaplanMeierFitter().fit(frame["time"], frame["event"] == "yes")
    days = np.array(EDGES[1:]) - 0.5
    assert pooled["survival"].to_numpy() == pytest.approx(fit.survival_function_at_times(days))
    assert pooled["kaplan_meier_low"].to_list() == pytest.approx(pooled["kaplan_meier_high"])
    theirs = fit.confidence_interval_.asof(days).to_numpy()
    assert pooled["confidence_low"].to_numpy() == pytest.approx(theirs[:, 0], rel=1e-6)
    assert pooled["confidence_high"].to_numpy() == pytest.approx(theirs[:, 1], rel=1e-6)


def test_a_life_table_by_hand():
    row = {"endpoint": "death", "stratum_variable": "all", "stratum": "all"}
    bins = [
        {"time_lower": 0.0, "time_upper": 10.0, "n_at_risk": 100, "n_events": 10, "n_censored": 20},
        {"time_lower": 10.0, "time_upper": 20.0, "n_at_risk": 70, "n_events": 7, "n_censored": 0},
        {"time_lower": 20.0, "time_upper": None, "n_at_risk": 63, "n_events": 60, "n_censored": 3},
    ]
    table = pl.DataFrame([row | b for b in bins], schema=empty_table("survival_curve").schema)
    pooled = pool_survival_curve({"a": table})
    first, second = 1 - 10 / 90, (1 - 10 / 90) * 0.9
    assert pooled["survival"].to_list() == pytest.approx([first, second])
    error = second * np.sqrt(10 / (90 * 80) + 7 / (70 * 63))
    assert pooled["standard_error"][1] == pytest.approx(error)
    assert pooled["kaplan_meier_low"].to_list() == pytest.approx([0.875, 0.7875])
    assert pooled["kaplan_meier_high"].to_list() == pytest.approx([0.9, 0.81])


def test_only_edges_that_all_sites_share_are_edges_of_the_pool():
    one, two = patients(5, 80), patients(6, 90)
    ours = curve(one, (0, 200, 400, 600, 1000))
    theirs = curve(two, (0, 400, 500, 600))
    pooled = pool_survival_curve({"a": ours, "b": theirs}).filter(stratum="all")
    assert pooled.select("time_lower", "time_upper").rows() == [(0, 400), (400, 600)]
    together = pl.concat([one, two])
    within = together.filter(pl.col("time") >= 400, pl.col("time") < 600)
    assert pooled["n_events"][1] == within.filter(event="yes").height
    assert pooled["n_censored"][1] == within.filter(event="no").height
    assert pooled["n_at_risk"][1] == (together["time"] >= 400).sum()


def test_a_site_without_edges_does_not_contribute():
    ours = curve(patients(7, 80))
    theirs = (
        curve(patients(8, 80))
        .group_by("endpoint", "stratum_variable", "stratum")
        .agg(
            time_lower=pl.lit(0.0),
            time_upper=pl.lit(None, dtype=pl.Float64),
            n_at_risk=pl.col("n_at_risk").max(),
            n_events=pl.col("n_events").sum(),
            n_censored=pl.col("n_censored").sum(),
        )
    )
    assert pool_survival_curve({"a": ours, "b": theirs}).equals(pool_survival_curve({"a": ours}))


def test_what_follows_a_gap_is_no_part_of_the_curve():
    table = curve(patients(9, 90)).filter(pl.col("time_lower") != 400)
    pooled = pool_survival_curve({"a": table}).filter(stratum="all")
    assert pooled["time_upper"].to_list() == [200, 400]


def test_nobody_and_no_events():
    nothing = empty_table("survival_curve")
    assert pool_survival_curve({"a": nothing}).schema == CURVE_SCHEMA
    alive = patients(10, 50).with_columns(event=pl.lit("no"))
    pooled = pool_survival_curve({"a": curve(alive), "b": nothing}).filter(stratum="all")
    assert pooled["survival"].to_list() == [1.0] * 5
    assert pooled["standard_error"].to_list() == [0.0] * 5
    assert pooled["confidence_low"].null_count() == 5
    dead = patients(11, 50).with_columns(event=pl.lit("yes"), time=pl.lit(250.0))
    pooled = pool_survival_curve({"a": curve(dead)}).filter(stratum="all")
    assert pooled["survival"].to_list() == [1, 0, 0, 0, 0]
    assert pooled["standard_error"].null_count() == 4
