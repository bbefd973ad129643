"""Cell types by donor, against numpy and planted truth."""

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import validate_table
from ihdsi.summaries.cell_composition import build_cell_composition
from ihdsi.summaries.cell_expression_effects import estimate_cell_expression_effects
from ihdsi.summaries.expression_effects import estimate_expression_effects

CELL_TYPES = ["T cell", "B cell", "tumour", "mast cell"]


def donors(n=60, seed=4):
    rng = np.random.default_rng(seed)
    stage = np.where(np.arange(n) < n // 2, "low", "high")
    alpha = np.where(stage[:, None] == "high", [2.0, 1.0, 6.0, 0.2], [4.0, 1.0, 4.0, 0.2])
    shares = np.array([rng.dirichlet(a) for a in alpha])
    cells = np.array(
        [rng.multinomial(k, p) for k, p in zip(rng.integers(200, 3000, n), shares, strict=True)]
    )
    names = [f"d{i}" for i in range(n)]
    counts = pl.DataFrame({"patient": names}).hstack(pl.DataFrame(cells, schema=CELL_TYPES))
    return counts, pl.DataFrame({"patient": names, "stage": stage}), cells


@pytest.mark.parametrize("stratum", ["all", "low", "high"])
def test_moments_are_over_donors_and_not_over_cells(stratum):
    counts, clinical, cells = donors()
    table = build_cell_composition(counts, clinical, ["stage"])
    validate_table(table, "cell_composition")
    members = np.ones(60, bool) if stratum == "all" else clinical["stage"].to_numpy() == stratum
    shares = (cells / cells.sum(axis=1, keepdims=True))[members]
    for column, cell_type in enumerate(CELL_TYPES):
        row = table.filter(cell_type=cell_type, stratum=stratum).row(0, named=True)
        assert row["n_donors"] == members.sum()
        assert row["mean"] == pytest.approx(shares[:, column].mean(), rel=1e-12)
        assert row["variance"] == pytest.approx(shares[:, column].var(ddof=1), rel=1e-9)
    pooled = cells[members].sum(axis=0) / cells[members].sum()
    assert abs(pooled[0] - shares[:, 0].mean()) > 1e-3
    assert table.filter(stratum=stratum)["mean"].sum() == pytest.approx(1)


def test_the_planted_difference_of_composition_is_found():
    counts, clinical, _ = donors(400)
    table = build_cell_composition(counts, clinical, ["stage"])
    mean = dict(table.filter(cell_type="T cell").select("stratum", "mean").iter_rows())
    assert mean["low"] == pytest.approx(4 / 9.2, abs=0.03)
    assert mean["high"] == pytest.approx(2 / 9.2, abs=0.03)


def test_donors_without_cells_are_left_out(caplog):
    counts = pl.DataFrame(
        {"patient": list("abcd"), "T cell": [90, 10, 0, 3], "B cell": [10, 90, 0, None]}
    )
    table = build_cell_composition(counts, None, [])
    assert "1 of 4 donors have no cells" in caplog.text
    assert table.filter(cell_type="T cell")["n_donors"].item() == 3
    assert table["mean"].to_list() == pytest.approx([1 / 3, 2 / 3])


def test_compositions_of_nobody():
    counts, clinical, _ = donors()
    for nothing in (counts.clear(), counts.head(1), counts.select("patient")):
        table = build_cell_composition(nothing, clinical, ["stage"])
        validate_table(table, "cell_composition")
        assert table.is_empty()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("mean", 0.9, "add up to at most 1"), ("n_donors", 59, "the same donors")],
)
def test_compositions_that_contradict_themselves_are_refused(column, value, message):
    counts, clinical, _ = donors()
    table = build_cell_composition(counts, clinical, [])
    bad = table.with_columns(
        pl.when(pl.col("cell_type") == "mast cell").then(value).otherwise(column).alias(column)
    )
    with pytest.raises(InputError, match=message):
        validate_table(bad, "cell_composition")


VARIABLES = {"stage": ClinicalVariable(type="categorical", levels=("low", "high"))}
CONTRASTS = {"stage": Contrast(variable="stage", case="high", control="low")}
GENES = 40


@pytest.fixture(scope="module")
def pseudobulk():
    """Gene 0 doubles in T cells only; four donors have no B cells, and few have mast cells."""
    rng = np.random.default_rng(9)
    names = [f"d{i}" for i in range(24)]
    high = np.arange(24) < 12
    ids = [f"ENSG{i:011d}" for i in range(GENES)]
    labels = pl.DataFrame({"gene_id": ids, "gene_name": [f"G{i}" for i in range(GENES)]})
    depth = rng.uniform(0.5, 2, 24)
    tables = {}
    for cell_type in CELL_TYPES[:2] + CELL_TYPES[3:]:
        mean = rng.lognormal(5, 0.8, GENES)[:, None] * depth
        mean[0] *= np.where(high & (cell_type == "T cell"), 2.0**1.5, 1.0)
        counts = rng.negative_binomial(10, 10 / (10 + mean))
        tables[cell_type] = labels.hstack(pl.DataFrame(counts, schema=names))
    tables["B cell"] = tables["B cell"].drop("d0", "d1", "d12", "d13")
    tables["mast cell"] = tables["mast cell"].select("gene_id", "gene_name", *names[:14])
    clinical = pl.DataFrame({"patient": names, "stage": np.where(high, "high", "low")})
    return tables, clinical


def test_effects_of_each_cell_type_are_those_of_its_pseudobulk(pseudobulk, caplog):
    tables, clinical = pseudobulk
    effects = estimate_cell_expression_effects(tables, clinical, CONTRASTS, VARIABLES, 10)
    validate_table(effects, "cell_expression_effects")
    assert effects["cell_type"].unique().sort().to_list() == ["B cell", "T cell"]
    assert "a group has 2 patients" in caplog.text  # mast cells
    for cell_type, n in (("T cell", 12), ("B cell", 10)):
        ours = effects.filter(cell_type=cell_type)
        assert ours.select("n_case", "n_control").unique().row(0) == (n, n)
    alone = estimate_expression_effects(tables["B cell"], clinical, CONTRASTS, VARIABLES, 10)
    assert effects.filter(cell_type="B cell").drop("cell_type").equals(alone)
    planted = effects.filter(gene_id="ENSG00000000000")
    found = dict(planted.select("cell_type", "log2_fold_change").iter_rows())
    assert found["T cell"] == pytest.approx(1.5, abs=0.5)
    assert abs(found["B cell"]) < 0.6
    first = effects.filter(cell_type="T cell").sort("p_value").row(0, named=True)
    assert first["gene_id"] == "ENSG00000000000"
    assert first["p_value"] < 1e-6


def test_effects_of_no_cell_types():
    clinical = pl.DataFrame({"patient": ["d0"], "stage": ["low"]})
    effects = estimate_cell_expression_effects({}, clinical, CONTRASTS, VARIABLES, 10)
    validate_table(effects, "cell_expression_effects")
    assert effects.is_empty()
