"""A public cohort, split by the hospital that collected each case, to run as a real federation."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import yaml

from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output, write_text, write_tsv
from ihdsi.simulate.practice_keys import create_practice_keys
from ihdsi.study import load_study

__all__ = ["split_cohort_by_site", "write_federation"]

PATIENT = "Tumor_Sample_Barcode"
SITE = "tissue_source_site"
SURVIVAL = {"OS": "overall_survival_event", "OS.time": "overall_survival_time"}


def _read_text_table(path: Path | str, needed: tuple[str, ...]) -> pl.DataFrame:
    """Read a TSV, plain or gzipped, with all columns as text."""
    table = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise InputError(
            Problem(
                f"the column {missing[0]} is missing",
                "Give the table as the Genomic Data Commons or TCGAmutations exports it.",
                path,
                row=1,
                column=missing[0],
            )
        )
    return table


def _write_maf(maf: pl.DataFrame, path: Path) -> None:
    with (
        atomic_output(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        packed.write(maf.write_csv(separator="\t", quote_style="never").encode())


def split_cohort_by_site(
    maf_path: Path | str,
    clinical_path: Path | str,
    output_dir: Path | str,
    *,
    survival_path: Path | str | None = None,
    minimum_patients: int = 1,
) -> pl.DataFrame:
    """Split a TCGA cohort into one folder per tissue source site.

    Each folder ``<output_dir>/tss_<code>`` gets ``maf.tsv.gz`` (the MAF's own columns),
    ``clinical.tsv`` (the clinical columns, unknown values empty) and ``samples.tsv`` (one tumour
    DNA sample a patient, entering as MAF). Patients without a mutation stay in the sheets: they
    were sequenced, so they belong to the denominators.

    Parameters
    ----------
    maf_path
        Mutations, with ``Tumor_Sample_Barcode`` as in the clinical table.
    clinical_path
        One row a patient, with ``Tumor_Sample_Barcode`` and ``tissue_source_site``.
    output_dir
        Where the folders go. Paths in ``samples.tsv`` begin with it, as it was given.
    survival_path
        Table with ``_PATIENT``, ``OS`` (0 | 1) and ``OS.time`` (d). Adds overall_survival_event
        (no | yes) and overall_survival_time (d) to the clinical tables.
    minimum_patients
        Sites with fewer patients are left out.

    Returns
    -------
    polars.DataFrame
        site, tissue_source_site, n_patients, n_mutations of every folder, largest site first.

    Raises
    ------
    InputError
        If a column is missing, or the mutations name a patient without a clinical row.
    """
    maf = _read_text_table(maf_path, (PATIENT, "Hugo_Symbol"))
    clinical = _read_text_table(clinical_path, (PATIENT, SITE))
    unknown = maf.join(clinical, on=PATIENT, how="anti")[PATIENT].unique().sort()
    if len(unknown):
        raise InputError(
            Problem(
                f"{len(unknown)} patients have mutations and no clinical row, "
                f"the first being {unknown[0]}",
                "Give the clinical table of the same cohort.",
                maf_path,
                column=PATIENT,
            )
        )
    clinical = clinical.with_columns(
        pl.when(pl.all().is_in(["NA", "[Not Available]"]))
        .then(None)
        .otherwise(pl.all())
        .name.keep()
    )
    if survival_path is not None:
        clinical = clinical.join(
            _read_text_table(survival_path, ("_PATIENT", *SURVIVAL))
            .select(
                pl.col("_PATIENT").alias(PATIENT),
                pl.col("OS").replace_strict({"0": "no", "1": "yes"}, default=None),
                "OS.time",
            )
            .unique(PATIENT, keep="first", maintain_order=True)
            .rename(SURVIVAL),
            on=PATIENT,
            how="left",
            maintain_order="left",
        )
    clinical = clinical.with_columns(site="tss_" + pl.col(SITE).str.to_lowercase())
    maf_of_site = maf.join(
        clinical.select(PATIENT, "site"), on=PATIENT, maintain_order="left"
    ).partition_by("site", as_dict=True, include_key=False)
    summary = []
    for (site,), own in clinical.partition_by("site", as_dict=True).items():
        if own.height < minimum_patients:
            continue
        folder = Path(output_dir) / str(site)
        mutations = maf_of_site.get((site,), maf.clear())
        _write_maf(mutations, folder / "maf.tsv.gz")
        write_tsv(own.drop("site"), folder / "clinical.tsv")
        write_tsv(
            own.select(
                patient=PATIENT,
                sample=PATIENT,
                tissue=pl.lit("tumour"),
                assay=pl.lit("dna"),
                maf=pl.lit((folder / "maf.tsv.gz").as_posix()),
                maf_sample=PATIENT,
            ),
            folder / "samples.tsv",
        )
        summary.append((site, own[SITE][0], own.height, mutations.height))
    return pl.DataFrame(
        summary,
        schema={
            "site": pl.String,
            SITE: pl.String,
            "n_patients": pl.Int64,
            "n_mutations": pl.Int64,
        },
        orient="row",
    ).sort("n_patients", "site", descending=[True, False])


def write_federation(
    sites: pl.DataFrame, study_path: Path | str, codebook: Path | str, output_dir: Path | str
) -> Path:
    """Write a site file beside each site's sheets, and the run configuration that names them all.

    With them come practice keys for every site and the coordinator: whoever has public data plays
    all parts.

    Parameters
    ----------
    sites
        Result of `split_cohort_by_site`.
    study_path
        The study file; the sites take part in its version.
    codebook
        Codebook for the clinical tables, the same for all sites.
    output_dir
        Folder that `split_cohort_by_site` has filled.

    Returns
    -------
    Path
        ``<output_dir>/config.yaml``, to run with ``snakemake --configfile``.

    Raises
    ------
    InputError
        If the sites are not the study's participants.
    """
    study, folder = load_study(study_path), Path(output_dir)
    names = sites["site"].to_list()
    if set(names) != set(study.participants):
        difference = ", ".join(sorted(set(names) ^ set(study.participants)))
        raise InputError(
            Problem(
                f"the cohort's sites and the study's participants differ in: {difference}",
                "List exactly the cohort's sites, or change the smallest site that is kept.",
                study_path,
                column="participants",
            )
        )
    keys = folder / "keys"
    create_practice_keys(keys, study.participants, datetime.now(UTC).date())
    for site, source in sites.select("site", SITE).iter_rows():
        document = {
            "site": site,
            "title": f"TCGA tissue source site {source}",
            # The collecting hospital's country is not in the data; ISO 3166 leaves ZZ to users.
            "country": "ZZ",
            "study": study.study,
            "study_version": study.version,
            "samples": (folder / site / "samples.tsv").as_posix(),
            "clinical": (folder / site / "clinical.tsv").as_posix(),
            "codebook": Path(codebook).as_posix(),
            "release": {
                "producer_key": (keys / site / "producer").as_posix(),
                "transport_key": (keys / site / "transport").as_posix(),
                "ledger": (folder / site / "ledger.sqlite").as_posix(),
                "permit": "none needed, the data are public",
            },
        }
        _write_yaml(document, folder / site / "site.yaml")
    run = {
        "study": Path(study_path).as_posix(),
        "sites": [(folder / site / "site.yaml").as_posix() for site in study.participants],
        "coordinator": True,
        "intake": {
            "transport_key": (keys / "coordinator/transport").as_posix(),
            "audit_log": (folder / "audit.jsonl").as_posix(),
        },
    }
    _write_yaml(run, folder / "config.yaml")
    return folder / "config.yaml"


def _write_yaml(document: dict[str, object], path: Path) -> None:
    write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), path)
