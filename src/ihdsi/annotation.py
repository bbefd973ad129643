"""Genes and transcripts of a reference annotation (GFF3 or GTF)."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pysam

from ihdsi.errors import InputError, Problem

__all__ = [
    "gene_catalogue",
    "load_transcript_to_gene",
    "read_gene_catalogue",
    "transcript_to_gene",
]

_FIELDS = ["chromosome", "source", "type", "start", "end", "score", "strand", "phase", "attributes"]
_TRANSCRIPT_TYPES = ["mRNA", "transcript", "lnc_RNA", "ncRNA", "miRNA", "snRNA", "snoRNA", "rRNA"]
GENE_ID = r"^ENS[A-Z]*G\d{11}$"


def _attribute(*names: str) -> pl.Expr:
    """Take the first attribute present, of GFF3 (``key=value``) or GTF (``key "value"``)."""
    return pl.coalesce(
        pl.col("attributes").str.extract(rf'(?:^|;)\s*{name}[= ]"?([^";]+)"?') for name in names
    )


def _bare(expression: pl.Expr) -> pl.Expr:
    """Strip Ensembl's type prefix (``gene:``) and version (``.12``)."""
    return expression.str.replace(r"^(gene|transcript):", "").str.replace(r"\.\d+(_PAR_Y)?$", "")


def _read_features(path: Path | str) -> pl.DataFrame:
    frame = pl.read_csv(
        path,
        separator="\t",
        has_header=False,
        comment_prefix="#",
        new_columns=_FIELDS,
        quote_char=None,
        schema_overrides={f"column_{n}": pl.String for n in (1, 2, 3, 6, 7, 8, 9)},
    )
    if frame.filter(pl.col("type") == "gene").is_empty():
        raise InputError(
            Problem(
                "the annotation holds no feature of type 'gene'",
                "Use Ensembl's or GENCODE's GFF3 or GTF.",
                file=path,
            )
        )
    return frame


def gene_catalogue(annotation: Path | str) -> pl.DataFrame:
    """List the genes of an annotation.

    Returns
    -------
    polars.DataFrame
        gene_id (no version), gene_name, chromosome, coding_length (bp of the longest coding
        sequence of the gene; null for genes without one), in the order of the annotation.
    """
    features = _read_features(annotation)
    genes = features.filter(pl.col("type") == "gene").select(
        gene_id=_bare(_attribute("gene_id", "ID")),
        gene_name=_attribute("gene_name", "Name"),
        chromosome="chromosome",
    )
    coding = (
        features.filter(pl.col("type") == "CDS")
        .select(
            transcript_id=_bare(_attribute("transcript_id", "Parent")),
            length=pl.col("end") - pl.col("start") + 1,
        )
        .group_by("transcript_id")
        .agg(pl.col("length").sum())
        .join(_transcripts(features), on="transcript_id")
        .group_by("gene_id")
        .agg(coding_length=pl.col("length").max().cast(pl.Int64))
    )
    return genes.join(coding, on="gene_id", how="left", maintain_order="left").with_columns(
        pl.col("gene_name").fill_null(pl.col("gene_id"))
    )


def _transcripts(features: pl.DataFrame) -> pl.DataFrame:
    return features.filter(pl.col("type").is_in(_TRANSCRIPT_TYPES)).select(
        transcript_id=_bare(_attribute("transcript_id", "ID")),
        gene_id=_bare(_attribute("gene_id", "Parent")),
    )


def transcript_to_gene(annotation: Path | str) -> pl.DataFrame:
    """Map each transcript of an annotation to its gene: transcript_id, gene_id, gene_name."""
    features = _read_features(annotation)
    names = gene_catalogue(annotation).select("gene_id", "gene_name")
    return _transcripts(features).join(names, on="gene_id", how="left", maintain_order="left")


def read_gene_catalogue(path: Path | str) -> pl.DataFrame:
    """Read a gene catalogue given as TSV with gene_id, gene_name and optionally coding_length.

    Raises
    ------
    InputError
        If a column is missing, or an identifier is repeated or not Ensembl's.
    """
    frame = pl.read_csv(path, separator="\t", comment_prefix="#", infer_schema_length=None)
    for column in ("gene_id", "gene_name"):
        if column not in frame.columns:
            raise InputError(
                Problem("this column is missing", "Add it to the header.", path, 1, column)
            )
    frame = frame.with_row_index("row", offset=2)
    wrong = frame.filter(
        ~pl.col("gene_id").cast(pl.String).str.contains(GENE_ID) | ~pl.col("gene_id").is_unique()
    )
    if not wrong.is_empty():
        raise InputError(
            [
                Problem(
                    f"'{gene}' is not an Ensembl gene id without version, or occurs twice",
                    "Correct or remove the row.",
                    path,
                    row,
                    "gene_id",
                )
                for row, gene in wrong.select("row", "gene_id").iter_rows()
            ]
        )
    optional = {"chromosome": pl.String, "coding_length": pl.Int64}
    return frame.select(
        "gene_id",
        "gene_name",
        *(
            pl.col(name).cast(kind)
            if name in frame.columns
            else pl.lit(None, dtype=kind).alias(name)
            for name, kind in optional.items()
        ),
    )


def load_transcript_to_gene(path: Path | str, kind: str) -> pl.DataFrame:
    """Map transcripts to genes from whichever file the study gives.

    Parameters
    ----------
    path
        The file.
    kind
        ``transcript_to_gene`` (TSV with transcript_id, gene_id, gene_name), ``annotation``, or
        ``transcripts`` (FASTA; every transcript then stands for itself).
    """
    if kind == "annotation":
        return transcript_to_gene(path)
    if kind == "transcripts":
        with pysam.FastxFile(str(path), persist=False) as sequences:
            names = pl.Series("transcript_id", [s.name for s in sequences], dtype=pl.String)
        return names.to_frame().select(
            transcript_id=_bare(pl.col("transcript_id")),
            gene_id=_bare(pl.col("transcript_id")),
            gene_name=_bare(pl.col("transcript_id")),
        )
    frame = pl.read_csv(path, separator="\t", comment_prefix="#", infer_schema=False)
    absent = [
        Problem("this column is missing", "Add it to the header.", path, 1, column)
        for column in ("transcript_id", "gene_id", "gene_name")
        if column not in frame.columns
    ]
    if absent:
        raise InputError(absent)
    return frame.select(
        _bare(pl.col("transcript_id")), _bare(pl.col("gene_id")), pl.col("gene_name")
    )
