"""Shares of cell types over sites, against the donors themselves."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from polars.testing import assert_frame_equal
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from ihdsi.meta import harmonise
from ihdsi.meta.cell_composition import (
    COMPOSITION_CONTRAST_SCHEMA,
    compare_cell_composition,
    pool_cell_composition,
)
from ihdsi.summaries.cell_composition import SPEC, build_cell_composition

TYPES = ("fibroblast", "t_cell", "tumour")
CONTRASTS = {"invasion": ("stage", "MIBC", "NMIBC")}
#: Donors of each site by level; the groups are of different sizes on purpose.
SIZES = {"north": (14, 25), "south": (30, 11), "west": (9, 9)}


def _donors(seed, shift=0.0, sizes=SIZES):
    """Counts of cells and the stage of every donor, by site; fibroblasts are shifted in MIBC."""
    rng = np.random.default_rng(seed)
    made = {}
    for number, (site, (n_case, n_control)) in enumerate(sizes.items()):
        stage = ["MIBC"] * n_case + ["NMIBC"] * n_control
        case = np.array([level == "MIBC" for level in stage])
        weights = np.array([2.0 + number, 3.0, 5.0]) + np.outer(case, [shift, 0, 0])
        shares = np.array([rng.dirichlet(8 * row) for row in weights])
        counts = np.array([rng.multinomial(900, row) for row in shares])
        patients = [f"{site}{i}" for i in range(len(stage))]
        made[site] = (
            pl.DataFrame({"patient": patients}).hstack(pl.DataFrame(counts, schema=list(TYPES))),
            pl.DataFrame({"patient": patients, "stage": stage}),
        )
    return made


def _released(donors):
    return {
        site: build_cell_composition(counts, clinical, ["stage"])
        for site, (counts, clinical) in donors.items()
    }


def _individual(donors, cell_type):
    """Shares, and X of case and one intercept a site."""
    shares, case, site = [], [], []
    for number, (counts, clinical) in enumerate(donors.values()):
        total = counts.select(pl.sum_horizontal(TYPES)).to_series()
        shares.append((counts[cell_type] / total).to_numpy())
        case.append((clinical["stage"] == "MIBC").to_numpy())
        site.append(np.full(counts.height, number))
    indicators = np.eye(len(donors))[np.concatenate(site)]
    return np.concatenate(shares), np.column_stack([np.concatenate(case), indicators])


@pytest.fixture(scope="module")
def donors():
    return _donors(1, shift=1.0)


def test_moments_of_sites_are_those_of_their_donors_together(donors):
    pooled = pool_cell_composition(_released(donors))
    together = pooled.filter(pl.col("site").is_null())
    assert together.height == 3 * len(TYPES)
    for row in together.iter_rows(named=True):
        shares, x = _individual(donors, row["cell_type"])
        chosen = {"all": np.ones(len(x), bool), "MIBC": x[:, 0] == 1, "NMIBC": x[:, 0] == 0}
        values = shares[chosen[row["stratum"]]]
        assert row["n_donors"] == len(values)
        assert row["n_sites"] == 3
        assert row["mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert row["variance"] == pytest.approx(values.var(ddof=1), rel=1e-10)
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert (row["confidence_low"], row["confidence_high"]) == pytest.approx((low, high))
    assert pooled.height == 4 * together.height
    own = pooled.filter(site="north").drop("site", "n_sites", "confidence_low", "confidence_high")
    assert_frame_equal(own, _released(donors)["north"], check_column_order=False)


def test_contrasts_are_least_squares_on_all_donors(donors):
    table = compare_cell_composition(_released(donors), CONTRASTS)
    assert table.schema == pl.Schema(COMPOSITION_CONTRAST_SCHEMA)
    assert table["cell_type"].to_list() == sorted(TYPES)
    for row in table.iter_rows(named=True):
        y, x = _individual(donors, row["cell_type"])
        reference = sm.OLS(y, x).fit()
        assert row["degrees_of_freedom"] == reference.df_resid
        assert row["difference"] == pytest.approx(reference.params[0], abs=1e-8)
        assert row["standard_error"] == pytest.approx(reference.bse[0], rel=1e-8)
        assert row["statistic"] == pytest.approx(reference.tvalues[0], rel=1e-8)
        assert row["p_value"] == pytest.approx(reference.pvalues[0], rel=1e-7)
        low, high = reference.conf_int()[0]
        assert (row["confidence_low"], row["confidence_high"]) == pytest.approx((low, high))
        assert row["mean_case"] == pytest.approx(y[x[:, 0] == 1].mean())
        assert row["mean_control"] == pytest.approx(y[x[:, 0] == 0].mean())
        assert (row["n_case"], row["n_control"]) == (53, 45)
    assert table["fdr"].to_list() == pytest.approx(stats.false_discovery_control(table["p_value"]))
    assert table.filter(cell_type="fibroblast")["p_value"][0] < 1e-4


def test_agreement_is_that_of_the_sites_own_differences(donors):
    effects, variances = [], []
    for counts, clinical in donors.values():
        y, x = _individual({"one": (counts, clinical)}, "fibroblast")
        fit = sm.OLS(y, x).fit()
        effects.append(fit.params[0])
        variances.append(fit.bse[0] ** 2)
    reference = combine_effects(np.array(effects), np.array(variances))
    row = compare_cell_composition(_released(donors), CONTRASTS).row(0, named=True)
    assert row["cell_type"] == "fibroblast"
    assert row["i_squared"] == pytest.approx(max(0, 1 - 2 / reference.q), abs=1e-9)
    assert row["same_direction"] == (len(set(np.sign(effects))) == 1)
    own = harmonise.composition_site_effects(_released(donors), CONTRASTS)
    own = own.filter(feature="fibroblast").sort("site")
    assert own["effect"].to_list() == pytest.approx(effects)
    assert own["standard_error"].to_list() == pytest.approx(np.sqrt(variances))


def test_a_null_contrast_stays_null():
    p_values = np.concatenate(
        [
            compare_cell_composition(_released(_donors(seed)), CONTRASTS)["p_value"].to_numpy()
            for seed in range(100, 160)
        ]
    )
    # 180 tests, three a cohort and those dependent: binomial bounds of 60 would be wider still.
    assert 0.01 <= (p_values < 0.05).mean() <= 0.12
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_a_site_that_withheld_a_group_leaves_the_comparison_of_that_type(donors):
    released = _released(donors)
    withheld = (pl.col("cell_type") == "t_cell") & (pl.col("stratum") == "MIBC")
    dropped = released | {"west": released["west"].filter(~withheld)}
    emptied = released | {
        "west": released["west"].with_columns(
            pl.when(~withheld).then(pl.col(name)).alias(name) for name in ("mean", "variance")
        )
    }
    without = {site: part for site, part in donors.items() if site != "west"}
    expected = compare_cell_composition(_released(without), CONTRASTS)
    whole = compare_cell_composition(released, CONTRASTS)
    is_t_cell = pl.col("cell_type") == "t_cell"
    for tables in (dropped, emptied):
        table = compare_cell_composition(tables, CONTRASTS)
        assert table["n_sites"].to_list() == [3, 2, 3]
        columns = pl.exclude("fdr")
        assert_frame_equal(
            table.filter(is_t_cell).select(columns), expected.filter(is_t_cell).select(columns)
        )
        assert_frame_equal(
            table.filter(~is_t_cell).select(columns), whole.filter(~is_t_cell).select(columns)
        )
        effects = harmonise.composition_site_effects(tables, CONTRASTS)
        account = harmonise.harmonisation_account(effects, list(SIZES))
        refused = account.filter(~pl.col("used"))
        assert refused.select("analysis", "feature", "site", "reason").rows() == [
            ("cell_composition", "t_cell", "west", harmonise.NULL_GROUP)
        ]
        assert account.height == 9


def test_a_type_that_a_site_lacks_is_accounted_for_as_not_released(donors):
    released = _released(donors)
    tables = released | {"south": released["south"].filter(pl.col("cell_type") != "tumour")}
    assert compare_cell_composition(tables, CONTRASTS)["n_sites"].to_list() == [3, 3, 2]
    effects = harmonise.composition_site_effects(tables, CONTRASTS)
    refused = harmonise.harmonisation_account(effects, list(SIZES)).filter(~pl.col("used"))
    assert refused.select("feature", "site", "reason").rows() == [
        ("tumour", "south", harmonise.NOT_RELEASED)
    ]


def test_one_site_is_students_test():
    donors = _donors(3, 0.5, {"north": (14, 25)})
    row = compare_cell_composition(_released(donors), CONTRASTS).row(0, named=True)
    y, x = _individual(donors, "fibroblast")
    reference = stats.ttest_ind(y[x[:, 0] == 1], y[x[:, 0] == 0])
    assert row["statistic"] == pytest.approx(reference.statistic)
    assert row["p_value"] == pytest.approx(reference.pvalue)
    assert (row["n_sites"], row["i_squared"], row["same_direction"]) == (1, None, None)


def _rows(means, variance=0.0, n=12):
    return pl.DataFrame(
        [("tumour", "stage", level, n, mean, variance) for level, mean in means.items()],
        schema=SPEC.schema,
        orient="row",
    )


def test_shares_that_do_not_vary_have_a_difference_and_no_test():
    equal = {"MIBC": 0.1, "NMIBC": 0.3}
    tables = {"a": _rows(equal, n=11), "b": _rows(equal, n=13), "c": _rows(equal, n=17)}
    row = compare_cell_composition(tables, CONTRASTS).row(0, named=True)
    assert row["difference"] == pytest.approx(-0.2)
    for name in ("standard_error", "confidence_low", "statistic", "p_value", "fdr", "i_squared"):
        assert row[name] is None, name
    # Where sites differ, the residual is what they differ by.
    tables = {"a": _rows(equal), "b": _rows({"MIBC": 0.2, "NMIBC": 0.3})}
    row = compare_cell_composition(tables, CONTRASTS).row(0, named=True)
    assert row["standard_error"] > 0
    used = harmonise.composition_site_effects(tables, CONTRASTS)
    assert used["used"].all()
    assert used["standard_error"].is_null().all()
    # A type that nobody has.
    nobody = {"MIBC": 0.0, "NMIBC": 0.0}
    row = compare_cell_composition({"a": _rows(nobody)}, CONTRASTS).row(0, named=True)
    assert (row["difference"], row["p_value"]) == (0.0, None)


def test_no_rows_give_typed_empty_tables(donors):
    nothing = {"a": pl.DataFrame(schema=SPEC.schema), "b": pl.DataFrame(schema=SPEC.schema)}
    full = pool_cell_composition(_released(donors))
    assert pool_cell_composition(nothing).schema == full.schema
    for tables, contrasts in ((nothing, CONTRASTS), (_released(donors), {})):
        table = compare_cell_composition(tables, contrasts)
        assert table.is_empty()
        assert table.schema == pl.Schema(COMPOSITION_CONTRAST_SCHEMA)
        effects = harmonise.composition_site_effects(tables, contrasts)
        assert effects.schema == pl.Schema(harmonise.SITE_EFFECT_SCHEMA)
