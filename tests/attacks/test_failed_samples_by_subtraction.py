"""Subtraction attack on quality: how many samples failed, though n_failed is withheld.

Metrics of one assay have values for different samples: a sample that fails before its cells are
clustered has no share of cells without a type, and a failed sample's patient is in no result. The
attacker subtracts each two released numbers of an assay.
"""

from itertools import combinations, pairwise

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.tables import qc_profile
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES
from ihdsi.summaries.cell_composition import build_cell_composition
from judged_features import nobody_makes_up

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)


def metric(name, counts, n_failed=0, assay="single_cell"):
    total = sum(counts)
    edges = [float(edge) for edge in range(len(counts) + 1)]
    return pl.DataFrame(
        {
            "metric": name,
            "assay": assay,
            "unit": "1",
            "bin_lower": edges[:-1],
            "bin_upper": edges[1:],
            "n": counts,
            "n_total": total,
            "n_passed": total - n_failed,
            "n_warned": 0,
            "n_failed": n_failed,
        },
        schema=TABLES["qc_profile"].schema,
    )


def composition(n):
    shares = np.random.default_rng(0).dirichlet([8.0] * 4, n)
    cells = np.rint(1000 * shares).astype(int)
    counts = pl.DataFrame({"patient": [f"d{i}" for i in range(n)]}).hstack(
        pl.DataFrame(cells, schema=["T", "B", "tumour", "stroma"])
    )
    return build_cell_composition(counts, None, [])


def cell_effects(sizes):
    numbers = {"base_mean": 9.0, "log2_fold_change": 1.0, "standard_error": 0.5, "statistic": 2.0}
    gene = {"contrast": "c", "gene_id": "ENSG00000000001", "gene_name": "G", "p_value": 0.05}
    rows = [
        {"cell_type": name, "n_case": case, "n_control": control} | gene | numbers
        for name, (case, control) in sizes.items()
    ]
    return pl.DataFrame(rows, schema=TABLES["cell_expression_effects"].schema)


def release(*metrics, **results):
    tables = {"qc_profile": pl.concat(metrics), **results}
    return apply_disclosure_control(
        tables, SETTINGS, [], {"c": 4}, features=nobody_makes_up(tables)
    )


def subtracted(cleared, assay="single_cell"):
    """Differences of released numbers of an assay that are below the threshold."""
    profile = cleared["qc_profile"].filter(assay=assay)
    numbers = set(profile["n_total"]) | set(
        profile.drop_nulls("n_failed").select(pl.col("n_total") - pl.col("n_failed")).to_series()
    )
    if assay == "single_cell":
        numbers |= set(cleared["cell_composition"].filter(stratum="all")["n_donors"])
        effects = cleared["cell_expression_effects"]
        numbers |= set(effects["n_case"] + effects["n_control"])
    return {abs(a - b) for a, b in combinations(sorted(numbers), 2)} & set(range(1, 5))


PASSED = metric("cells_passed", [2, 18, 20], 2)
UNASSIGNED = metric("unassigned_percent", [18, 20])


@pytest.fixture
def every_metric_alone(monkeypatch):
    monkeypatch.setattr(qc_profile, "_tell_too_few", lambda *_: [])


@pytest.mark.usefixtures("every_metric_alone")
@pytest.mark.parametrize(
    "tables",
    [
        ([PASSED, UNASSIGNED], {}),
        ([PASSED], {"cell_composition": composition(38)}),
        ([PASSED], {"cell_expression_effects": cell_effects({"T": (19, 19)})}),
    ],
)
def test_the_attack_works_where_each_metric_is_judged_alone(tables):
    metrics, results = tables
    cleared, _ = release(*metrics, **results)
    assert cleared["qc_profile"]["n_failed"].null_count() > 0
    assert subtracted(cleared) == {2}


def test_samples_that_failed_before_clustering_do_not_follow():
    cleared, log = release(PASSED, UNASSIGNED)
    assert set(cleared["qc_profile"]["metric"]) == {"cells_passed"}
    assert subtracted(cleared) == set()
    assert set(log.filter(rule="numbers_of_samples")["table"]) == {"qc_profile"}
    # What is withheld as a whole has no numbers that were set to null.
    assert not log.filter(pl.col("key").str.contains("unassigned"), rule="passed_and_failed").height


@pytest.mark.parametrize(
    "results",
    [
        {"cell_composition": composition(38)},
        {"cell_expression_effects": cell_effects({"T": (19, 19)})},
    ],
)
def test_results_leave_before_quality(results):
    cleared, _ = release(PASSED, UNASSIGNED, **results)
    assert all(cleared[name].height == table.height for name, table in results.items())
    assert set(cleared["qc_profile"]["metric"]) == {"unassigned_percent"}
    assert subtracted(cleared) == set()


def test_results_that_do_not_leave_hold_nothing_back():
    cleared, _ = release(PASSED, cell_expression_effects=cell_effects({"T": (9, 29)}))
    assert set(cleared["qc_profile"]["metric"]) == {"cells_passed"}


def test_those_who_fail_between_two_metrics_do_not_follow():
    # Six failed, five of them before clustering: the sixth by the share of unassigned cells.
    metrics = metric("failed_limits", [34, 6], 6), metric("unassigned_percent", [35])
    cleared, _ = release(*metrics)
    assert set(cleared["qc_profile"]["metric"]) == {"failed_limits"}
    assert subtracted(cleared) == set()


def test_equal_and_distant_numbers_leave():
    metrics = [
        metric("cells_passed", [20, 20]),
        metric("median_counts_per_cell", [15, 25]),
        metric("unassigned_percent", [15, 20]),
        metric("protein_median_value", [15, 20], assay="protein"),
        metric("protein_usable_values", [15, 23], assay="protein"),
    ]
    cleared, _ = release(*metrics, cell_composition=composition(35))
    assert cleared["qc_profile"].filter(assay="single_cell").height == 6
    # Of two assays the numbers are no differences, of two metrics of one assay they are.
    assert set(cleared["qc_profile"].filter(assay="protein")["metric"]) == {"protein_usable_values"}


@pytest.mark.parametrize("seed", range(20))
def test_no_small_number_follows_from_random_profiles(seed):
    rng = np.random.default_rng(seed)
    metrics = []
    for index in range(6):
        counts = rng.integers(5, 25, 3)
        failed = int(rng.choice([0, counts[0], counts[0] + counts[1]]))
        metrics.append(metric(f"m{index}", counts.tolist(), failed))
    cleared, _ = release(*metrics, cell_composition=composition(int(rng.integers(20, 50))))
    profile = cleared["qc_profile"]
    totals = sorted({*profile["n_total"], *cleared["cell_composition"]["n_donors"]})
    assert profile.height
    assert all(b - a >= SETTINGS.minimum_cell_count for a, b in pairwise(totals))
