"""The report is complete in itself and readable whatever the sites released."""

import json
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ihdsi.biomarkers.evidence import evidence_table, rank_biomarkers
from ihdsi.meta.cell_composition import compare_cell_composition, pool_cell_composition
from ihdsi.meta.drivers import find_driver_genes
from ihdsi.meta.harmonise import (
    account_for_sites,
    alteration_site_effects,
    cell_expression_site_effects,
    composition_site_effects,
    expression_site_effects,
    survival_site_effects,
)
from ihdsi.meta.linear import LINEAR_SCHEMA, MATRIX_LINEAR_SCHEMA
from ihdsi.meta.pool import (
    pool_alteration_contrasts,
    pool_cell_expression_effects,
    pool_expression_effects,
    pool_gene_alterations,
    pool_mutation_burden,
    pool_survival_effects,
)
from ihdsi.report.gallery import all_figures, write_figures
from ihdsi.report.inputs import ReportInputs
from ihdsi.report.page import render_report
from ihdsi.study import MatrixSettings, Study, study_hash

CONTRASTS = {"invasion": ("stage_group", "MIBC", "NMIBC")}
PROFILE = {
    "variable": pl.String,
    "kind": pl.String,
    "level": pl.String,
    "unit": pl.String,
    "bin_lower": pl.Float64,
    "bin_upper": pl.Float64,
    "stratum_variable": pl.String,
    "stratum": pl.String,
    "n": pl.Int64,
    "n_total": pl.Int64,
    "mean": pl.Float64,
    "standard_deviation": pl.Float64,
}


def _study(sites, simulated=True):
    return Study.model_validate(
        {
            "study": "demo",
            "version": "1.0",
            "title": "Markers <of> bladder cancer",
            "simulated": simulated,
            "simulation": {"seed": 1},
            "participants": sites,
            "reference": {"name": "R"},
            "clinical": {
                "variables": {
                    "age": {"type": "number", "unit": "a"},
                    "time": {"type": "number", "unit": "d"},
                    "event": {"type": "categorical", "levels": ["yes", "no"]},
                    "stage_group": {"type": "categorical", "levels": ["NMIBC", "MIBC"]},
                }
            },
            "strata": ["stage_group"],
            "contrasts": {
                "invasion": {"variable": "stage_group", "case": "MIBC", "control": "NMIBC"}
            },
            "endpoints": {"overall_survival": {"time": "time", "event": "event"}},
            "disclosure": {"minimum_n": 10},
            "quality_control": {"depth": {"assay": "dna", "unit": "1", "bins": [0, 30, 60]}},
            "biomarkers": {
                "tiers": [{"name": "tier 1", "maximum_fdr": 0.05, "minimum_sites": 2}],
                "report_genes": 4,
            },
        }
    )


CELL_TYPES = {"tumour": 0.5, "fibroblast": 0.3, "t_cell": 0.15}


def _cells(random):
    """Shares and effects within cell types of one site; fibroblasts grow with invasion."""
    counts = {"all": 40, "MIBC": 20, "NMIBC": 20}
    composition = pl.DataFrame(
        [
            {
                "cell_type": name,
                "stratum_variable": "all" if stratum == "all" else "stage_group",
                "stratum": stratum,
                "n_donors": n,
                "mean": mean
                + random.normal(0, 0.01)
                + 0.1 * (stratum == "MIBC") * (name == "fibroblast"),
                "variance": 0.004,
            }
            for name, mean in CELL_TYPES.items()
            for stratum, n in counts.items()
        ]
    )
    genes = [f"ENSG{number:011d}" for number in range(6)]
    effects = pl.concat(
        pl.DataFrame(
            {
                "cell_type": name,
                "contrast": "invasion",
                "gene_id": genes,
                "gene_name": [f"G{number}" for number in range(6)],
                "n_case": 18,
                "n_control": 17,
                "base_mean": 5.0,
                "log2_fold_change": random.normal(0, 0.3, 6)
                + 3.0 * (name == "fibroblast") * (np.arange(6) == 0),
                "standard_error": 0.3,
            }
        )
        for name in CELL_TYPES
    )
    return composition, effects


def _site(seed, rna=True, dna=True, clinical=True, cells=True, genes=30):
    random = np.random.default_rng(seed)
    ids = [f"ENSG{number:011d}" for number in range(genes)]
    names = [f"G{number}" for number in range(genes)]
    truth = np.where(np.arange(genes) < 5, 2.0, 0.0)
    error = random.uniform(0.1, 0.3, genes)
    common = {"gene_id": ids, "gene_name": names}
    expression = pl.DataFrame(
        {"contrast": "invasion", **common, "n_case": 20, "n_control": 20, "base_mean": 9.0}
        | {"log2_fold_change": truth + random.normal(0, error), "standard_error": error}
    )
    survival = pl.DataFrame(
        {"endpoint": "overall_survival", "feature_type": "expression", **common, "n": 40}
        | {"n_events": 20, "log_hazard_ratio": random.normal(0, error), "standard_error": error}
    )
    counts = {"MIBC": 20, "NMIBC": 20, "all": 40}
    alterations = pl.concat(
        pl.DataFrame(
            {
                **common,
                "coding_length": 1500,
                "alteration_class": kind,
                "stratum_variable": "all" if stratum == "all" else "stage_group",
                "stratum": stratum,
                "n_assessed": n,
                "n_altered": random.binomial(n, 0.3, genes),
            }
        )
        for stratum, n in counts.items()
        for kind in ("any", "missense")
    )
    measures = {"all_mutations": 7.0, "nonsynonymous_mutations": 5.0, "signature_share_apobec": 0.6}
    burden = pl.DataFrame(
        [
            {
                "measure": measure,
                "unit": "1" if mean < 1 else "1/Mb",
                "stratum_variable": "all" if stratum == "all" else "stage_group",
                "stratum": stratum,
                "n": n,
                "mean": mean,
                "variance": 0.1 * mean,
            }
            for measure, mean in measures.items()
            for stratum, n in counts.items()
        ]
    )
    profile = pl.DataFrame(
        [
            {"variable": "age", "kind": "bin", "unit": "a", "bin_lower": low, "bin_upper": high}
            | {"stratum_variable": "all", "stratum": "all", "n": 20, "n_total": 40}
            for low, high in ((20, 60), (60, 100))
        ]
        + [
            {"variable": "stage_group", "kind": "count", "level": "MIBC"}
            | {"stratum_variable": "all", "stratum": "all", "n": 20, "n_total": 40}
        ],
        schema=PROFILE,
    )
    # The study sets no limit of depth that warns.
    quality = pl.DataFrame(
        {
            "metric": ["depth", "depth", "failed_limits", "failed_limits"],
            "assay": "dna",
            "unit": "1",
            "bin_lower": [0.0, 30.0, 0.0, 1.0],
            "bin_upper": [30.0, 60.0, 1.0, 2.0],
            "n": [10, 30, 33, 7],
            "n_total": 40,
            "n_passed": [30, 30, 27, 27],
            "n_warned": [None, None, 6, 6],
            "n_failed": [10, 10, 7, 7],
        }
    )
    composition, within = _cells(random)
    return {
        "composition": composition if cells else composition.clear(),
        "cell_expression": within if cells else within.clear(),
        "expression": expression if rna else expression.clear(),
        "survival": survival if rna else survival.clear(),
        "alterations": alterations if dna else alterations.clear(),
        "burden": burden if dna else burden.clear(),
        "profile": profile if clinical else profile.clear(),
        "quality": quality if dna else quality.clear(),
    }


def _inputs(sites=("lih", "ncck"), simulated=True, **released):
    made = {site: _site(seed, **released) for seed, site in enumerate(sites)}

    def by_site(name):
        return {site: tables[name] for site, tables in made.items()}

    study = _study(list(sites), simulated)
    expression = pool_expression_effects(by_site("expression"))
    survival = pool_survival_effects(by_site("survival"))
    contrasts = pool_alteration_contrasts(by_site("alterations"), CONTRASTS)
    drivers = find_driver_genes(by_site("alterations"), by_site("burden"))
    effects, account = account_for_sites(
        [
            expression_site_effects(by_site("expression")),
            survival_site_effects(by_site("survival")),
            alteration_site_effects(by_site("alterations"), CONTRASTS),
            composition_site_effects(by_site("composition"), CONTRASTS),
            cell_expression_site_effects(by_site("cell_expression")),
        ],
        list(sites),
    )
    within = pool_cell_expression_effects(by_site("cell_expression"))
    release = {"study_hash": "0" * 64, "manifest_sha256": "1" * 64, "manifest": {}, "tables": {}}
    return ReportInputs(
        study=study,
        study_hash=study_hash(study),
        releases=dict.fromkeys(sites, release),
        disclosures={site: {"suppressed": {"gene_alterations": 7}} for site in sites},
        cohort_profile=by_site("profile"),
        qc_profile=by_site("quality"),
        gene_alterations=by_site("alterations"),
        pooled_expression=expression,
        pooled_linear=pl.DataFrame(schema=LINEAR_SCHEMA),
        pooled_survival=survival,
        pooled_alterations=pool_gene_alterations(by_site("alterations")),
        alteration_contrasts=contrasts,
        drivers=drivers,
        mutation_burden=pool_mutation_burden(by_site("burden")),
        matrices=pl.DataFrame(schema=MATRIX_LINEAR_SCHEMA),
        cell_composition=pool_cell_composition(by_site("composition")),
        composition_contrasts=compare_cell_composition(by_site("composition"), CONTRASTS),
        cell_expression=within,
        biomarkers=rank_biomarkers(
            evidence_table(expression, survival, contrasts, drivers, None, within),
            study.biomarkers.tiers,
        ),
        site_effects=effects,
        account=account,
    )


MANY = tuple(f"site_{number}" for number in range(35))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("full", {}),
        ("no_rna", {"rna": False}),
        ("no_dna", {"dna": False}),
        ("nothing", {"rna": False, "dna": False, "clinical": False, "cells": False}),
        ("one_site", {"sites": ("lih",)}),
        ("many_sites", {"sites": MANY, "rna": False, "clinical": False}),
    ],
)
def test_every_figure_is_a_chart_or_a_sentence(name, options):
    inputs = _inputs(**options)
    page = render_report(inputs)
    specifications = json.loads(
        re.search(r'id="specifications">(.*?)</script>', page, re.DOTALL).group(1)
    )
    for key, figure in all_figures(inputs).items():
        if figure.chart is None and key.startswith("cell_composition"):
            # Most studies have no single cells, and need not read that they have none.
            assert figure.absence not in page
        elif figure.chart is None:
            assert figure.absence in page, (name, key)
            assert f'id="chart-{key}"' not in page
        else:
            assert key in specifications
            assert f'id="chart-{key}" role="img" aria-label="' in page
    assert set(specifications) == {
        key for key, figure in all_figures(inputs).items() if figure.chart is not None
    }
    assert len(page.encode()) < 10_000_000


def test_samples_by_decision_are_shown():
    inputs = _inputs(sites=("lih",))
    page = render_report(inputs)
    cells = re.findall(r"<td>dna</td><td>(.*?)</td><td>lih</td>(.*?)</tr>", page)
    numbers = {metric: re.findall(r'<td class="n">(.*?)</td>', text) for metric, text in cells}
    assert numbers == {
        "depth": ["40", "30", "–", "10"],
        "failed limits": ["40", "27", "6", "7"],
    }
    assert "Limits that a sample of DNA fails" in page


def test_an_empty_study_says_so():
    page = render_report(_inputs(rna=False, dna=False, clinical=False, cells=False))
    for words in (
        "No site released a cohort profile",
        "No site released somatic alterations",
        "No site released a mutation burden or a signature share",
        "No site released expression effects",
        "No site released survival effects",
        "no gene could be ranked",
    ):
        assert words in page


def test_the_page_refers_to_no_network():
    page = render_report(_inputs())
    # Vega's own code holds the addresses of XML name spaces; the policy below forbids using any.
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert "http" not in markup.replace("http-equiv=", "")
    assert not re.search(r'(src|href)="(?!#)', markup)
    assert "@import" not in markup
    assert "url(" not in markup
    assert "default-src 'none'" in page
    assert "$schema" not in page.split('id="specifications">')[1].split("</script>")[0]


def test_the_power_of_the_membership_attack_is_shown_by_site():
    stated = {
        "n_patients": 148,
        "n_frequencies": 17,
        "power_before": 0.712,
        "power_after": 0.094,
        "area_under_curve": 0.58,
        "maximum_power": 0.1,
        "false_positive_rate": 0.05,
        "override": False,
    }
    inputs = _inputs(sites=("lih", "ncck"), rna=False)
    assert "Membership inference" not in render_report(inputs)
    documents = {
        "lih": {"membership": stated},
        "ncck": {"membership": stated | {"n_patients": None, "override": True}},
    }
    page = render_report(replace(inputs, disclosures=documents))
    section = page[page.index("<h3>Membership inference</h3>") : page.index('id="methods"')]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', section)
    cells = {site: re.findall(r"<td[^>]*>(.*?)</td>", text) for site, text in rows}
    numbers = ["17", "5 %", "0.712", "0.094", "0.580", "0.1"]
    assert cells["lih"] == ["148", *numbers, "study or site"]
    assert cells["ncck"] == ["not released", *numbers, "signed override"]
    documents = {"lih": {"membership": stated | {"exceeded_before": True}}}
    page = render_report(replace(inputs, disclosures=documents))
    assert "<td>earlier releases exceed it, nothing new left</td>" in page


def test_text_of_the_study_is_escaped():
    page = render_report(_inputs())
    assert "Markers &lt;of&gt; bladder cancer" in page
    assert "<of>" not in page


def test_the_banner_appears_only_for_simulated_data():
    assert "Simulated data" in render_report(_inputs())
    assert "Simulated data" not in render_report(_inputs(simulated=False))


def test_answers_are_computed():
    inputs = _inputs()
    page = render_report(inputs)
    passing = inputs.pooled_expression.filter(pl.col("fdr") <= 0.05).height
    assert passing >= 5
    assert f"{passing} of 30 genes differ between MIBC and NMIBC" in page
    assert "80 patients at 2 sites: lih 40, ncck 40" in page


def test_svg_files_exist_also_without_data(tmp_path):
    write_figures(_inputs(rna=False), tmp_path)
    names = sorted(path.stem for path in tmp_path.glob("*.svg"))
    assert names == sorted(all_figures(_inputs(rna=False)))
    empty = (tmp_path / "volcano_expression_invasion.svg").read_text()
    assert "No site released expression effects" in empty
    assert "<svg" in (tmp_path / "alterations.svg").read_text()


def test_differences_of_matrices_stand_beside_the_other_layers():
    inputs = _inputs(sites=("lih",))
    gene = inputs.biomarkers["gene_id"][0]
    protein = MatrixSettings(feature="id", unit="intensity", transform="log2")
    page = render_report(
        replace(
            inputs,
            study=inputs.study.model_copy(update={"matrices": {"protein": protein}}),
            biomarkers=inputs.biomarkers.with_columns(
                protein_effect=pl.when(pl.col("gene_id") == gene).then(-1.234)
            ),
        )
    )
    assert "<button>protein difference, log2(intensity)</button>" in page
    assert "<strong>Matrices.</strong> Protein: the linear model" in page
    assert "1.23" in page
    without = render_report(inputs)
    assert "protein difference" not in without
    assert "<strong>Matrices.</strong>" not in without


def _section(page, name):
    return page[page.index(f'<section id="{name}">') :].split("</section>")[0]


def _cells_of(section):
    """Rows of the tables of a section, as text."""
    rows = re.findall(r"<tr>(.*?)</tr>", section)
    return [[re.sub("<.*?>", "", c) for c in re.findall(r"<t[hd].*?</t[hd]>", r)] for r in rows]


def test_cell_types_have_a_section_with_figure_and_tables():
    inputs = _inputs()
    page = render_report(inputs)
    section = _section(page, "cells")
    assert '<a href="#cells">' in page
    assert 'id="chart-cell_composition_invasion"' in section
    shares, within = section.split("Expression within cell types")
    rows = {tuple(row[:2]): row for row in _cells_of(shares)}
    lead = inputs.composition_contrasts.filter(cell_type="fibroblast").row(0, named=True)
    shown = rows["invasion", "fibroblast"]
    assert shown[2] == f"{100 * lead['mean_case']:.1f} %"
    assert shown[4].startswith(f"+{100 * lead['difference']:.1f} [+")
    assert shown[-2:] == ["40 / 40", "2"]
    assert ("invasion", "t cell") in rows
    share = inputs.cell_composition.filter(
        pl.col("site").is_null() & (pl.col("stratum") == "all"), cell_type="tumour"
    ).row(0, named=True)
    tumour = rows["tumour", "80"]
    assert tumour[2].startswith(f"{100 * share['mean']:.1f} % [")
    assert len(tumour) == 5  # a column of each site
    # G0 in fibroblasts is far ahead of all else.
    assert _cells_of(within)[1][:3] == ["invasion", "fibroblast", "G0"]
    assert "Cell types: the shares of 1 of 3 cell types differ between MIBC and NMIBC" in page
    assert "log₂ fold change in a cell type" in page
    assert "Shares add up to one" in page


def test_a_study_without_cells_or_matrices_has_no_such_section(tmp_path):
    inputs = _inputs(cells=False)
    page = render_report(inputs)
    for words in ("Cell types", 'id="cells"', "cell type", 'id="matrices"', "Squair"):
        assert words not in page, words
    write_figures(inputs, tmp_path)
    drawn = (tmp_path / "cell_composition_invasion.svg").read_text()
    assert "No site released shares of cell types" in drawn


def test_features_of_matrices_have_a_section():
    inputs = _inputs(sites=("lih",), cells=False)
    protein = MatrixSettings(feature="id", unit="intensity", transform="log2")
    matrices = pl.DataFrame(
        [
            {
                "assay": "protein",
                "contrast": "invasion",
                "feature": f"P{number:05d}",
                "feature_name": f"protein {number}",
                "unit": "log2(intensity)",
                "n_sites": 2,
                "n": 78,
                "coefficient": -1.5,
                "standard_error": 0.2,
                "p_value": 10.0**-number,
                "fdr": 10.0 ** -(number - 1),
                "i_squared": 0.25,
                "same_direction": True,
            }
            for number in range(1, 10)
        ],
        schema=MATRIX_LINEAR_SCHEMA,
    )
    study = inputs.study.model_copy(update={"matrices": {"protein": protein}})
    page = render_report(replace(inputs, study=study, matrices=matrices))
    rows = _cells_of(_section(page, "matrices"))[1:]
    assert [row[2] for row in rows] == ["P00009", "P00008", "P00007", "P00006"]
    assert rows[0][4:6] == ["−1.50", "log2(intensity)"]
    assert rows[0][9:] == ["0.25", "yes", "78", "2"]
    assert 'id="chart-volcano_protein_invasion"' in page
    assert "difference, log2(intensity) (MIBC − NMIBC)" in page
    empty = render_report(replace(inputs, study=study))
    assert "No site released features of protein matrices" in _section(empty, "matrices")
    assert "Protein: 7 of 9 features differ between MIBC and NMIBC" in page
    assert "strongest protein 9 (−1.50 log2(intensity), FDR 1.0e\u201108)" in page
