"""The demo's sample sheets and clinical tables, in the words of each hospital."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ihdsi.files import write_tsv
from ihdsi.simulate.cells import cell_donors, cell_sample_rows
from ihdsi.simulate.cohort import DEMO_SITES, SiteDesign
from ihdsi.simulate.genome import gene_list, read_gene_panel
from ihdsi.simulate.patients import simulate_cohort
from ihdsi.simulate.streams import stream

__all__ = ["clinical_table", "sample_sheet", "write_demo_sheets"]

SIMULATED = "results/demo/simulated"
DAYS_PER_MONTH = 365.25 / 12
SAMPLE_COLUMNS = (
    "patient",
    "sample",
    "tissue",
    "assay",
    "lane",
    "fastq_1",
    "fastq_2",
    "vcf",
    "vcf_sample",
    "counts",
    "matrix",
    "cells",
    "cells_sample",
    "cells_column",
)


@dataclass(frozen=True)
class _LocalWords:
    """How a hospital names its columns and codes, and what it writes for a missing value."""

    columns: Mapping[str, str]
    codes: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]


LOCAL_WORDS = {
    "lih": _LocalWords(
        columns={
            "patient": "identifiant",
            "sex": "sexe",
            "age": "âge",
            "stage_group": "stade",
            "grade": "grade",
            "smoking": "tabac",
            "haemoglobin": "hémoglobine",
            "overall_survival_time": "suivi_mois",
            "overall_survival_event": "décès",
        },
        codes={
            "sex": {"female": "Femme", "male": "Homme"},
            "stage_group": {"NMIBC": "TVNIM", "MIBC": "TVIM"},
            "grade": {"low": "bas", "high": "haut"},
            "smoking": {"never": "jamais", "former": "ancien", "current": "actif"},
            "overall_survival_event": {"yes": "oui", "no": "non"},
        },
        missing={"grade": "inconnu", "smoking": "inconnu", "haemoglobin": "NA"},
    ),
    "ncck": _LocalWords(
        columns={
            "patient": "환자번호",
            "sex": "성별",
            "age": "나이",
            "stage_group": "병기",
            "grade": "등급",
            "smoking": "흡연",
            "haemoglobin": "혈색소",
            "overall_survival_time": "추적일수",
            "overall_survival_event": "사망여부",
        },
        codes={
            "sex": {"male": "1", "female": "2"},
            "stage_group": {"NMIBC": "비근침윤성", "MIBC": "근침윤성"},
            "grade": {"low": "저등급", "high": "고등급"},
            "smoking": {"never": "비흡연", "former": "과거흡연", "current": "현재흡연"},
            "overall_survival_event": {"yes": "Y", "no": "N"},
        },
        missing={"grade": "미상", "smoking": "미상", "haemoglobin": "미상"},
    ),
}
MISSING_PER_SITE = {"grade": 1, "smoking": 2, "haemoglobin": 2}


def sample_sheet(
    design: SiteDesign, donors: Sequence[str], simulated: str = SIMULATED
) -> pl.DataFrame:
    """Sample sheet of one site: a row per sample and lane, then the proteins and the cells.

    Parameters
    ----------
    donors
        Patients whose single cells are given (`ihdsi.simulate.cells.cell_donors`).
    simulated
        Folder of the simulated files, relative to the working directory.
    """
    folder = f"{simulated}/{design.site}"
    rows: list[dict[str, str]] = []
    for patient in design.patients:
        for suffix, tissue, assay in (
            ("T", "tumour", "dna"),
            ("N", "normal", "dna"),
            ("R", "tumour", "rna"),
        ):
            sample = f"{patient}-{suffix}"
            row = {"patient": patient, "sample": sample, "tissue": tissue, "assay": assay}
            if patient in design.fastq_patients:
                rows += [
                    row
                    | {
                        "lane": lane,
                        "fastq_1": f"{folder}/fastq/{sample}_{lane}_R1.fastq.gz",
                        "fastq_2": f"{folder}/fastq/{sample}_{lane}_R2.fastq.gz",
                    }
                    for lane in design.lanes(sample)
                ]
            elif assay == "rna":
                rows.append(row | {"counts": f"{folder}/gene_counts.tsv"})
            else:
                name = f"{sample}.somatic" if tissue == "tumour" else f"{design.site}.germline"
                rows.append(row | {"vcf": f"{folder}/vcf/{name}.vcf.gz", "vcf_sample": sample})
    rows += [
        {
            "patient": patient,
            "sample": f"{patient}-P",
            "tissue": "tumour",
            "assay": "protein",
            "matrix": f"{folder}/protein_matrix.tsv",
        }
        for patient in design.patients
    ]
    rows += cell_sample_rows(design, donors, folder)
    return pl.DataFrame(rows, schema=dict.fromkeys(SAMPLE_COLUMNS, pl.String))


def _decimal_comma(values: pl.Expr) -> pl.Expr:
    return values.round(1).cast(pl.String).str.replace(".", ",", literal=True)


def _local_numbers(site: str) -> list[pl.Expr]:
    """Numbers as text, in the units and the notation of the site."""
    if site == "lih":
        return [
            _decimal_comma(pl.col("age")).alias("age"),
            _decimal_comma(pl.col("haemoglobin") / 10).alias("haemoglobin"),
            _decimal_comma(pl.col("overall_survival_time") / DAYS_PER_MONTH).alias(
                "overall_survival_time"
            ),
        ]
    return [
        pl.col(name).round(0).cast(pl.Int64).cast(pl.String)
        for name in ("age", "haemoglobin", "overall_survival_time")
    ]


def clinical_table(seed: int, site: str, patients: pl.DataFrame) -> pl.DataFrame:
    """Clinical table of one site in its own labels, codes and units, all columns text.

    Parameters
    ----------
    patients
        Patients with survival, harmonised codes; those of other sites are left out.
    """
    words = LOCAL_WORDS[site]
    own = patients.filter(pl.col("site") == site)
    table = own.with_columns(
        *_local_numbers(site),
        *(pl.col(name).replace_strict(codes) for name, codes in words.codes.items()),
    ).select(words.columns.keys())
    for variable, n_missing in MISSING_PER_SITE.items():
        rng = stream(seed, "missing", site, variable)
        rows = rng.choice(table.height, size=n_missing, replace=False)
        is_missing = pl.int_range(pl.len()).is_in(rows.tolist())
        table = table.with_columns(
            pl.when(is_missing)
            .then(pl.lit(words.missing[variable]))
            .otherwise(pl.col(variable))
            .alias(variable)
        )
    return table.rename(dict(words.columns))


def write_demo_sheets(
    seed: int,
    config_dir: Path | str,
    panel_path: Path | str,
    sites: Sequence[SiteDesign] = DEMO_SITES,
) -> None:
    """Write ``<config_dir>/sites/<site>/samples.tsv`` and ``clinical.tsv`` of every site.

    Parameters
    ----------
    seed
        The study's seed.
    config_dir
        The project's `config` folder.
    panel_path
        The gene panel; survival depends on expression and so on the gene list.
    """
    genes = gene_list(read_gene_panel(panel_path))
    cohort = simulate_cohort(seed, genes, sites)
    for design in sites:
        folder = Path(config_dir) / "sites" / design.site
        donors = cell_donors(cohort.patients, design)
        write_tsv(sample_sheet(design, donors), folder / "samples.tsv")
        write_tsv(clinical_table(seed, design.site, cohort.patients), folder / "clinical.tsv")
