"""The report's first lines: the question and what the data answer, in computed numbers."""

from __future__ import annotations

import polars as pl

from ihdsi.report.inputs import ReportInputs
from ihdsi.report.tables import format_p, participants

__all__ = ["answer_lines", "question"]


def question(inputs: ReportInputs) -> str:
    """State what the study asks, from its contrasts and endpoints."""
    asked = [
        f"distinguish {spec.case} from {spec.control}" for spec in inputs.study.contrasts.values()
    ]
    asked += [
        f"go with {spec.label or name.replace('_', ' ')}"
        for name, spec in inputs.study.endpoints.items()
    ]
    asked.append("are altered more often than chance explains")
    return f"Which genes {', or '.join(asked)}, and do the sites agree?"


def answer_lines(inputs: ReportInputs) -> list[str]:
    """Answer in lines: who, expression, survival, alterations, biomarkers.

    Cell types and matrices have lines only where the study has such data.
    """
    lines = [
        _who(inputs),
        _expression(inputs),
        _cell_types(inputs),
        *_matrices(inputs),
        _survival(inputs),
        _alterations(inputs),
        _tiers(inputs),
    ]
    return [line for line in lines if line]


def _who(inputs: ReportInputs) -> str:
    rows = participants(inputs.cohort_profile, inputs.releases)
    known = [row for row in rows if row["n"] is not None]
    sites = "1 site" if len(rows) == 1 else f"{len(rows)} sites"
    if not known:
        return f"{sites} released a bundle; none released the number of its patients."
    total = sum(row["n"] for row in known)
    if len(known) > 6:
        return f"{total:,} patients at {sites}."
    return (
        f"{total:,} patients at {sites}: "
        + ", ".join(f"{row['site']} {row['n']:,}" for row in known)
        + "."
    )


def _unbroken(number: str) -> str:
    """Keep an exponent on one line."""
    return number.replace("-", "\u2011")


def _strongest(passing: pl.DataFrame, effect: str) -> str:
    first = passing.sort("p_value").row(0, named=True)
    centre, low, high = (
        f"{first[name]:.2f}".replace("-", "−")
        for name in ("effect", "confidence_low", "confidence_high")
    )
    fdr = _unbroken(format_p(first["fdr"]))
    name = first["gene_name"] or first["gene_id"]
    return f"strongest {name} ({effect} {centre}, 95 % CI {low} to {high}, FDR {fdr})"


def _expression(inputs: ReportInputs) -> str:
    pooled, rate = inputs.pooled_expression, inputs.study.meta.false_discovery_rate
    if pooled.is_empty():
        return "Expression: no site released expression effects."
    parts = []
    for name, spec in inputs.study.contrasts.items():
        tested = pooled.filter(pl.col("contrast") == name)
        passing = tested.filter(pl.col("fdr") <= rate)
        part = (
            f"{passing.height:,} of {tested.height:,} genes differ between {spec.case} and "
            f"{spec.control} at a false discovery rate of {rate:g}"
        )
        parts.append(
            part if passing.is_empty() else f"{part}; {_strongest(passing, 'log₂ fold change')}"
        )
    return "Expression: " + ". ".join(parts) + "."


def _cell_types(inputs: ReportInputs) -> str:
    compared, rate = inputs.composition_contrasts, inputs.study.meta.false_discovery_rate
    parts = []
    for name, spec in inputs.study.contrasts.items():
        tested = compared.filter((pl.col("contrast") == name) & pl.col("p_value").is_not_null())
        if tested.is_empty():
            continue
        passing = tested.filter(pl.col("fdr") <= rate).sort("p_value")
        part = (
            f"the shares of {passing.height:,} of {tested.height:,} cell types differ between "
            f"{spec.case} and {spec.control} at a false discovery rate of {rate:g}"
        )
        if passing.height:
            first = passing.row(0, named=True)
            centre, low, high = (
                f"{100 * first[column]:+.1f}".replace("-", "−")
                for column in ("difference", "confidence_low", "confidence_high")
            )
            part += (
                f"; strongest {first['cell_type'].replace('_', ' ')} ({centre} percentage points, "
                f"95 % CI {low} to {high}, FDR {_unbroken(format_p(first['fdr']))})"
            )
        parts.append(part)
    return f"Cell types: {'. '.join(parts)}." if parts else ""


def _matrices(inputs: ReportInputs) -> list[str]:
    rate = inputs.study.meta.false_discovery_rate
    lines = []
    for assay in inputs.study.matrices:
        parts = []
        for name, spec in inputs.study.contrasts.items():
            tested = inputs.matrices.filter(
                (pl.col("assay") == assay)
                & (pl.col("contrast") == name)
                & pl.col("p_value").is_not_null()
            )
            if tested.is_empty():
                continue
            passing = tested.filter(pl.col("fdr") <= rate).sort("p_value")
            part = (
                f"{passing.height:,} of {tested.height:,} features differ between {spec.case} and "
                f"{spec.control} at a false discovery rate of {rate:g}"
            )
            if passing.height:
                first = passing.row(0, named=True)
                difference = f"{first['coefficient']:+.2f}".replace("-", "−")
                part += (
                    f"; strongest {first['feature_name'] or first['feature']} ({difference} "
                    f"{first['unit']}, FDR {_unbroken(format_p(first['fdr']))})"
                )
            parts.append(part)
        if parts:
            lines.append(f"{assay.capitalize()}: {'. '.join(parts)}.")
    return lines


def _survival(inputs: ReportInputs) -> str:
    pooled, rate = inputs.pooled_survival, inputs.study.meta.false_discovery_rate
    if pooled.is_empty():
        return "Survival: no site released survival effects."
    parts = []
    for name, spec in inputs.study.endpoints.items():
        tested = pooled.filter(pl.col("endpoint") == name)
        passing = tested.filter(pl.col("fdr") <= rate)
        part = (
            f"{passing.height:,} of {tested.height:,} genes go with "
            f"{spec.label or name.replace('_', ' ')}"
        )
        parts.append(
            part if passing.is_empty() else f"{part}; {_strongest(passing, 'log hazard ratio')}"
        )
    return "Survival: " + ". ".join(parts) + "."


def _alterations(inputs: ReportInputs) -> str:
    drivers, rate = inputs.drivers, inputs.study.meta.false_discovery_rate
    if drivers.is_empty():
        return "Alterations: no site released somatic alterations."
    tested = drivers.filter(pl.col("p_value").is_not_null())
    if tested.is_empty():
        return (
            f"Alterations: {drivers.height:,} genes were summed over sites, but recurrence could "
            "not be tested without mutation burden and coding lengths."
        )
    passing = tested.filter(pl.col("fdr") <= rate)
    line = (
        f"Alterations: {passing.height:,} of {tested.height:,} genes are altered more often than "
        "the background rate explains"
    )
    if passing.is_empty():
        return f"{line}."
    first = passing.sort("p_value").row(0, named=True)
    return (
        f"{line}; strongest {first['gene_name'] or first['gene_id']} "
        f"({100 * first['frequency']:.0f} % of {first['n_assessed']:,} patients, "
        f"{100 * first['expected']:.1f} % expected)."
    )


def _tiers(inputs: ReportInputs) -> str:
    tiers = inputs.study.biomarkers.tiers
    if inputs.biomarkers.is_empty():
        return "Biomarkers: no layer gave a p-value, so no gene could be ranked."
    sizes = {t.name: inputs.biomarkers.filter(pl.col("tier") == t.name).height for t in tiers}
    counted = [f"{n} {'gene' if n == 1 else 'genes'} in {name}" for name, n in sizes.items()]
    if not counted:
        return "Biomarkers: the study defines no tier."
    first = inputs.biomarkers.filter(pl.col("tier") == tiers[0].name)
    names = first.select(pl.coalesce("gene_name", "gene_id")).head(8).to_series().to_list()
    named = f"; {tiers[0].name}: {', '.join(names)}" if names else ""
    more = f" and {first.height - len(names)} more" if first.height > len(names) else ""
    return f"Biomarkers: {', '.join(counted)}{named}{more}."
