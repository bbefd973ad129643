"""What the report is made of, and where the coordinator keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.study import Study, study_hash

__all__ = ["ReportInputs", "read_report_inputs"]


@dataclass(frozen=True)
class ReportInputs:
    """Accepted tables by site, pooled tables, and the records of intake."""

    study: Study
    study_hash: str
    releases: Mapping[str, Mapping[str, Any]]
    disclosures: Mapping[str, Mapping[str, Any]]
    cohort_profile: Mapping[str, pl.DataFrame]
    qc_profile: Mapping[str, pl.DataFrame]
    gene_alterations: Mapping[str, pl.DataFrame]
    pooled_expression: pl.DataFrame
    pooled_linear: pl.DataFrame
    pooled_survival: pl.DataFrame
    pooled_alterations: pl.DataFrame
    alteration_contrasts: pl.DataFrame
    drivers: pl.DataFrame
    mutation_burden: pl.DataFrame
    matrices: pl.DataFrame
    cell_composition: pl.DataFrame
    composition_contrasts: pl.DataFrame
    cell_expression: pl.DataFrame
    biomarkers: pl.DataFrame
    site_effects: pl.DataFrame
    account: pl.DataFrame


def read_report_inputs(study: Study, sites: Sequence[str], folder: Path | str) -> ReportInputs:
    """Read the coordinator's folder `results/<study>/meta`.

    Parameters
    ----------
    study
        The protocol.
    sites
        Sites whose bundles were accepted, in the order in which they are shown.
    folder
        Folder with the pooled tables and `intake/<site>/`.
    """
    meta = Path(folder)

    def accepted(table: str) -> dict[str, pl.DataFrame]:
        return {
            site: pl.read_parquet(meta / "intake" / site / f"{table}.parquet") for site in sites
        }

    def record(name: str) -> dict[str, dict[str, Any]]:
        return {
            site: json.loads((meta / "intake" / site / name).read_text(encoding="utf-8"))
            for site in sites
        }

    def pooled(name: str) -> pl.DataFrame:
        return pl.read_parquet(meta / f"{name}.parquet")

    return ReportInputs(
        study=study,
        study_hash=study_hash(study),
        releases=record("accepted.json"),
        disclosures=record("disclosure.json"),
        cohort_profile=accepted("cohort_profile"),
        qc_profile=accepted("qc_profile"),
        gene_alterations=accepted("gene_alterations"),
        pooled_expression=pooled("expression_effects"),
        pooled_linear=pooled("expression_linear"),
        pooled_survival=pooled("survival_effects"),
        pooled_alterations=pooled("gene_alterations"),
        alteration_contrasts=pooled("alteration_contrasts"),
        drivers=pooled("driver_genes"),
        mutation_burden=pooled("mutation_burden"),
        matrices=pooled("matrix_linear_model"),
        cell_composition=pooled("cell_composition"),
        composition_contrasts=pooled("cell_composition_contrasts"),
        cell_expression=pooled("cell_expression_effects"),
        biomarkers=pooled("biomarkers"),
        site_effects=pooled("site_effects"),
        account=pooled("harmonisation_account"),
    )
