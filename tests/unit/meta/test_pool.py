"""Pooled tables: harmonisation, sums, linear model, recurrence."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from polars.testing import assert_frame_equal
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from ihdsi.errors import InputError
from ihdsi.meta import harmonise
from ihdsi.meta.drivers import find_driver_genes
from ihdsi.meta.linear import fit_pooled_linear_model
from ihdsi.meta.moderation import moderate_variances
from ihdsi.meta.pool import (
    pool_alteration_contrasts,
    pool_cell_expression_effects,
    pool_expression_effects,
    pool_gene_alterations,
    pool_mutation_burden,
    pool_survival_effects,
)

GENES = [f"ENSG{number:011d}" for number in range(1, 9)]
DESIGN_CELL = ("row_term", "column_term", "value")
CONTRASTS = {"invasion": ("stage", "MIBC", "NMIBC")}


def _expression(effects, errors, genes=GENES, names=None, n_case=20, n_control=30):
    return pl.DataFrame(
        {
            "contrast": "invasion",
            "gene_id": genes[: len(effects)],
            "gene_name": names or [f"G{number}" for number in range(len(effects))],
            "n_case": n_case,
            "n_control": n_control,
            "base_mean": 100.0,
            "log2_fold_change": effects,
            "standard_error": errors,
            "statistic": None,
            "p_value": None,
        },
        schema_overrides={
            "gene_id": pl.String,
            "gene_name": pl.String,
            "log2_fold_change": pl.Float64,
            "standard_error": pl.Float64,
        },
    )


def _alterations(rows):
    return pl.DataFrame(
        [
            {
                "gene_id": gene,
                "gene_name": "G",
                "coding_length": length,
                "alteration_class": kind,
                "stratum_variable": variable,
                "stratum": stratum,
                "n_assessed": n,
                "n_altered": k,
            }
            for gene, length, kind, variable, stratum, n, k in rows
        ],
        schema={
            "gene_id": pl.String,
            "gene_name": pl.String,
            "coding_length": pl.Int64,
            "alteration_class": pl.String,
            "stratum_variable": pl.String,
            "stratum": pl.String,
            "n_assessed": pl.Int64,
            "n_altered": pl.Int64,
        },
    )


def _burden(n, mean, unit="1/Mb"):
    return pl.DataFrame(
        {
            "measure": ["nonsynonymous_mutations"],
            "unit": [unit],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n": [n],
            "mean": [mean],
            "variance": [1.0],
        }
    )


def test_expression_is_pooled_by_gene_not_by_row_position():
    tables = {
        "lih": _expression([0.5, 1.0, -0.2], [0.1, 0.2, 0.3]),
        "ncck": _expression([-0.4, 0.9], [0.2, 0.1], genes=[GENES[2], GENES[0]], n_case=10),
    }
    pooled = pool_expression_effects(tables).sort("gene_id")
    assert pooled["n_sites"].to_list() == [2, 1, 2]
    assert pooled["n_case"].to_list() == [30, 20, 30]
    reference = combine_effects(np.array([0.5, 0.9]), np.array([0.01, 0.01]), method_re="dl")
    assert pooled["effect"][0] == pytest.approx(reference.mean_effect_re, rel=1e-12)
    assert pooled["tau_squared"][0] == pytest.approx(reference.tau2, rel=1e-12)
    assert pooled["i_squared"][1] is None
    assert pooled["same_direction"].to_list() == [True, None, True]


def test_the_study_model_fills_the_effect():
    tables = {"a": _expression([0.1], [0.1]), "b": _expression([1.5], [0.3])}
    fixed, random = (pool_expression_effects(tables, m) for m in ("fixed", "dersimonian_laird"))
    assert fixed["effect"][0] == fixed["fixed_effect"][0] != fixed["random_effect"][0]
    assert random["effect"][0] == random["random_effect"][0]
    assert fixed["p_value"][0] == fixed["fixed_p_value"][0]


def _in_cell_type(cell_type, effects, errors, **options):
    table = _expression(effects, errors, **options)
    return table.select(pl.lit(cell_type).alias("cell_type"), pl.all())


def test_effects_within_cell_types_are_pooled_each_by_itself():
    tables = {
        "lih": pl.concat(
            [
                _in_cell_type("t_cell", [0.5, 1.0], [0.1, 0.2], n_case=12, n_control=11),
                _in_cell_type("fibroblast", [2.0, 0.1], [0.3, 0.2], n_case=14, n_control=13),
            ]
        ),
        "ncck": _in_cell_type("t_cell", [0.9, None], [0.2, None], n_case=10, n_control=15),
    }
    pooled = pool_cell_expression_effects(tables)
    assert pooled.columns[:7] == [
        *("cell_type", "contrast", "gene_id", "gene_name", "n_sites", "n_case", "n_control")
    ]
    rows = {(row["cell_type"], row["gene_id"]): row for row in pooled.iter_rows(named=True)}
    assert len(rows) == pooled.height == 4
    # The same numbers without cell types, one type at a time.
    bulk = pool_expression_effects(
        {site: t.filter(cell_type="t_cell") for site, t in tables.items()}
    )
    assert_frame_equal(pooled.filter(cell_type="t_cell").drop("cell_type"), bulk)
    assert rows["t_cell", GENES[0]]["n_sites"] == 2
    assert rows["t_cell", GENES[0]]["n_case"] == 22
    assert rows["fibroblast", GENES[0]]["effect"] == pytest.approx(2.0)
    assert rows["fibroblast", GENES[0]]["i_squared"] is None
    account = harmonise.harmonisation_account(
        harmonise.cell_expression_site_effects(tables), ["lih", "ncck"]
    )
    refused = account.filter(~pl.col("used")).select("feature", "gene_id", "site", "reason")
    assert refused.rows() == [
        ("fibroblast", GENES[0], "ncck", harmonise.NOT_RELEASED),
        ("fibroblast", GENES[1], "ncck", harmonise.NOT_RELEASED),
        ("t_cell", GENES[1], "ncck", harmonise.NULL_ESTIMATE),
    ]
    none = pool_cell_expression_effects({site: t.clear() for site, t in tables.items()})
    assert none.is_empty()
    assert none.schema == pooled.schema


def test_the_account_of_all_analyses_is_one_table():
    cells = {"a": _in_cell_type("t_cell", [0.5], [0.1]), "b": _in_cell_type("t_cell", [], [])}
    bulk = {"a": _expression([0.5], [0.1]), "b": _expression([0.4], [0.0])}
    effects, account = harmonise.account_for_sites(
        [harmonise.expression_site_effects(bulk), harmonise.cell_expression_site_effects(cells)],
        ["a", "b"],
    )
    assert effects.select("analysis", "feature", "site").rows() == [
        ("expression", "expression", "a"),
        ("cell_expression", "t_cell", "a"),
    ]
    assert account.select("analysis", "site", "used").rows() == [
        ("cell_expression", "a", True),
        ("cell_expression", "b", False),
        ("expression", "a", True),
        ("expression", "b", False),
    ]


def test_account_says_why_an_estimate_was_not_used():
    lih = _expression(
        [0.5, None, 0.1, 0.2, 0.3, 0.3],
        [0.1, 0.1, 0.0, 0.1, 0.1, 0.1],
        genes=[*GENES[:3], "TP53", GENES[4], GENES[4]],
    )
    ncck = _expression([0.5], [0.1], genes=[GENES[5]])
    effects = harmonise.expression_site_effects({"lih": lih, "ncck": ncck})
    account = harmonise.harmonisation_account(effects, ["lih", "ncck"])
    assert account.height == 2 * 6
    reasons = dict(account.filter(pl.col("site") == "lih").select("gene_id", "reason").iter_rows())
    assert reasons == {
        GENES[0]: None,
        GENES[1]: harmonise.NULL_ESTIMATE,
        GENES[2]: harmonise.BAD_STANDARD_ERROR,
        "TP53": harmonise.NOT_AN_ENSEMBL_GENE,
        GENES[4]: harmonise.REPEATED,
        GENES[5]: harmonise.NOT_RELEASED,
    }
    assert set(pool_expression_effects({"lih": lih, "ncck": ncck})["gene_id"]) == {
        GENES[0],
        GENES[5],
    }


def test_a_gene_has_the_name_that_most_sites_use():
    tables = {
        site: _expression([0.1], [0.1], names=[name])
        for site, name in (("a", "MLL2"), ("b", "KMT2D"), ("c", "KMT2D"))
    }
    assert pool_expression_effects(tables)["gene_name"].to_list() == ["KMT2D"]


def test_survival_keeps_events_and_endpoint():
    table = pl.DataFrame(
        {
            "endpoint": "overall_survival",
            "feature_type": "expression",
            "gene_id": GENES[:1],
            "gene_name": ["G"],
            "n": 100,
            "n_events": 40,
            "log_hazard_ratio": [0.3],
            "standard_error": [0.1],
            "statistic": [3.0],
            "p_value": [0.003],
        }
    )
    pooled = pool_survival_effects({"a": table, "b": table})
    assert pooled.select("endpoint", "n", "n_events").row(0) == ("overall_survival", 200, 80)
    assert pooled["fixed_standard_error"][0] == pytest.approx(0.1 / np.sqrt(2))


def test_no_rows_give_typed_empty_tables():
    empty = _expression([], []).clear()
    full = pool_expression_effects({"a": _expression([0.1], [0.1])})
    pooled = pool_expression_effects({"a": empty, "b": empty})
    assert pooled.is_empty()
    assert pooled.schema == full.schema
    none = _alterations([])
    assert pool_gene_alterations({"a": none}).is_empty()
    assert pool_alteration_contrasts({"a": none}, {}).is_empty()
    assert find_driver_genes({"a": none}, {"a": _burden(1, 1.0).clear()}).is_empty()


def test_alterations_are_summed_over_the_sites_that_released_them():
    gene = GENES[0]
    tables = {
        "a": _alterations([(gene, 900, "any", "all", "all", 40, 12)]),
        "b": _alterations([(gene, 1200, "any", "all", "all", 60, 18)]),
        "c": _alterations([(gene, 1200, "any", "all", "all", 50, None)]),
    }
    row = pool_gene_alterations(tables).row(0, named=True)
    assert (row["n_assessed"], row["n_altered"], row["n_sites"]) == (100, 30, 2)
    assert row["sites"] == ["a", "b"]
    assert row["coding_length"] == 1200
    assert row["confidence_low"] < row["frequency"] == 0.3 < row["confidence_high"]


def test_alteration_contrast_equals_woolf_and_drops_half_released_tables():
    def site(case, control):
        return _alterations(
            [
                (GENES[0], 900, "any", "stage", "MIBC", 40, case),
                (GENES[0], 900, "any", "stage", "NMIBC", 60, control),
            ]
        )

    tables = {"a": site(20, 12), "b": site(10, 9), "c": site(10, None)}
    pooled = pool_alteration_contrasts(tables, CONTRASTS, "fixed").row(0, named=True)
    reference = sm.stats.StratifiedTable(
        [np.array([[20, 20], [12, 48]]), np.array([[10, 30], [9, 51]])]
    )
    logs = [
        np.log(t[0, 0] * t[1, 1] / t[0, 1] / t[1, 0]) for t in np.moveaxis(reference.table, 2, 0)
    ]
    variances = [(1 / t).sum() for t in np.moveaxis(reference.table, 2, 0)]
    expected = combine_effects(np.array(logs), np.array(variances)).mean_effect_fe
    assert pooled["n_sites"] == 2
    assert pooled["effect"] == pytest.approx(expected, rel=1e-12)


def _moments(site, seed, n, genes, drop_smoking=False):
    random = np.random.default_rng(seed)
    case = (random.random(n) < 0.4).astype(float)
    columns = {
        "intercept": np.ones(n),
        "case": case,
        "age": random.normal(65, 10, n),
        "smoking_current": (random.random(n) < 0.3).astype(float),
    }
    if drop_smoking:
        columns["smoking_current"] = np.zeros(n)
    design = np.column_stack(list(columns.values()))
    values = {
        gene: random.normal(5 + seed, 1, n) + 0.5 * case + 0.02 * columns["age"] for gene in genes
    }
    terms = [name for name in columns if not (drop_smoking and name == "smoking_current")]
    kept = design[:, [list(columns).index(name) for name in terms]]
    xtx = kept.T @ kept
    long = pl.DataFrame(
        [
            {
                "contrast": "invasion",
                "n": n,
                "row_term": row,
                "column_term": column,
                "value": xtx[i, j],
            }
            for i, row in enumerate(terms)
            for j, column in enumerate(terms)
        ]
    )
    moments = pl.DataFrame(
        {
            "contrast": "invasion",
            "gene_id": genes,
            "gene_name": genes,
            "n": n,
            "terms": [terms] * len(genes),
            "xty": [(kept.T @ values[gene]).tolist() for gene in genes],
            "yty": [float(values[gene] @ values[gene]) for gene in genes],
        }
    )
    return long, moments, design, values


def test_linear_model_equals_ols_on_the_pooled_patients():
    made = {
        "a": _moments("a", 1, 40, GENES[:5]),
        "b": _moments("b", 2, 60, GENES[1:6], drop_smoking=True),
        "c": _moments("c", 3, 35, GENES[3:8]),
    }
    fitted = fit_pooled_linear_model(
        {site: m[0] for site, m in made.items()}, {site: m[1] for site, m in made.items()}
    )
    assert fitted.height == 8
    for row in fitted.iter_rows(named=True):
        members = [m for m in made.values() if row["gene_id"] in m[3]]
        blocks = [
            np.column_stack(
                [np.full((len(m[2]), len(members)), np.eye(len(members))[k]), m[2][:, 1:]]
            )
            for k, m in enumerate(members)
        ]
        design = np.vstack(blocks)
        design = design[:, design.any(axis=0)]
        response = np.concatenate([m[3][row["gene_id"]] for m in members])
        reference = sm.OLS(response, design).fit()
        case = len(members)
        ours = [row[k] for k in ("coefficient", "standard_error", "statistic", "p_value")]
        theirs = [
            reference.params[case],
            reference.bse[case],
            reference.tvalues[case],
            reference.pvalues[case],
        ]
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)
        assert row["residual_variance"] == pytest.approx(reference.scale, rel=1e-8)
        assert row["degrees_of_freedom"] == reference.df_resid
        assert row["n"] == len(response)


def test_linear_model_is_null_where_case_is_confounded():
    design, moments, _, _ = _moments("a", 1, 30, GENES[:1])

    # Case equal to the intercept: every patient of the site is a case.
    def value(row, column):
        return design.filter((pl.col("row_term") == row) & (pl.col("column_term") == column))[
            "value"
        ][0]

    swap = {"case": "intercept"}
    confounded = design.with_columns(
        value=pl.Series(
            [
                value(swap.get(row, row), swap.get(column, column))
                for row, column in design.select("row_term", "column_term").iter_rows()
            ]
        )
    )
    xty = moments["xty"][0].to_list()
    xty[1] = xty[0]
    fitted = fit_pooled_linear_model(
        {"a": confounded}, {"a": moments.with_columns(xty=pl.Series([xty]))}
    )
    assert fitted["coefficient"].to_list() == [None]
    assert fitted["p_value"].to_list() == [None]


def test_a_gene_without_a_coefficient_informs_the_prior_all_the_same():
    """As in limma, whose prior is of all residual variances; the gene itself gets no statistic."""
    genes = [f"ENSG{number:011d}" for number in range(20)]
    design, moments, _, _ = _moments("a", 1, 30, genes)
    # At the other site, where the last gene alone is measured, everybody is a case.
    other, only, _, _ = _moments("b", 2, 25, genes[-1:])
    cells = {(row, column): value for row, column, value in other.select(DESIGN_CELL).iter_rows()}
    swap = {"case": "intercept"}
    confounded = other.with_columns(
        value=pl.Series(
            cells[swap.get(row, row), swap.get(column, column)]
            for row, column, _ in other.select(DESIGN_CELL).iter_rows()
        )
    )
    xty = only["xty"][0].to_list()
    xty[1] = xty[0]
    fitted = fit_pooled_linear_model(
        {"a": design, "b": confounded},
        {"a": moments.head(19), "b": only.with_columns(xty=pl.Series([xty]))},
    )
    last = fitted.row(-1, named=True)
    assert last["coefficient"] is last["moderated_statistic"] is last["moderated_p_value"] is None
    assert last["degrees_of_freedom"] == 25 - 3
    expected = moderate_variances(
        fitted["residual_variance"], fitted["degrees_of_freedom"], fitted["mean"]
    )
    assert fitted["residual_variance"].null_count() == 0
    np.testing.assert_array_equal(fitted["posterior_variance"], expected.posterior_variance)
    assert fitted["moderated_fdr"].null_count() == 1


def test_linear_model_refuses_moments_of_another_design():
    design, moments, _, _ = _moments("a", 1, 30, GENES[:2])
    with pytest.raises(InputError, match="do not fit the design"):
        fit_pooled_linear_model({"a": design}, {"a": moments.with_columns(n=pl.lit(31))})


def test_drivers_test_against_the_background_rate():
    rows = [
        (GENES[0], 1000, "any", "all", "all", 100, 40),
        (GENES[1], 100_000, "any", "all", "all", 100, 40),
        (GENES[2], None, "any", "all", "all", 100, 40),
    ]
    tables = {"a": _alterations(rows), "b": _alterations(rows)}
    burdens = {"a": _burden(100, 4.0), "b": _burden(300, 8.0)}
    drivers = {row["gene_id"]: row for row in find_driver_genes(tables, burdens).to_dicts()}
    rate = (100 * 4.0 + 300 * 8.0) / 400
    expected = 1 - np.exp(-rate * 0.001)
    assert drivers[GENES[0]]["expected"] == pytest.approx(expected, rel=1e-12)
    assert drivers[GENES[0]]["p_value"] == pytest.approx(
        stats.binomtest(80, 200, expected, alternative="greater").pvalue, rel=1e-9
    )
    assert drivers[GENES[1]]["p_value"] > 0.5  # a giant gene is expected to be altered this often
    assert drivers[GENES[2]]["p_value"] is None
    assert drivers[GENES[2]]["fdr"] is None


def test_withheld_counts_do_not_make_a_gene_significant():
    # 40 sites of 20 patients release a gene only with four or more altered patients; the last gene
    # is altered often enough to be released everywhere, which shows who was assessed.
    random = np.random.default_rng(5)
    expected, tables = 0.05, {}
    length = int(-np.log1p(-expected) / 10.0 * 1e6)
    for number in range(40):
        counts = [*random.binomial(20, expected, len(GENES) - 1), 10]
        tables[f"s{number}"] = _alterations(
            [
                (gene, length, "any", "all", "all", 20, int(k))
                for gene, k in zip(GENES, counts, strict=True)
                if k >= 4
            ]
        )
    drivers = find_driver_genes(tables, {"s0": _burden(800, 10.0)})
    chance = drivers.filter(pl.col("gene_id") != GENES[-1])
    assert chance.height > 2
    naive = stats.binom.sf(chance["n_altered"] - 1, chance["n_assessed"], chance["expected"])
    assert naive.max() < 0.05  # what the sites that released the genes would claim
    assert chance["p_value"].min() > 0.05
    assert (chance["n_assessed"] + chance["n_withheld"] == 800).all()


def test_without_burden_recurrence_is_not_estimable():
    tables = {"a": _alterations([(GENES[0], 900, "any", "all", "all", 40, 12)])}
    drivers = find_driver_genes(tables, {"a": _burden(1, 1.0).clear()})
    assert drivers["n_altered"].to_list() == [12]
    assert drivers["p_value"].to_list() == [None]


def test_burden_in_another_unit_is_refused():
    tables = {"a": _alterations([(GENES[0], 900, "any", "all", "all", 40, 12)])}
    with pytest.raises(ValueError, match="1/Mb"):
        find_driver_genes(tables, {"a": _burden(10, 5.0, unit="1/kb")})


def test_pooling_does_not_depend_on_the_order_of_sites():
    tables = {
        "a": _expression([0.5, 0.2], [0.1, 0.2]),
        "b": _expression([0.1, 0.4], [0.3, 0.1]),
    }
    assert_frame_equal(
        pool_expression_effects(tables),
        pool_expression_effects(dict(reversed(tables.items()))),
        rel_tol=1e-13,
    )


def _burden_moments(values, measure="all_mutations", unit="1/Mb", stratum="all"):
    return pl.DataFrame(
        {"measure": [measure], "unit": [unit], "stratum_variable": ["all"], "stratum": [stratum]}
        | {"n": [len(values)], "mean": [np.mean(values)], "variance": [np.var(values, ddof=1)]}
    )


def test_burdens_of_sites_are_those_of_their_patients_together():
    rng = np.random.default_rng(5)
    values = {"a": rng.gamma(2, 3, 40), "b": rng.gamma(3, 4, 25), "c": rng.gamma(2, 2, 12)}
    shares = {site: rng.beta(8, 1, 12) for site in ("a", "b")}
    tables = {
        site: pl.concat(
            [
                _burden_moments(values[site]),
                *(
                    _burden_moments(shares[name], "signature_share_apobec", "1")
                    for name in (site,)
                    if name in shares
                ),
            ]
        )
        for site in values
    }
    pooled = pool_mutation_burden(tables)
    assert pooled.height == 3 + 1 + 2 + 1
    every = np.concatenate(list(values.values()))
    (row,) = pooled.filter(pl.col("site").is_null(), measure="all_mutations").to_dicts()
    assert (row["n"], row["n_sites"], row["unit"]) == (77, 3, "1/Mb")
    assert row["mean"] == pytest.approx(every.mean())
    assert row["variance"] == pytest.approx(every.var(ddof=1))
    expected = stats.t.interval(0.95, 76, every.mean(), stats.sem(every))
    assert (row["confidence_low"], row["confidence_high"]) == pytest.approx(expected)
    of_b = pooled.filter(site="b", measure="all_mutations")
    assert of_b["confidence_high"].item() == pytest.approx(
        stats.t.interval(0.95, 24, values["b"].mean(), stats.sem(values["b"]))[1]
    )
    together = pooled.filter(pl.col("site").is_null(), unit="1")
    assert (together["n"].item(), together["n_sites"].item()) == (24, 2)
    assert pooled.filter(unit="1")["confidence_high"].max() <= 1


def test_burdens_that_nobody_released_and_units_that_differ():
    assert pool_mutation_burden({"a": _burden_moments([1, 2]).clear()}).is_empty()
    with pytest.raises(ValueError, match="all_mutations in different units"):
        pool_mutation_burden(
            {"a": _burden_moments([1, 2]), "b": _burden_moments([1, 2], unit="1/kb")}
        )
