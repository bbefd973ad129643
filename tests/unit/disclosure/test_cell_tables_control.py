"""Cell types that are withheld must not follow from the others, nor from the other strata."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES
from ihdsi.summaries.cell_composition import build_cell_composition
from judged_features import nobody_makes_up

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
TYPES = ["T", "B", "tumour", "stroma", "mast", "rare"]


def clear(table, settings=SETTINGS):
    cleared, log = apply_disclosure_control({"cell_composition": table}, settings, [], {})
    return cleared["cell_composition"], log


def composition(shares, strata=None):
    """Shares (donors x types, any scale) and the stratum of each donor, if there is one."""
    cells = np.rint(100_000 * shares / shares.sum(axis=1, keepdims=True)).astype(int)
    names = [f"d{i}" for i in range(len(shares))]
    counts = pl.DataFrame({"patient": names}).hstack(
        pl.DataFrame(cells, schema=TYPES[: shares.shape[1]])
    )
    clinical = pl.DataFrame({"patient": names, "stage": strata or [None] * len(names)})
    return build_cell_composition(counts, clinical, ["stage"])


def even(n, n_types=4, seed=0):
    return np.random.default_rng(seed).dirichlet([8.0] * n_types, n)


def left(table, stratum="all"):
    return set(table.filter(stratum=stratum)["cell_type"])


def test_safe_compositions_leave_as_they_are():
    truth = composition(even(60), ["low"] * 30 + ["high"] * 30)
    released, log = clear(truth)
    assert released.equals(truth)
    assert log.is_empty()


@pytest.mark.parametrize(("n", "types"), [(9, 0), (10, 4)])
def test_minimum_n(n, types):
    released, log = clear(composition(even(n)))
    assert released.height == types
    assert set(log["rule"]) == (set() if types else {"minimum_n"})


def test_the_type_that_one_donor_has_is_not_the_rest_of_the_others():
    shares = even(40)
    shares[:, 3] = 0
    shares[7, 3] = 0.5
    released, log = clear(composition(shares))
    # Withheld alone it would be one minus the sum of the others.
    assert released.height == 2
    assert sorted(log["rule"]) == ["complementary_suppression", "dominance"]


@pytest.mark.parametrize("n_types", [2, 3])
def test_a_type_that_nobody_has_is_not_the_rest_of_the_others(n_types):
    shares = even(40, n_types)
    shares[:, n_types - 1] = 0
    released, log = clear(composition(shares))
    assert "no_variation" in set(log["rule"])
    # With two types the other one is all cells of everybody.
    assert released.height == (1 if n_types == 3 else 0)


def test_the_sum_of_withheld_types_is_not_that_of_two_donors():
    shares = even(60, 6)
    shares[:, 4:] = 0
    for donor in range(20):
        shares[donor, 4 + donor % 2] = 0.2
    shares[30, 4] = shares[31, 5] = 20.0  # each dominated by a donor, and their sum by the two
    released, _ = clear(
        composition(shares), SETTINGS.model_copy(update={"maximum_contribution": 0.2})
    )
    assert left(released) < set(TYPES[:4])


def test_strata_release_the_same_types():
    shares = even(60)
    shares[:30, 3] = 0
    shares[3, 3] = 0.3
    released, log = clear(composition(shares, ["low"] * 30 + ["high"] * 30))
    assert left(released) == set(TYPES[:4])
    assert left(released, "low") == left(released, "high")
    assert "stroma" not in left(released, "high")
    assert len(left(released, "low")) == 2
    assert set(log["rule"]) == {"dominance", "complementary_suppression"}


@pytest.mark.parametrize(
    ("sizes", "leaving"),
    [
        ((30, 30, 0), 2),
        ((30, 25, 5), 1),  # five donors of unknown stage: one stratum stays, whose size is no hint
        ((30, 20, 10), 2),
        ((30, 25, 9), 1),
    ],
)
def test_donors_of_unknown_stratum_are_enough_or_nobody(sizes, leaving):
    low, high, unknown = sizes
    names = ["low"] * low + ["high"] * high + [None] * unknown
    released, _ = clear(composition(even(len(names)), names))
    assert "all" in set(released["stratum"]) <= {"all", "low", "high"}
    assert released["stratum"].n_unique() == 1 + leaving


def pinned(truth, released):
    """Withheld shares in sum over donors that the released ones give away."""
    strata = sorted(set(truth["stratum"]) - {"all"})
    sizes = dict(truth.select("stratum", "n_donors").unique().iter_rows())
    columns = [*strata, "unknown"]
    sizes["unknown"] = sizes["all"] - sum(sizes[s] for s in strata)
    types = truth["cell_type"].unique().sort().to_list()
    equations, values = [], []

    def total(cell_type, stratum):
        row = np.zeros((len(types), len(columns)))
        row[
            types.index(cell_type),
            [columns.index(s) for s in (columns if stratum == "all" else [stratum])],
        ] = 1
        return row.ravel()

    for stratum in columns:
        equations.append(sum(total(t, stratum) for t in types))
        values.append(sizes[stratum])
    for cell_type, stratum, mean in released.select("cell_type", "stratum", "mean").iter_rows():
        equations.append(total(cell_type, stratum))
        values.append(sizes[stratum] * mean)
    hits = []
    withheld = truth.join(released, on=["cell_type", "stratum"], how="anti")
    for cell_type, stratum in withheld.select("cell_type", "stratum").iter_rows():
        target = total(cell_type, stratum)
        found = [
            linprog(sign * target, A_eq=np.array(equations), b_eq=values, bounds=(0, None))
            for sign in (1, -1)
        ]
        # HiGHS may find rounding infeasible; a table that fits exists.
        if any(result.status != 0 for result in found):
            raise RuntimeError(found[0].message)
        low, high = found[0].fun, -found[1].fun
        if high - low < 1e-3 * sizes[stratum]:
            hits.append((cell_type, stratum))
    return hits


def uneven(seed, unknown):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([5, 4, 6, 3, 0.3, 0.02], 90)
    stage = rng.choice(["low", "high", "third"], 90, p=[0.5, 0.4, 0.1]).tolist()
    return composition(shares, [None] * unknown + stage[unknown:])


@pytest.mark.parametrize("unknown", [0, 4, 20])
@pytest.mark.parametrize("seed", range(4))
def test_no_withheld_type_follows(seed, unknown):
    truth = uneven(seed, unknown)
    released, _ = clear(truth)
    assert left(released)
    assert released.height < truth.height
    assert pinned(truth, released) == []
    # What every stratum, and the rest of the cohort, leave over is safe in sum.
    for stratum in set(released["stratum"]):
        hidden = truth.filter(pl.col("stratum") == stratum).join(
            released, on=["cell_type", "stratum"], how="anti"
        )
        assert hidden.height != 1


def test_the_attack_works_where_only_unsafe_types_are_withheld():
    truth = uneven(0, 0)
    hits = pinned(truth, truth.filter(pl.col("cell_type") != "rare"))
    assert set(hits) == {("rare", s) for s in ("all", "low", "high", "third")}


def cell_effects(n_case, n_control):
    values = {"cell_type": "T", "contrast": "c", "gene_id": "ENSG00000000001", "gene_name": "G"}
    numbers = {"base_mean": 9.0, "log2_fold_change": 1.0, "standard_error": 0.5, "statistic": 2.0}
    row = values | {"n_case": n_case, "n_control": n_control} | numbers | {"p_value": 0.05}
    return pl.DataFrame([row], schema=TABLES["cell_expression_effects"].schema)


@pytest.mark.parametrize(
    ("groups", "parameters", "rule"),
    [
        ((10, 10), 4, None),
        ((9, 40), 4, "minimum_n"),
        ((40, 9), 4, "minimum_n"),
        ((10, 10), 5, "maximum_parameter_share"),
    ],
)
def test_donors_of_cell_expression_effects(groups, parameters, rule):
    name = "cell_expression_effects"
    tables = {name: cell_effects(*groups)}
    cleared, log = apply_disclosure_control(
        tables, SETTINGS, [], {"c": parameters}, features=nobody_makes_up(tables)
    )
    assert cleared[name].height == (0 if rule else 1)
    assert log["rule"].to_list() == ([rule] if rule else [])


def test_unknown_models_of_cell_types_do_not_leave():
    with pytest.raises(ValueError, match="number of parameters"):
        apply_disclosure_control(
            {"cell_expression_effects": cell_effects(40, 40)}, SETTINGS, [], {}
        )
