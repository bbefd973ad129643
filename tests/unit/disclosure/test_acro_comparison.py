"""The preset `acro` against the package acro on the same patients.

acro sees every patient, the rules here only counts, sums and sums of squares. On counts, zeros and
degrees of freedom the verdicts are the same; on dominance nothing that acro refuses passes.
"""

import logging

import acro
import numpy as np
import pandas as pd
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, rules
from ihdsi.study import ClinicalVariable, DisclosureSettings
from ihdsi.summaries import TABLES
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.mutation_burden import SPEC as BURDEN
from judged_features import nobody_makes_up

# acro hands pandas functions that a later pandas will treat differently.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SETTINGS = DisclosureSettings(preset="acro")
FREQUENCY = ("MinimumThresholdCheck", "PresenceOfZeroCheck")
MEAN = ("MinimumThresholdCheck", "NKCheck", "PPercentCheck")


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A session of acro; it writes what it is asked about into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("acro"), "disabled", True)
    return acro.ACRO(suppress=False)


def verdicts(session, table, checks):
    """Cells that the last output's checks refuse, by check and the table's labels."""
    output = session.results.get_index(-1)
    found = output.sdc["cells"]
    return {
        check: {(table.index[row], table.columns[column]) for row, column in found[check]}
        for check in checks
    }


def cohort(seed):
    """Patients of levels and strata of very different sizes, and values of different shapes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 260))
    stages, levels = ["a", "b", "c", "d"], ["no", "former", "yes"]
    # Alternating, so that tables with zeros, without dominance and with it all occur.
    stage_share = rng.dirichlet(np.full(4, (0.8, 6.0)[seed % 2]))
    values = [rng.gamma(4, 2, n), rng.gamma(0.15, 1, n), rng.pareto(0.8, n), rng.random(n)][
        seed % 4
    ]
    return pd.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "stage": rng.choice(stages, n, p=stage_share),
            "smoking": rng.choice(levels, n, p=rng.dirichlet(np.full(3, 0.8))),
            "value": values,
            "cohort": "all",
        }
    )


def holds(rule):
    return pl.select(rule).item()


@pytest.mark.parametrize("seed", range(10))
def test_counts_and_zeros(session, seed):
    patients = cohort(seed)
    table = session.crosstab(patients["smoking"], patients["stage"])
    refused = verdicts(session, table, FREQUENCY)
    for level in table.index:
        for stage in table.columns:
            count = int(table.loc[level, stage])
            assert ((level, stage) in refused["PresenceOfZeroCheck"]) == (count == 0)
            anywhere = any((level, stage) in refused[check] for check in FREQUENCY)
            assert holds(rules.safe_count(pl.lit(count), SETTINGS)) is not anywhere
    # The whole of disclosure control withholds more (complements), and nothing less.
    smoking = ClinicalVariable(type="categorical", levels=("no", "former", "yes"))
    profile = build_cohort_profile(pl.from_pandas(patients), {"smoking": smoking}, ["stage"])
    cleared, _ = apply_disclosure_control({"cohort_profile": profile}, SETTINGS, [], {})
    released = {
        (row["level"], row["stratum"]) for row in cleared["cohort_profile"].iter_rows(named=True)
    }
    assert not released & (refused["MinimumThresholdCheck"] | refused["PresenceOfZeroCheck"])


def test_the_tables_of_counts_hold_all_kinds_of_cells():
    counts = [
        pd.crosstab(patients["smoking"], patients["stage"]).to_numpy().ravel()
        for patients in map(cohort, range(10))
    ]
    counts = np.concatenate(counts)
    for kind in (counts == 0, (counts > 0) & (counts < 10), counts >= 10):
        assert kind.sum() > 5


def burden(patients):
    """The summary of the same patients: n, mean and variance by stage."""
    groups = patients.groupby("stage")["value"]
    rows = [("all_mutations", "1/Mb", "all", "all", patients["value"])]
    rows += [("all_mutations", "1/Mb", "stage", stage, values) for stage, values in groups]
    return pl.DataFrame(
        [
            (*key, len(values), values.mean(), values.var(ddof=1))
            for *key, values in rows
            if len(values) > 1
        ],
        schema=BURDEN.schema,
        orient="row",
    )


def compare_means(session, seed):
    """Each stage's refusals: of acro by check, and of the three rules here."""
    patients = cohort(seed)
    table = session.pivot_table(
        patients, values="value", index="stage", columns="cohort", aggfunc="mean"
    )
    refused = verdicts(session, table, MEAN)
    outcome = []
    for stage, values in patients.groupby("stage")["value"]:
        theirs = tuple((stage, "all") in refused[check] for check in MEAN)
        n, total, squares = len(values), values.sum(), (values**2).sum()
        sums = (pl.lit(n), pl.lit(total), pl.lit(squares))
        ours = (
            not holds(rules.enough_patients(pl.lit(n), SETTINGS)),
            not holds(rules.dominance_rule(*sums, SETTINGS)),
            not holds(rules.p_ratio_rule(*sums, SETTINGS)),
        )
        outcome.append((stage, theirs, ours))
    return patients, outcome


def test_means(session):
    """What acro refuses is refused; of what it passes most passes here too."""
    passed = both = 0
    refusals = np.zeros(3, dtype=int)
    for seed in range(24):
        patients, outcome = compare_means(session, seed)
        for _, theirs, ours in outcome:
            assert ours[0] == theirs[0]
            assert ours[1] >= theirs[1]
            assert ours[2] >= theirs[2]
            refusals += theirs
            passed += not any(theirs)
            both += not any(theirs) and not any(ours)
        cleared, _ = apply_disclosure_control(
            table := {"mutation_burden": burden(patients)},
            SETTINGS,
            [],
            {},
            features=nobody_makes_up(table),
        )
        released = set(cleared["mutation_burden"]["stratum"])
        assert not released & {stage for stage, theirs, _ in outcome if any(theirs)}
    assert (refusals > 2).all()
    assert both > 0.8 * passed


@pytest.mark.parametrize(
    ("values", "theirs", "ours"),
    [
        # The two largest and the rest equal among themselves: the bound is exact, and 90 % is
        # refused by both.
        ([45.0, 45.0] + [10.0 / 18] * 18, (True, False), (True, False)),
        ([44.0, 44.0] + [12.0 / 18] * 18, (False, False), (False, False)),
        ([90.0, 5.0] + [5.0 / 18] * 18, (True, True), (True, True)),
        # 89 % by unequal values: others with the same sums would make up more.
        ([69.0, 20.0] + [11.0 / 18] * 18, (False, False), (True, True)),
        ([1.0, 2.0] * 10, (False, False), (False, False)),
    ],
)
def test_dominance_on_known_values(session, values, theirs, ours):
    patients = pd.DataFrame({"value": values, "stage": "a", "cohort": "all"})
    table = session.pivot_table(
        patients, values="value", index="stage", columns="cohort", aggfunc="mean"
    )
    refused = verdicts(session, table, MEAN)
    assert (bool(refused["NKCheck"]), bool(refused["PPercentCheck"])) == theirs
    sums = [pl.lit(s) for s in (len(values), sum(values), sum(v**2 for v in values))]
    dominance, ratio = rules.dominance_rule, rules.p_ratio_rule
    assert (not holds(dominance(*sums, SETTINGS)), not holds(ratio(*sums, SETTINGS))) == ours


@pytest.mark.parametrize(("n", "terms"), [(20, 3), (20, 10), (20, 11), (24, 14), (24, 15)])
def test_degrees_of_freedom(session, n, terms):
    rng = np.random.default_rng(n + terms)
    design = np.column_stack([np.ones(n), rng.normal(size=(n, terms - 1))])
    session.ols(pd.Series(rng.normal(size=n), name="y"), pd.DataFrame(design))
    output = session.results.get_index(-1)
    assert output.properties["dof"] == n - terms
    effects = pl.DataFrame(
        [("c", "ENSG00000000001", "G", n // 2, n - n // 2, 10.0, 1.0, 0.5, 2.0, 0.05)],
        schema=TABLES["expression_effects"].schema,
        orient="row",
    )
    tables = {"expression_effects": effects}
    cleared, log = apply_disclosure_control(
        tables, SETTINGS, [], {"c": terms}, features=nobody_makes_up(tables)
    )
    assert (cleared["expression_effects"].height == 1) == (output.status == "pass")
    assert set(log["rule"]) <= {"minimum_residual_degrees_of_freedom"}
