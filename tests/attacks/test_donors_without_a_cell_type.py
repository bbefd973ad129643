"""Subtraction attack on effects of cell types: how few donors lack cells of a type.

All types of a contrast have the same donors, but for those with too few cells of the type. So the
numbers of cases and controls of two types that leave tell how many lack one of them, and so do the
numbers of donors behind the shares of cell types.
"""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.tables import models
from ihdsi.study import Contrast, DisclosureSettings
from ihdsi.summaries import TABLES
from ihdsi.summaries.cell_composition import build_cell_composition
from judged_features import nobody_makes_up

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
CONTRASTS = {
    name: Contrast(variable="stage", case="high", control="low") for name in ("stage", "other")
}


def effects(sizes, contrast="stage"):
    numbers = {"base_mean": 9.0, "log2_fold_change": 1.0, "standard_error": 0.5, "statistic": 2.0}
    rows = [
        {"cell_type": name, "contrast": contrast, "gene_id": f"ENSG0000000000{gene}"}
        | {"gene_name": f"G{gene}", "n_case": case, "n_control": control, "p_value": 0.05}
        | numbers
        for name, (case, control) in sizes.items()
        for gene in (1, 2)
    ]
    return pl.DataFrame(rows, schema=TABLES["cell_expression_effects"].schema)


def composition(high, low, unknown=0):
    n = high + low + unknown
    cells = np.rint(1000 * np.random.default_rng(0).dirichlet([8.0] * 4, n)).astype(int)
    donors = pl.DataFrame({"patient": [f"d{i}" for i in range(n)]})
    counts = donors.hstack(pl.DataFrame(cells, schema=["T", "B", "tumour", "stroma"]))
    stage = ["high"] * high + ["low"] * low + [None] * unknown
    clinical = donors.with_columns(stage=pl.Series(stage, dtype=pl.String))
    return build_cell_composition(counts, clinical, ["stage"])


def release(table, shares=None, contrasts=CONTRASTS, settings=SETTINGS, key=b""):
    tables = {"cell_expression_effects": table}
    if shares is not None:
        tables["cell_composition"] = shares
    return apply_disclosure_control(
        tables,
        settings,
        [],
        {"stage": 4, "other": 4},
        features=nobody_makes_up(tables),
        strata=["stage"],
        contrasts=contrasts,
        key=key,
    )


def left(cleared):
    return set(cleared["cell_expression_effects"]["cell_type"])


def few_lacking(cleared):
    """Numbers of donors without cells of a type that are below the threshold."""
    sizes = cleared["cell_expression_effects"].select("contrast", "n_case", "n_control").unique()
    pairs = sizes.join(sizes, on="contrast", suffix="_other")
    shares = cleared["cell_composition"].select("stratum", "n_donors").unique()
    told = [
        *(pairs["n_case"] - pairs["n_case_other"]),
        *(pairs["n_control"] - pairs["n_control_other"]),
        *(n - size for n in shares.filter(stratum="high")["n_donors"] for size in sizes["n_case"]),
        *(
            n - size
            for n in shares.filter(stratum="low")["n_donors"]
            for size in sizes["n_control"]
        ),
        *(
            n - size
            for n in shares.filter(stratum="all")["n_donors"]
            for size in sizes["n_case"] + sizes["n_control"]
        ),
    ]
    return {abs(n) for n in told} & set(range(1, SETTINGS.minimum_cell_count))


LACKING = {"fibroblast": (14, 14), "b_cell": (13, 14)}


def test_the_attack_works_where_each_type_is_judged_alone(monkeypatch):
    monkeypatch.setattr(models, "_mark_groups", lambda judged, *_: judged)
    cleared, _ = release(effects(LACKING))
    assert left(cleared) == {"fibroblast", "b_cell"}
    assert few_lacking(cleared) == {1}
    cleared, _ = release(effects({"b_cell": (13, 14)}), composition(14, 14))
    assert few_lacking(cleared) == {1}


@pytest.mark.parametrize("lacking", [(13, 14), (14, 10), (14, 13)])
def test_a_type_that_few_donors_lack_does_not_leave_beside_the_others(lacking):
    cleared, log = release(effects({"fibroblast": (14, 14), "b_cell": lacking}))
    assert left(cleared) == {"fibroblast"}
    assert few_lacking(cleared) == set()
    assert log["rule"].to_list() == ["donors_without_cells"] * 2


def test_types_with_the_same_donors_leave_and_so_do_those_that_many_lack():
    sizes = {"fibroblast": (24, 24), "tumour": (24, 24), "b_cell": (19, 24), "mast": (24, 14)}
    cleared, log = release(effects(sizes), composition(24, 24))
    assert left(cleared) == set(sizes)
    assert log.is_empty()


def test_a_type_is_compared_with_every_type_that_leaves():
    # Six and eight lack them; but two lack only one of the two.
    sizes = {"fibroblast": (24, 24), "b_cell": (18, 24), "mast": (16, 24)}
    cleared, _ = release(effects(sizes))
    assert left(cleared) == {"fibroblast", "b_cell"}


def test_one_type_does_not_leave_beside_the_donors_of_all_types():
    cleared, _ = release(effects({"b_cell": (13, 14)}), composition(14, 14))
    assert left(cleared) == set()
    assert cleared["cell_composition"].height == 12
    cleared, _ = release(effects({"b_cell": (13, 14)}), composition(13, 14))
    assert left(cleared) == {"b_cell"}


def test_the_whole_cohort_tells_how_many_lack_cells_even_without_strata():
    table, shares = effects({"b_cell": (13, 14)}), composition(14, 14)
    whole = shares.filter(stratum="all")
    assert left(release(table, whole)[0]) == set()
    assert left(release(table, whole, contrasts={})[0]) == set()


def test_contrasts_are_judged_each_by_itself():
    table = pl.concat([effects(LACKING), effects({"b_cell": (13, 14)}, "other")])
    cleared, _ = release(table)
    rows = cleared["cell_expression_effects"].select("contrast", "cell_type").unique().rows()
    assert set(rows) == {("stage", "fibroblast"), ("other", "b_cell")}


def test_of_types_with_as_many_donors_the_key_chooses():
    table = effects({"mast": (13, 14), "b_cell": (14, 13)})
    chosen = {frozenset(left(release(table, key=bytes([k]))[0])) for k in range(12)}
    assert chosen == {frozenset({"mast"}), frozenset({"b_cell"})}


def test_a_study_without_small_numbers_withholds_nothing():
    settings = SETTINGS.model_copy(update={"minimum_cell_count": 1})
    assert left(release(effects(LACKING), composition(14, 14), settings=settings)[0]) == set(
        LACKING
    )
