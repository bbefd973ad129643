"""Gene counts of a site's tumours, from salmon and from given matrices."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ihdsi.errors import InputError, Problem

__all__ = [
    "combine_gene_counts",
    "gather_gene_counts",
    "read_count_matrix",
    "salmon_gene_counts",
    "salmon_metrics",
]

logger = logging.getLogger(__name__)
GENE_COLUMNS = ["gene_id", "gene_name"]


def salmon_gene_counts(
    quantifications: Mapping[str, Path | str], transcript_to_gene: pl.DataFrame
) -> pl.DataFrame:
    """Sum salmon's transcript counts to genes with pytximport.

    Parameters
    ----------
    quantifications
        Patient to ``quant.sf``.
    transcript_to_gene
        transcript_id, gene_id, gene_name (identifiers without version).

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name and one column of estimated counts a patient (Float64), by gene_id.

    References
    ----------
    Soneson, Love & Robinson 2015, F1000Research 4:1521 (tximport).
    """
    # Imported on use: most jobs of this module read matrices and need none of its dependencies.
    from pytximport import tximport

    mapping = transcript_to_gene.select("transcript_id", "gene_id").to_pandas()
    result = tximport(
        [str(path) for path in quantifications.values()],
        data_type="salmon",
        transcript_gene_map=mapping,
        counts_from_abundance=None,
        ignore_transcript_version=True,
        return_transcript_data=False,
        output_type="xarray",
    )
    counts = result["counts"].transpose("gene_id", "file").to_numpy()
    frame = pl.DataFrame(
        {
            "gene_id": result["gene_id"].to_numpy().astype(str),
            **{patient: counts[:, index] for index, patient in enumerate(quantifications)},
        }
    )
    names = transcript_to_gene.select(GENE_COLUMNS).unique("gene_id")
    return (
        frame.join(names, on="gene_id", how="left")
        .select(*GENE_COLUMNS, *quantifications)
        .sort("gene_id")
    )


def read_count_matrix(path: Path | str, patients: Mapping[str, str]) -> pl.DataFrame:
    """Read some columns of a gene-count matrix.

    Parameters
    ----------
    path
        TSV with gene_id, optionally gene_name, then one column of raw counts a sample.
    patients
        Column of the matrix to patient.

    Returns
    -------
    polars.DataFrame
        gene_id (without version), gene_name and one Float64 column a patient.

    Raises
    ------
    InputError
        If a column is missing, a gene occurs twice, or a value is not a count.
    """
    frame = pl.read_csv(path, separator="\t", comment_prefix="#", infer_schema=False)
    absent = [name for name in ("gene_id", *patients) if name not in frame.columns]
    if absent:
        raise InputError(
            [
                Problem(
                    "the matrix has no such column",
                    "Correct the sample name in the sample sheet, or the header of the matrix.",
                    path,
                    1,
                    name,
                )
                for name in absent
            ]
        )
    bare_id = pl.col("gene_id").str.replace(r"\.\d+$", "")
    frame = frame.with_columns(
        gene_id=bare_id,
        gene_name=pl.col("gene_name") if "gene_name" in frame.columns else bare_id,
    ).with_row_index("row", offset=2)
    problems = [
        Problem(f"gene '{gene}' occurs twice", "Sum or remove the rows.", path, row, "gene_id")
        for row, gene in frame.filter(~pl.col("gene_id").is_first_distinct())
        .select("row", "gene_id")
        .iter_rows()
    ]
    numbers = frame.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in patients)
    for name in patients:
        value = pl.col(name)
        bad = numbers.select("row", value, given=frame[name]).filter(
            value.is_null() | ~value.is_finite() | (value < 0)
        )
        problems += [
            Problem(f"'{given}' is not a count", "Give raw counts, 0 or more.", path, row, name)
            for row, given in bad.select("row", "given").head(3).iter_rows()
        ]
    if problems:
        raise InputError(problems)
    return numbers.select(*GENE_COLUMNS, *(pl.col(n).alias(p) for n, p in patients.items()))


def combine_gene_counts(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Join count tables of different origin on the genes that all of them hold.

    A gene that one origin never counted is not zero there, so it cannot be compared; how many
    are lost this way is logged.
    """
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(GENE_COLUMNS, pl.String))
    combined = frames[0]
    for frame in frames[1:]:
        combined = combined.join(frame.drop("gene_name"), on="gene_id", how="inner")
    lost = pl.concat([frame["gene_id"] for frame in frames]).n_unique() - combined.height
    if lost:
        logger.warning("%d genes are not in every count table and are left out", lost)
    return combined.sort("gene_id")


def gather_gene_counts(
    quantifications: Mapping[str, Path | str],
    transcript_to_gene: Path | str | None,
    matrices: Sequence[tuple[Path | str, Mapping[str, str]]],
) -> pl.DataFrame:
    """Gather the gene counts of a site's tumours, quantified here or given.

    Parameters
    ----------
    quantifications
        Patient to ``quant.sf``.
    transcript_to_gene
        Parquet with transcript_id, gene_id, gene_name; needed where there are quantifications.
    matrices
        Count matrices with the columns to read from each (column to patient).

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name and one Float64 column a patient, for the genes that all origins hold.
    """
    frames = []
    if quantifications and transcript_to_gene is not None:
        frames.append(salmon_gene_counts(quantifications, pl.read_parquet(transcript_to_gene)))
    frames += [read_count_matrix(path, patients) for path, patients in matrices]
    return combine_gene_counts(frames)


def salmon_metrics(meta_info: Path | str) -> dict[str, float]:
    """Read mapping_rate_percent and read_pairs from salmon's ``aux_info/meta_info.json``."""
    meta = json.loads(Path(meta_info).read_text(encoding="utf-8"))
    return {
        "mapping_rate_percent": float(meta["percent_mapped"]),
        "read_pairs": float(meta["num_processed"]),
    }
