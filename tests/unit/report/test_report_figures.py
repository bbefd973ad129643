"""Charts show the numbers that they were given."""

import json

import numpy as np
import polars as pl
import pytest
import vl_convert

from ihdsi.meta.cell_composition import compare_cell_composition
from ihdsi.meta.harmonise import composition_site_effects
from ihdsi.meta.pool import pool_gene_alterations, pool_mutation_burden
from ihdsi.report import figures
from ihdsi.report.tables import (
    characteristics,
    disclosure_rows,
    format_p,
    format_points,
    membership_rows,
    unit_suffix,
)


def _values(chart):
    """All inline rows of a chart."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("values"), list) and node["values"]:
                found.extend(v for v in node["values"] if isinstance(v, dict))
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(chart.to_dict())
    return found


def _alterations(site_counts):
    return {
        site: pl.DataFrame(
            {
                "gene_id": [f"g{number}" for number in range(len(counts))],
                "gene_name": [f"G{number}" for number in range(len(counts))],
                "coding_length": 1000,
                "alteration_class": "any",
                "stratum_variable": "all",
                "stratum": "all",
                "n_assessed": 50,
                "n_altered": counts,
            }
        )
        for site, counts in site_counts.items()
    }


def test_each_frequency_lies_in_its_own_interval():
    random = np.random.default_rng(2)
    tables = _alterations({site: random.permutation(40)[:20].tolist() for site in ("a", "b")})
    pooled = pool_gene_alterations(tables)
    genes = random.permutation(pooled["gene_id"].to_numpy()).tolist()
    rows = [
        row
        for row in _values(figures.alteration_dots(tables, pooled, genes, "d"))
        if "low" in row and "share" in row
    ]
    assert len({(row["name"], row["site"]) for row in rows}) == 40
    for row in rows:
        assert row["share"] == pytest.approx(row["n_altered"] / 50, rel=1e-4)
        assert row["low"] <= row["share"] <= row["high"]
        assert (
            tables[row["site"]].filter(pl.col("gene_name") == row["name"])["n_altered"][0]
            == (row["n_altered"])
        )


def _burdens(sites):
    return pool_mutation_burden(
        {
            site: pl.DataFrame(
                {"measure": ["signature_share_apobec", "all_mutations", "signature_share_other"]}
                | {"unit": ["1", "1/Mb", "1"], "stratum_variable": "all", "stratum": "all"}
                | {"n": 20, "mean": [0.6, 8.0 + number, 0.1], "variance": [0.04, 9.0, 0.01]}
            )
            for number, site in enumerate(sites)
        }
    )


@pytest.mark.parametrize(("n_sites", "shown"), [(1, 1), (2, 3), (7, 8), (8, 1)])
def test_burdens_are_drawn_by_site_and_together(n_sites, shown):
    titles = {"all_mutations": "mutations per Mb", "signature_share_apobec": "share"}
    burden = _burdens([f"site_{number}" for number in range(n_sites)])
    chart = figures.burden_means(burden, titles, "d")
    rows = _values(chart)
    assert len({row["site"] for row in rows}) == shown
    assert ("all sites" in {row["site"] for row in rows}) == (n_sites > 1)
    assert all(row["confidence_low"] < row["mean"] < row["confidence_high"] for row in rows)
    assert {row["mean"] for row in rows} >= {0.6}  # the measure that has no title keeps out
    assert 0.1 not in {row["mean"] for row in rows}
    panels = chart.to_dict()["concat"]
    assert [panel["layer"][0]["encoding"]["x"]["title"] for panel in panels] == list(
        titles.values()
    )
    assert figures.burden_means(burden.clear(), titles, "d") is None


def test_classes_and_copy_numbers_have_panels_of_their_own():
    tables = _alterations({"a": [20, 10, 0]})
    template = tables["a"]
    kinds = {"hotspot": [9, 0, 0], "promoter": [0, 0, 30], "amplification": [4, 0, 0]}
    kinds |= {"loss": [6, 0, 2]}
    extra = [
        template.with_columns(alteration_class=pl.lit(kind), n_altered=pl.Series(counts))
        for kind, counts in kinds.items()
    ]
    tables = {"a": pl.concat([template, *extra])}
    pooled = pool_gene_alterations(tables)
    chart = figures.alteration_dots(tables, pooled, ["g0", "g1", "g2"], "d")
    assert len(chart.to_dict()["hconcat"]) == 3
    rows = [row for row in _values(chart) if "rank" in row]
    drawn = {(row["name"], row["alteration_class"]): row["n_altered"] for row in rows}
    # Zeros are no bars.
    assert drawn == {
        ("G0", "hotspot"): 9,
        ("G0", "amplification"): 4,
        ("G0", "loss"): 6,
        ("G2", "loss"): 2,
    }
    dots = {row["name"]: row["n_altered"] for row in _values(chart) if "low" in row}
    assert dots == {"G0": 20, "G1": 10, "G2": 0, "G2 promoter": 30}
    signed = {(r["name"], r["alteration_class"]): r["signed"] for r in rows if "signed" in r}
    assert signed == {
        ("G0", "amplification"): pytest.approx(4 / 50),
        ("G0", "loss"): pytest.approx(-6 / 50),
        ("G2", "loss"): pytest.approx(-2 / 50),
    }
    without = {"a": template}
    assert (
        "hconcat"
        not in figures.alteration_dots(
            without, pool_gene_alterations(without), ["g0"], "d"
        ).to_dict()
    )


def test_a_withheld_bin_stays_on_the_axis_and_is_marked():
    profile = pl.DataFrame(
        {
            "metric": "depth",
            "bin_lower": [0.0, 40.0],
            "bin_upper": [20.0, 60.0],
            "n": [10, 30],
            "n_total": 45,
        }
    )
    chart = figures.binned_histograms({"a": profile}, "metric", {}, "samples", "d")
    panel = chart.to_dict()["concat"][0]
    assert panel["layer"][0]["encoding"]["x"]["scale"]["domain"] == ["0–20", "20–40", "40–60"]
    withheld = [row for row in _values(chart) if "share" not in row]
    assert withheld == [{"bin": "20–40", "site": "a"}]


def test_forest_text_is_the_estimate_with_its_interval():
    sites = pl.DataFrame(
        {"gene_id": "g", "site": ["a", "b"], "effect": [0.0, -0.5], "standard_error": [0.1, 0.2]}
        | {"n": [10, 20]}
    )
    pooled = pl.DataFrame(
        {"gene_id": ["g"], "gene_name": ["G"], "effect": [-0.1], "confidence_low": [-0.3]}
        | {"confidence_high": [0.1], "i_squared": [0.42]}
    )
    chart = figures.forest(sites, pooled, "log₂ fold change", "d")
    texts = {row["text"] for row in _values(chart) if "text" in row}
    assert {"0.00 [−0.20, 0.20]", "−0.50 [−0.89, −0.11]", "−0.10 [−0.30, 0.10]"} == texts
    assert chart.to_dict()["concat"][0]["title"]["subtitle"] == "I² = 42 %"
    ratio = figures.forest(sites, pooled, "hazard ratio", "d", exponentiate=True)
    assert "1.00 [0.82, 1.22]" in {row.get("text") for row in _values(ratio)}


def test_volcano_draws_every_passing_gene_and_labels_do_not_overlap():
    random = np.random.default_rng(8)
    p = np.concatenate([10.0 ** -random.uniform(5, 30, 60), random.random(9000)])
    pooled = pl.DataFrame(
        {
            "gene_id": [f"g{number}" for number in range(p.size)],
            "gene_name": [f"GENE{number}" for number in range(p.size)],
            "effect": random.normal(0, 1, p.size),
            "p_value": p,
            "fdr": np.where(np.arange(p.size) < 60, 0.001, 0.9),
            "n_sites": 2,
            "i_squared": 0.0,
        }
    )
    rows = _values(figures.volcano(pooled, "effect", 0.05, "d"))
    drawn = {row["gene_id"] for row in rows if "gene_id" in row}
    assert {f"g{number}" for number in range(60)} <= drawn
    labels = [row for row in rows if "label_x" in row and "name" in row]
    assert 1 < len(labels) <= 12
    assert figures.volcano(pooled.clear(), "effect", 0.05, "d") is None


def test_a_p_value_of_zero_can_be_drawn():
    pooled = pl.DataFrame(
        {"gene_id": ["g"], "gene_name": ["G"], "effect": [1.0], "p_value": [0.0], "fdr": [0.0]}
        | {"n_sites": [2], "i_squared": [0.0]}
    )
    rows = _values(figures.volcano(pooled, "effect", 0.05, "d"))
    assert max(row["minus_log10_p"] for row in rows if "minus_log10_p" in row) == 300


def test_characteristics_say_what_was_not_released():
    def profile(level_counts):
        return pl.DataFrame(
            [
                {
                    "variable": "sex",
                    "kind": "count",
                    "level": level,
                    "unit": None,
                    "stratum_variable": "all",
                    "stratum": "all",
                    "n": n,
                    "n_total": 40,
                    "mean": None,
                    "standard_deviation": None,
                }
                for level, n in level_counts.items()
            ]
        )

    table = characteristics({"a": profile({"female": 10, "male": 30}), "b": profile({"male": 36})})
    cells = {row["label"]: row["cells"] for row in table["groups"][0]["rows"]}
    assert cells["female"] == ["10 (25 %)", "not released"]
    assert cells["male"] == ["30 (75 %)", "36 (90 %)"]


def test_words_of_numbers():
    assert format_p(None) == "–"
    assert format_p(0.0412) == "0.041"
    assert format_p(3.21e-9) == "3.2e-09"
    assert unit_suffix("a") == " (years)"
    assert unit_suffix("1") == ""


def test_disclosure_documents_of_any_shape_become_lines():
    document = {"thresholds": {"minimum_n": 10}, "cells": [{"table": "t", "rule": "r", "n": 4}]}
    rows = disclosure_rows({"lih": document})
    assert rows == [
        {"site": "lih", "statement": "thresholds › minimum n", "value": "10"},
        {"site": "lih", "statement": "cells › t › r › n", "value": "4"},
    ]


def test_membership_has_a_row_for_each_site_that_states_it():
    stated = {
        "n_patients": None,
        "n_frequencies": 3,
        "power_before": 0.71,
        "power_after": 0.09,
        "area_under_curve": 0.58,
        "maximum_power": 0.3,
        "false_positive_rate": 0.05,
        "override": True,
    }
    documents = {"lih": {"membership": stated}, "ncck": {"membership": None}, "third": {}}
    assert membership_rows(documents) == [{"site": "lih", **stated}]
    assert disclosure_rows(documents) == []


def _compared(n_sites=2, nothing=False):
    """Contrast table and site effects of three cell types, of means and variances of their own."""
    tables = {
        f"site{number}": pl.DataFrame(
            [
                {
                    "cell_type": cell_type,
                    "stratum_variable": "stage",
                    "stratum": level,
                    "n_donors": 10 + number,
                    "mean": mean + 0.01 * number * (level == "MIBC"),
                    "variance": 0.0 if nothing else 0.001,
                }
                for cell_type, means in {
                    "t_cell": (0.2, 0.2),
                    'it\'s_"tumour"': (0.3, 0.5),
                    "fibroblast": (0.4, 0.3),
                }.items()
                for level, mean in zip(("MIBC", "NMIBC"), means, strict=True)
            ]
        )
        for number in range(n_sites)
    }
    contrasts = {"invasion": ("stage", "MIBC", "NMIBC")}
    return compare_cell_composition(tables, contrasts), composition_site_effects(tables, contrasts)


@pytest.mark.parametrize("n_sites", [1, 2, 9])
def test_differences_of_cell_types_stand_in_percentage_points(n_sites):
    compared, effects = _compared(n_sites)
    chart = figures.composition_differences(compared, effects, "t", "d")
    values = _values(chart)
    pooled = {row["cell_type"]: row for row in values if "confidence_low" in row}
    for row in compared.iter_rows(named=True):
        drawn = pooled[row["cell_type"].replace("_", " ")]
        for name in ("difference", "confidence_low", "confidence_high"):
            assert drawn[name] == pytest.approx(100 * row[name], rel=1e-4)
        assert (drawn["n_case"], drawn["n_control"]) == (row["n_case"], row["n_control"])
    # The largest difference stands on top.
    assert sorted(pooled, key=lambda name: -pooled[name]["place"]) == [
        "fibroblast",
        "t cell",
        'it\'s "tumour"',
    ]
    own = [row for row in values if "site" in row]
    assert len(own) == 3 * n_sites
    for row in own:
        assert row["place"] < pooled[row["cell_type"]]["place"]
        shift = {"fibroblast": 10, "t cell": 0}.get(row["cell_type"], -20)
        assert row["difference"] == pytest.approx(shift + int(row["site"][-1]), abs=1e-3)
    texts = [row for row in values if "donors" in row]
    n = sum(10 + number for number in range(n_sites))
    assert {row["donors"] for row in texts} == {f"{n} / {n}"}
    coloured = '"field": "site", "scale"' in json.dumps(chart.to_dict())
    assert coloured == (n_sites < 9)
    assert chart.to_dict()["description"] == "d"
    # Vega parses the labels, quotes and all.
    assert "<svg" in vl_convert.vegalite_to_svg(chart.to_dict())


def test_differences_without_a_test_are_drawn_without_an_interval():
    compared, effects = _compared(1, nothing=True)
    values = _values(figures.composition_differences(compared, effects, "t", "d"))
    assert {row["estimate"] for row in values if "donors" in row} == {"+10.0", "+0.00", "−20.0"}
    assert figures.composition_differences(compared.clear(), effects, "t", "d") is None


def test_percentage_points_have_decimals_by_their_interval():
    assert format_points(0.0123, 0.01, 0.015) == "+1.23 [+1.00, +1.50]"
    assert format_points(-0.074, -0.134, -0.014) == "−7.4 [−13.4, −1.4]"
    assert format_points(0.1, None, None) == "+10.0"
    assert format_points(None, None, None) == "–"
