"""The coordinator's page: one self-contained HTML file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import vl_convert
from markupsafe import Markup

from ihdsi.files import write_text
from ihdsi.report import tables
from ihdsi.report.answers import answer_lines, question
from ihdsi.report.gallery import Figure, all_figures
from ihdsi.report.inputs import ReportInputs
from ihdsi.report.markup import script_json, template_environment, template_text

__all__ = ["render_report", "write_report"]

#: What the bundle of Vega must leave behind for the page's own script.
GLOBALS = "window.vegaEmbed = vegaEmbed;"

#: With more sites than this, tables of cohorts and cell types show no strata or no single sites.
SITES_WITH_STRATA = 4

SOFTWARE = ("ihdsi", "polars", "numpy", "scipy", "altair", "vl-convert-python", "snakemake")


def _specification(figure: Figure) -> dict[str, Any]:
    if figure.chart is None:
        raise ValueError(f"figure '{figure.name}' has no chart")
    specification: dict[str, Any] = figure.chart.to_dict()
    # The schema's address is the only network reference of a chart; nothing needs it here.
    specification.pop("$schema", None)
    return specification


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _signed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def render_report(inputs: ReportInputs) -> str:
    """Render the page.

    Parameters
    ----------
    inputs
        Pooled tables and intake records; any table may have no rows.

    Returns
    -------
    str
        HTML with style, scripts and data inline. Its content security policy forbids every network
        access.
    """
    figures = all_figures(inputs)
    environment = template_environment()
    environment.filters["p"] = tables.format_p
    environment.filters["number"] = _number
    environment.filters["signed"] = _signed
    drawn = {
        name: _specification(figure) for name, figure in figures.items() if figure.chart is not None
    }
    genes = inputs.study.biomarkers.report_genes
    few_sites = len(inputs.releases) <= SITES_WITH_STRATA
    return environment.get_template("index.html.j2").render(
        study=inputs.study,
        study_hash=inputs.study_hash,
        question=question(inputs),
        answers=answer_lines(inputs),
        figures=figures,
        participants=tables.participants(inputs.cohort_profile, inputs.releases),
        characteristics=tables.characteristics(
            inputs.cohort_profile, with_strata=len(inputs.cohort_profile) <= SITES_WITH_STRATA
        ),
        quality_counts=tables.quality_counts(inputs.qc_profile),
        matrices=tables.matrix_rows(inputs.matrices, genes),
        composition=tables.cell_composition_rows(inputs.cell_composition, few_sites),
        composition_contrasts=tables.composition_contrast_rows(inputs.composition_contrasts),
        cell_expression=tables.cell_expression_rows(inputs.cell_expression, genes),
        biomarkers=tables.biomarker_rows(inputs.biomarkers, 4 * genes),
        n_ranked=inputs.biomarkers.height,
        drivers=inputs.drivers.head(genes).to_dicts(),
        linear=_linear_rows(inputs),
        account=tables.account_totals(inputs.account),
        disclosure=tables.disclosure_rows(inputs.disclosures),
        membership=tables.membership_rows(inputs.disclosures),
        n_sites=len(inputs.releases),
        withheld=tables.WITHHELD,
        software={name: version(name) for name in SOFTWARE},
        style=Markup(template_text("report.css")),
        behaviour=Markup(template_text("report.js")),
        vega=Markup(vl_convert.javascript_bundle(GLOBALS)) if drawn else Markup(""),
        specifications=script_json(drawn),
    )


def _linear_rows(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Leading genes of the exact pooled linear model, strongest first within each contrast."""
    return (
        inputs.pooled_linear.sort("contrast", "p_value", nulls_last=True)
        .group_by("contrast", maintain_order=True)
        .head(inputs.study.biomarkers.report_genes)
        .to_dicts()
    )


def write_report(inputs: ReportInputs, path: Path | str) -> None:
    """Render the page and write it, atomically."""
    write_text(render_report(inputs), path)
