"""Which contrasts and stratum variables are withheld, and in which tables."""

import polars as pl
import pytest

from ihdsi.disclosure.differencing import POPULATIONS_SCHEMA, EarlierRelease, Model, model_of
from ihdsi.disclosure.overlaps import Overlaps, find_overlaps
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.parquet import empty_table

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
ALL = "all"


def populations(**groups):
    """One population each: (variable, stratum) -> numbers of patients."""
    rows = [
        (population, variable, stratum, f"p{number}")
        for population, strata in groups.items()
        for (variable, stratum), numbers in strata.items()
        for number in numbers
    ]
    return pl.DataFrame(rows, schema=POPULATIONS_SCHEMA, orient="row")


def rows(table, *keys):
    """Rows of a table of which only keys are looked at."""
    frame = pl.DataFrame(list(keys))
    schema = empty_table(table).schema
    return frame.with_columns(
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in schema.items()
        if name not in frame.columns
    ).with_columns(rule=pl.lit(None, dtype=pl.String))


def whole(numbers):
    return {(ALL, ALL): numbers}


def contrasts(*names):
    return rows("expression_design", *({"contrast": name} for name in names))


def find(leaving, groups, earlier=(), models=(), strata=(), settings=SETTINGS, found=None):
    found = Overlaps() if found is None else found
    return find_overlaps(leaving, groups, earlier, settings, models, strata, found)


CLOSE = populations(**{"design:a": whole(range(50)), "design:b": whole(range(49))})


@pytest.mark.parametrize(("order", "withheld"), [(["b", "a"], "a"), (["a", "b"], "b"), ([], "b")])
def test_the_last_contrast_of_the_study_is_withheld(order, withheld):
    found = find({"expression_design": contrasts("a", "b")}, CLOSE, models=order)
    assert found == Overlaps({f"design:{withheld}": "overlapping_contrasts"})


def test_a_contrast_that_does_not_leave_keeps_none_back():
    assert find({"expression_design": contrasts("b")}, CLOSE) == Overlaps()
    assert find({}, CLOSE) == Overlaps()


def test_a_contrast_that_left_comes_before_those_that_are_new():
    leaving = {"expression_design": contrasts("a", "b")}
    left = EarlierRelease(1, {"expression_design": contrasts("b")}, CLOSE)
    found = find(leaving, CLOSE, [left], models=["a", "b"])
    assert list(found.models) == ["design:a"]


def test_kinds_of_data_do_not_mix_and_parts_of_one_contrast_go_together():
    groups = populations(
        **{
            "design:a": whole(range(50)),
            "contrast:a": whole(range(50)),
            "design:b": whole(range(49)),
            "contrast:b": whole(range(49)),
            "matrix:1:protein:b": whole(range(48)),
            "matrix:1:metabolite:a": whole(range(47)),
            "cell_contrast:T cell:b": whole(range(46)),
            "cell_contrast:B cell:a": whole(range(45)),
        }
    )
    keys = {"contrast": "b", "pattern": 1, "assay": "protein"}
    leaving = {
        "expression_design": contrasts("a", "b"),
        "expression_effects": rows("expression_effects", {"contrast": "a"}, {"contrast": "b"}),
        "matrix_design": rows(
            "matrix_design", keys, keys | {"contrast": "a", "assay": "metabolite"}
        ),
        "cell_expression_effects": rows(
            "cell_expression_effects",
            {"cell_type": "T cell", "contrast": "b"},
            {"cell_type": "B cell", "contrast": "a"},
        ),
    }
    found = find(leaving, groups)
    assert set(found.models) == {"design:b", "contrast:b"}
    marked = found.mark("expression_effects", leaving["expression_effects"])
    assert marked["rule"].to_list() == [None, "overlapping_contrasts"]
    matrix = leaving["matrix_design"]
    assert found.mark("matrix_design", matrix).equals(matrix)


def test_what_a_group_leaves_of_the_whole_is_compared_as_well():
    """Grades 1 and 2 together are those of stage low, and one patient."""
    by_grade = {
        (ALL, ALL): range(90),
        ("grade", "1"): range(20),
        ("grade", "2"): range(20, 46),
        ("grade", "3"): range(46, 90),
    }
    by_stage = {
        (ALL, ALL): range(90),
        ("stage", "low"): range(45),
        ("stage", "high"): range(45, 90),
    }
    groups = populations(**{"design:a": by_stage, "design:b": by_grade})
    found = find({"expression_design": contrasts("a", "b")}, groups)
    assert found == Overlaps({"design:b": "overlapping_contrasts"})


@pytest.mark.parametrize(("event", "near"), [("death", True), ("relapse", False)])
def test_endpoints_are_compared_if_their_event_is_the_same(event, near):
    groups = populations(
        **{
            "endpoint:a": {(ALL, ALL): range(50), ("death", "yes"): range(20)},
            "endpoint:b": {(ALL, ALL): range(49), (event, "yes"): range(20)},
        }
    )
    leaving = {"survival_effects": rows("survival_effects", {"endpoint": "a"}, {"endpoint": "b"})}
    assert bool(find(leaving, groups).models) is near


BURDEN = populations(
    burden={
        (ALL, ALL): range(100),
        ("sex", "female"): range(60),
        ("sex", "male"): range(60, 100),
        ("site", "breast"): range(61),
        ("site", "lung"): range(61, 100),
    }
)


def burdens(*strata):
    return rows(
        "mutation_burden",
        *({"measure": "m", "stratum_variable": v, "stratum": s} for v, s in strata),
    )


EVERY = ((ALL, ALL), ("sex", "female"), ("sex", "male"), ("site", "breast"), ("site", "lung"))


@pytest.mark.parametrize(("order", "withheld"), [(["sex", "site"], "site"), (["site"], "sex")])
def test_the_last_stratum_variable_is_withheld(order, withheld):
    found = find({"mutation_burden": burdens(*EVERY)}, BURDEN, strata=order)
    assert found == Overlaps({}, {("burden", withheld): "overlapping_strata"})
    marked = found.mark("mutation_burden", burdens(*EVERY))
    assert set(marked.filter(pl.col("rule").is_not_null())["stratum_variable"]) == {withheld}


def test_strata_that_leave_in_different_lines_are_not_subtracted():
    """Of the measure a women leave, of the measure b patients with breast cancer."""
    one, other = burdens(*EVERY[:2]), burdens(EVERY[0], EVERY[3])
    together = pl.concat([one, other.with_columns(measure=pl.lit("n"))])
    assert find({"mutation_burden": together}, BURDEN) == Overlaps()
    assert find({"mutation_burden": pl.concat([one, other[1:]])}, BURDEN).strata


def test_strata_hidden_by_other_rules_are_not_counted():
    assert find({"mutation_burden": burdens(*EVERY[:3], EVERY[4])}, BURDEN).strata
    assert find({"mutation_burden": burdens(*EVERY[:3])}, BURDEN) == Overlaps()


def test_a_whole_that_follows_from_earlier_ones_but_for_one_patient_is_withheld():
    parts = [populations(burden=whole(range(40))), populations(burden=whole(range(40, 80)))]
    told = [
        EarlierRelease(number, {"mutation_burden": burdens((ALL, ALL))}, part)
        for number, part in enumerate(parts, start=1)
    ]
    now = populations(burden=whole(range(81)))
    leaving = {"mutation_burden": burdens((ALL, ALL))}
    assert find(leaving, now, told) == Overlaps({}, {("burden", ALL): "joint_leverage"})
    assert find(leaving, now, told[:1]) == Overlaps()
    off = SETTINGS.model_copy(update={"maximum_contribution": 1.0})
    assert find(leaving, now, told, settings=off) == Overlaps()
    # Of another measure nothing left before.
    other = leaving["mutation_burden"].with_columns(measure=pl.lit("n"))
    assert find({"mutation_burden": other}, now, told) == Overlaps()


def test_what_is_found_stays_and_is_not_found_twice():
    leaving = {"expression_design": contrasts("a", "b"), "mutation_burden": burdens(*EVERY)}
    groups = pl.concat([CLOSE, BURDEN])
    found = find(leaving, groups)
    rest = {
        name: found.mark(name, frame).filter(pl.col("rule").is_null())
        for name, frame in leaving.items()
    }
    assert find(rest, groups, found=found) == found


@pytest.mark.parametrize(
    ("population", "model"),
    [
        ("design:a", Model("expression", "a")),
        ("contrast:a", Model("expression", "a")),
        ("matrix:12:protein:a", Model("matrix:protein", "a", 12)),
        ("cell_contrast:T cell: CD8:a", Model("cells:T cell: CD8", "a")),
        ("endpoint:a", Model("endpoint", "a")),
        ("clinical:age", None),
        ("burden", None),
    ],
)
def test_models_are_named_by_their_population(population, model):
    assert model_of(population) == model
