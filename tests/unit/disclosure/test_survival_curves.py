"""Released curves: safe bins, safe differences, nothing lost that a wider bin can tell."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.curve_differences import compare_curves
from ihdsi.disclosure.curves import merge_bins
from ihdsi.disclosure.differencing import EarlierRelease
from ihdsi.study import DisclosureSettings, Endpoint
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.survival_curve import build_survival_curve

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
CLOSED = SETTINGS.model_copy(update={"zero_cells_allowed": False})
ENDPOINTS = {"death": Endpoint(time="time", event="event", curve_bins=(0, 1, 2, 3, 4, 5, 6))}
N_BINS = 7


def unsafe(settings):
    return lambda n: (
        not (n >= settings.minimum_cell_count or (n == 0 and settings.zero_cells_allowed))
    )


def clear(table, settings=SETTINGS):
    cleared, log = apply_disclosure_control({"survival_curve": table}, settings, [], {})
    return cleared["survival_curve"], log


def of_cells(events, censored, **strata):
    """A curve from its cells; `strata` gives the number of patients of each cell by stratum."""
    rows, number = [], 0
    for kind, counts in (("yes", events), ("no", censored)):
        for time, count in enumerate(counts):
            for _ in range(count):
                rows.append((f"p{number}", float(time), kind))
                number += 1
    clinical = pl.DataFrame(rows, schema=["patient", "time", "event"], orient="row")
    return build_survival_curve(clinical, ENDPOINTS, [])


def cohort(seed, n=90, unknown=0):
    rng = np.random.default_rng(seed)
    stage = rng.choice(["low", "high", "third"], n, p=[0.5, 0.35, 0.15]).astype(object)
    stage[:unknown] = None
    rate = np.where(stage == "high", 2.5, 5.0)
    death, lost = rng.exponential(rate), rng.uniform(0, 12, n)
    return pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "time": np.minimum(death, lost),
            "event": np.where(death < lost, "yes", "no"),
            "stage": pl.Series(stage.tolist(), dtype=pl.String),
        }
    )


def test_safe_bins_stay_as_they_are():
    truth = of_cells([5, 6, 7, 8, 9, 5, 5], [0, 5, 5, 6, 9, 5, 10])
    released, log = clear(truth)
    assert released.equals(truth)
    assert log.is_empty()


def test_thin_bins_leave_as_wider_ones():
    truth = of_cells([3, 4, 5, 6, 0, 2, 5], [0, 6, 5, 1, 5, 6, 9])
    released, log = clear(truth)
    assert released.select(
        "time_lower", "time_upper", "n_at_risk", "n_events", "n_censored"
    ).rows() == [
        (0, 2, 57, 7, 6),
        (2, 3, 44, 5, 5),
        (3, 5, 34, 6, 6),
        (5, None, 22, 7, 15),
    ]
    assert set(log["rule"]) == {"merged_bins"}
    assert log.height == 6


def test_a_bin_does_not_end_where_few_events_are_to_come():
    """The events after the edge are known: all events are told elsewhere."""
    released, _ = clear(of_cells([10, 3, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 20]))
    # Ten events within the first bin are fine; that three come later is not.
    assert released.select("time_lower", "time_upper", "n_events").row(0) == (0, 2, 13)


def test_the_curve_ends_where_few_are_at_risk():
    released, log = clear(of_cells([10, 0, 0, 0, 0, 0, 0], [0, 20, 0, 0, 0, 0, 7]))
    # Seven are at risk at the end: a safe count, and too few for a statistic.
    assert released["time_upper"].to_list() == [1, 2]
    assert set(log["rule"]) == {"minimum_n"}
    assert log.height == 5


@pytest.mark.parametrize("settings", [SETTINGS, CLOSED])
@pytest.mark.parametrize(
    ("events", "censored"),
    [
        ((4, 0, 0, 0, 0, 0, 0), (0, 9, 9, 9, 9, 0, 0)),
        ((5, 0, 0, 0, 0, 0, 0), (4, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_nothing_leaves_of_a_cohort_without_safe_totals(events, censored, settings):
    released, log = clear(of_cells(events, censored), settings)
    assert released.is_empty()
    assert log.height == N_BINS


def test_zero_cells_leave_only_where_the_study_allows():
    truth = of_cells([9, 9, 9, 9, 0, 0, 9], [0, 9, 9, 0, 9, 9, 9])
    released, _ = clear(truth, CLOSED)
    assert (released["n_events"] >= 5).all()
    assert (released["n_censored"] >= 5).all()
    assert released["time_upper"].to_list() == [2, 3, 5, None]
    assert clear(truth)[0].height == N_BINS


@pytest.mark.parametrize("settings", [SETTINGS, CLOSED])
@pytest.mark.parametrize("unknown", [0, 3, 15])
@pytest.mark.parametrize("seed", range(6))
def test_every_number_and_every_difference_is_safe(seed, unknown, settings):
    truth = build_survival_curve(cohort(seed, unknown=unknown), ENDPOINTS, ["stage"])
    released, _ = clear(truth, settings)
    assert not released.is_empty()
    least = settings.minimum_cell_count

    def fine(n):
        return n >= least or (n == 0 and settings.zero_cells_allowed)

    assert (released["n_at_risk"] >= settings.minimum_n).all()
    for row in released.iter_rows(named=True):
        cells = truth.filter(stratum=row["stratum"])
        within = cells.filter(
            pl.col("time_lower") >= row["time_lower"],
            pl.col("time_lower") < (row["time_upper"] or np.inf),
        )
        assert (within["n_events"].sum(), within["n_censored"].sum()) == (
            row["n_events"],
            row["n_censored"],
        )
        assert fine(row["n_events"])
        assert fine(row["n_censored"])
    whole = released.filter(stratum="all")
    edges = {0.0, *whole["time_upper"]}
    assert {*released["time_lower"], *released["time_upper"]} <= edges | {None}
    # What the strata leave over, in each bin that a stratum tells.
    strata = released.filter(pl.col("stratum") != "all")
    for lower, upper in strata.select("time_lower", "time_upper").unique().iter_rows():
        told = strata.filter(pl.col("time_lower") == lower, pl.col("time_upper").eq_missing(upper))
        everyone = truth.filter(
            pl.col("time_lower") >= lower,
            pl.col("time_lower") < (upper or np.inf),
            stratum="all",
        )
        n = everyone["n_at_risk"][0] - told["n_at_risk"].sum()
        assert n == 0 or n >= settings.minimum_n
        if n:
            assert fine(everyone["n_events"].sum() - told["n_events"].sum())
            assert fine(everyone["n_censored"].sum() - told["n_censored"].sum())


def pinned(truth, released):
    """Small cells of the strata (or the unknown stratum) that the released rows determine.

    The attacker also knows the events and the censored patients of the whole and, where none of
    them is small, of each stratum: the rules of other tables let no more out.
    """
    names = [s for s in truth["stratum"].unique() if s != "all"]
    columns = [*sorted(names), "unknown"]
    totals = {
        (row["stratum"], kind): row[kind]
        for row in truth.group_by("stratum").agg(pl.col("n_events", "n_censored").sum()).to_dicts()
        for kind in ("n_events", "n_censored")
    }
    hits = []
    for kind in ("n_events", "n_censored"):
        equations, values = [], []

        def knows(strata, first, stop, value, equations=equations, values=values):
            row = np.zeros((N_BINS, len(columns)))
            row[first:stop, [columns.index(s) for s in strata]] = 1
            equations.append(row.ravel())
            values.append(value)

        if not any(0 < totals[s, kind] < SETTINGS.minimum_cell_count for s in names):
            for stratum in names:
                knows([stratum], 0, N_BINS, totals[stratum, kind])
        knows(columns, 0, N_BINS, totals["all", kind])
        for row in released.iter_rows(named=True):
            stop = N_BINS if row["time_upper"] is None else int(row["time_upper"])
            strata = columns if row["stratum"] == "all" else [row["stratum"]]
            knows(strata, int(row["time_lower"]), stop, row[kind])
        cells = {s: truth.filter(stratum=s).sort("time_lower")[kind].to_numpy() for s in names}
        cells["unknown"] = truth.filter(stratum="all").sort("time_lower")[kind].to_numpy() - sum(
            cells.values()
        )
        for column, stratum in enumerate(columns):
            for time in range(N_BINS):
                if not 0 < cells[stratum][time] < SETTINGS.minimum_cell_count:
                    continue
                target = np.zeros((N_BINS, len(columns)))
                target[time, column] = 1
                low, high = (
                    sign
                    * linprog(
                        sign * target.ravel(),
                        A_eq=np.array(equations),
                        b_eq=np.array(values, dtype=float),
                    ).fun
                    for sign in (1, -1)
                )
                if high - low < SETTINGS.minimum_cell_count - 1e-6:
                    hits.append((kind, stratum, time))
    return hits


@pytest.mark.parametrize("unknown", [0, 15])
@pytest.mark.parametrize("seed", range(3))
def test_no_small_cell_follows(seed, unknown):
    truth = build_survival_curve(cohort(seed, unknown=unknown), ENDPOINTS, ["stage"])
    released, _ = clear(truth)
    strata = released.filter(pl.col("stratum") != "all")
    assert strata.height
    assert pinned(truth, released) == []


def test_the_attack_works_where_only_small_cells_are_withheld():
    truth = build_survival_curve(cohort(0), ENDPOINTS, ["stage"])
    small = pl.any_horizontal(pl.col("n_events", "n_censored").is_between(1, 4))
    assert pinned(truth, truth.filter(~small))


def test_a_stratum_is_withheld_with_the_small_one_beside_it():
    counts = np.array([[[20, 4], [20, 0]], [[0, 0], [20, 3]]])
    whole = counts.sum(axis=2)
    runs = merge_bins(counts, unsafe(SETTINGS), 10, whole=whole)
    assert runs == [[], []]
    # Without a whole that is known, the large one stands alone.
    assert merge_bins(counts, unsafe(SETTINGS), 10) == [[(0, 1), (1, 2)], []]


def test_curves_that_do_not_hold_each_patient_once_do_not_leave():
    truth = of_cells([9] * 7, [9] * 7)
    for broken in (
        truth.filter(pl.col("time_upper").is_not_null()),
        truth.with_columns(stratum_variable=pl.lit("stage"), stratum=pl.lit("low")),
    ):
        with pytest.raises(ValueError, match="survival curve"):
            clear(broken)


# --- Earlier releases ----------------------------------------------------------------------------

K = 10


def release(clinical, earlier=(), settings=SETTINGS):
    """Clear the curves of these patients, compared with `earlier` releases."""
    strata = stratify(clinical["patient"], clinical, ["stage"])
    populations = strata.select(
        pl.lit("curve:death").alias("population"),
        "stratum_variable",
        "stratum",
        patient_hash="patient",
    )
    cleared, log = apply_disclosure_control(
        {"survival_curve": build_survival_curve(clinical, ENDPOINTS, ["stage"])},
        settings,
        [],
        {},
        earlier=earlier,
        populations=populations,
    )
    return EarlierRelease(1 + len(earlier), cleared, populations), log


def cumulative(released):
    """Events and censored patients before each edge, by stratum."""
    found = {}
    for row in released.tables["survival_curve"].sort("time_lower").iter_rows(named=True):
        line = found.setdefault(row["stratum"], {0.0: np.zeros(2)})
        upper = np.inf if row["time_upper"] is None else row["time_upper"]
        line[upper] = line[row["time_lower"]] + [row["n_events"], row["n_censored"]]
    return found


def told(first, second):
    """Small differences between two releases over shared edges: stratum or rest, edges, number."""
    before, now = cumulative(first), cumulative(second)
    hits, changes = set(), {}
    for stratum in set(before) & set(now):
        edges = sorted(set(before[stratum]) & set(now[stratum]))
        for start, stop in combinations(edges, 2):
            changes.setdefault((start, stop), {})[stratum] = sum(
                sign * (line[stratum][stop] - line[stratum][start])
                for sign, line in ((1, now), (-1, before))
            )
    for interval, of in changes.items():
        strata = [change for stratum, change in of.items() if stratum != "all"]
        sums = {"sum": sum(strata)} if len(strata) > 1 else {}
        rest = {"rest": of["all"] - sum(strata)} if "all" in of and strata else {}
        for name, change in (of | sums | rest).items():
            for kind, n in zip(("event", "censored"), change, strict=True):
                if 0 < abs(n) < K:
                    hits.add((name, *interval, kind, int(n)))
    return hits


def after_one_death(clinical):
    """The last censored patient of stage low who was seen in the third year dies in the fourth."""
    row = (
        clinical.with_row_index()
        .filter(pl.col("time").is_between(2, 3, closed="left"), stage="low", event="no")["index"]
        .max()
    )
    chosen = pl.int_range(pl.len()) == row
    return clinical.with_columns(
        time=pl.when(chosen).then(3.5).otherwise("time"),
        event=pl.when(chosen).then(pl.lit("yes")).otherwise("event"),
    )


@pytest.mark.parametrize("unknown", [0, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_death_between_two_releases_is_told_by_subtraction_only_without_the_rule(seed, unknown):
    before = cohort(seed, n=1200, unknown=unknown)
    after = after_one_death(before)
    first, _ = release(before)
    hits = told(first, release(after)[0])
    assert ("all", 3.0, 4.0, "event", 1) in hits
    # Bins of the strata are wider, as those of the smallest one have to be.
    assert any(
        (name, kind, n) == ("low", "event", 1) and 0 < start <= 3 and stop >= 4
        for name, start, stop, kind, n in hits
    )
    second, log = release(after, [first])
    assert told(first, second) == set()
    assert set(log.filter(rule="differencing")["key"].str.json_path_match("$.stratum")) >= {
        "all",
        "low",
    }
    # Those without a change leave as before.
    left = second.tables["survival_curve"]
    assert set(left["stratum"]) == {"high", "third"}
    assert left.equals(
        first.tables["survival_curve"].filter(pl.col("stratum").is_in(["high", "third"]))
    )


@pytest.mark.parametrize("seed", range(3))
def test_curves_with_many_new_patients_leave_in_bins_that_changed_by_many(seed):
    everyone = cohort(seed, n=650)
    first, _ = release(everyone.head(350))
    assert told(first, release(everyone)[0])
    second, log = release(everyone, [first])
    assert told(first, second) == set()
    left = second.tables["survival_curve"]
    assert left.filter(stratum="all").height >= 3
    assert {"low", "high"} <= set(left["stratum"])
    assert "merged_bins" in set(log["rule"])
    # A third release is compared with both.
    third, _ = release(everyone.head(649), [first, second])
    assert third.tables["survival_curve"].is_empty()


def test_the_same_patients_have_the_same_curves():
    clinical = cohort(1, n=300, unknown=20)
    first, log = release(clinical)
    again, log_again = release(clinical, [first])
    assert again.tables["survival_curve"].equals(first.tables["survival_curve"])
    assert first.tables["survival_curve"].height > 5
    assert log_again.equals(log)


def line_of(*bins):
    """A curve of the whole cohort from (lower, upper, at risk, events, censored)."""
    columns = ["time_lower", "time_upper", "n_at_risk", "n_events", "n_censored"]
    table = pl.DataFrame(bins, schema=columns, orient="row")
    return table.select(
        pl.lit("death").alias("endpoint"),
        pl.lit("all").alias("stratum_variable"),
        pl.lit("all").alias("stratum"),
        pl.col("time_lower", "time_upper").cast(pl.Float64),
        pl.col("n_at_risk", "n_events", "n_censored"),
    )


@pytest.mark.parametrize(("between", "n_bins"), [(3, 1), (5, 2), (0, 2)])
def test_old_and_new_edges_do_not_enclose_few(between, n_bins):
    """Earlier a bin ended at 1, now it ends at 2: what is between 1 and 2 can be subtracted."""
    before = line_of((0, 1, 100, 20, 20), (1, 3, 60, 30, 30))
    now = line_of((0, 2, 100, 20 + between, 20), (2, 3, 60 - between, 30 - between, 30))
    left = compare_curves(now, [before], K, unsafe(SETTINGS))
    assert left.height == n_bins
    if n_bins == 2:
        assert left.equals(now)
    else:
        assert left.equals(line_of((0, 3, 100, 50, 50)))
