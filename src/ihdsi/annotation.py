"""Genes and transcripts of a reference annotation (GFF3 or GTF)."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pysam

from ihdsi.errors import InputError, Problem
from ihdsi.variants.regions import covered_bases

__all__ = [
    "TRANSCRIPT_SCHEMA",
    "coding_transcripts",
    "gene_catalogue",
    "gene_locations",
    "load_transcript_to_gene",
    "read_gene_catalogue",
    "transcript_to_gene",
    "with_targeted_length",
]

_FIELDS = ["chromosome", "source", "type", "start", "end", "score", "strand", "phase", "attributes"]
# Ensembl's GFF3 types genes and transcripts by the Sequence Ontology; the others have one type.
_GENE_TYPES = ["gene", "ncRNA_gene", "pseudogene"]
_TRANSCRIPT_TYPES = ["mRNA", "transcript", "lnc_RNA", "ncRNA", "miRNA", "snRNA", "snoRNA", "rRNA"]
GENE_ID = r"^ENS[A-Z]*G\d{11}$"
#: Columns of `coding_transcripts`.
TRANSCRIPT_SCHEMA: dict[str, pl.DataType] = {
    "transcript_id": pl.String(),
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "chromosome": pl.String(),
    "strand": pl.String(),
    "start_codon": pl.Int64(),
    "coding_length": pl.Int64(),
    "is_representative": pl.Boolean(),
}


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
        schema_overrides={
            name: pl.Int64 if name in ("start", "end") else pl.String for name in _FIELDS
        },
    )
    if frame.filter(pl.col("type").is_in(_GENE_TYPES)).is_empty():
        raise InputError(
            Problem(
                "the annotation holds no feature of type 'gene'",
                "Use Ensembl's or GENCODE's GFF3 or GTF.",
                file=path,
            )
        )
    # GENCODE repeats the pseudoautosomal genes of X on Y under the same identifiers.
    return frame.filter(~pl.col("attributes").str.contains("_PAR_Y", literal=True))


def gene_catalogue(annotation: Path | str) -> pl.DataFrame:
    """List the genes of an annotation.

    Returns
    -------
    polars.DataFrame
        gene_id (no version), gene_name, chromosome, coding_length (bp of the longest coding
        sequence of the gene; null for genes without one), in the order of the annotation.
    """
    features = _read_features(annotation)
    genes = features.filter(pl.col("type").is_in(_GENE_TYPES)).select(
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


def with_targeted_length(
    catalogue: pl.DataFrame, annotation: Path | str | None, targets: pl.DataFrame | None
) -> pl.DataFrame:
    """Tell which genes are sequenced, and how much of their coding sequence.

    Parameters
    ----------
    catalogue
        gene_id, coding_length and any other columns.
    annotation
        GFF3 or GTF, if the study has one.
    targets
        Sequenced regions (chromosome, start, end), if not the whole genome is.

    Returns
    -------
    polars.DataFrame
        `catalogue` with is_targeted, and coding_length reduced to the share of the gene's coding
        bases (of all its transcripts) that are targeted. Without targets or annotation, or for
        genes that the annotation lacks, every gene counts as sequenced in full.
    """
    if annotation is None or targets is None:
        return catalogue.with_columns(is_targeted=pl.lit(True))
    features = _read_features(annotation)
    coding = (
        features.filter(pl.col("type") == "CDS")
        .select(
            "chromosome",
            "end",
            start=pl.col("start") - 1,
            transcript_id=_bare(_attribute("transcript_id", "Parent")),
        )
        .join(_transcripts(features).unique("transcript_id"), on="transcript_id")
    )
    # Exons that transcripts share count once for each, which leaves the share nearly as it is.
    parts = coding.unique(["gene_id", "chromosome", "start", "end"])
    whole = gene_locations(annotation).join(parts, on="gene_id", how="anti")
    columns = ["gene_id", "chromosome", "start", "end"]
    places = pl.concat([parts.select(columns), whole.select(columns)])
    covered = (
        places.with_columns(covered_bases(places, targets))
        .group_by("gene_id")
        .agg(share=pl.col("covered").sum() / (pl.col("end") - pl.col("start")).sum())
    )
    return (
        catalogue.join(covered, on="gene_id", how="left", maintain_order="left")
        .with_columns(
            coding_length=(pl.col("coding_length") * pl.col("share").fill_null(1.0))
            .round()
            .cast(pl.Int64)
            .replace(0, None),
            is_targeted=pl.col("share").fill_null(1.0) > 0,
        )
        .drop("share")
    )


def gene_locations(annotation: Path | str) -> pl.DataFrame:
    """Where the genes of an annotation lie.

    Returns
    -------
    polars.DataFrame
        gene_id (no version), gene_name?, chromosome, start, end (0-based, half-open).
    """
    features = _read_features(annotation).filter(pl.col("type").is_in(_GENE_TYPES))
    return features.select(
        gene_id=_bare(_attribute("gene_id", "ID")),
        gene_name=_attribute("gene_name", "Name"),
        chromosome="chromosome",
        start=pl.col("start") - 1,
        end="end",
    ).unique("gene_id", keep="first", maintain_order=True)


def _transcripts(features: pl.DataFrame) -> pl.DataFrame:
    is_transcript = pl.col("type").is_in(_TRANSCRIPT_TYPES) | pl.col("attributes").str.contains(
        "ID=transcript:", literal=True
    )
    return features.filter(is_transcript).select(
        transcript_id=_bare(_attribute("transcript_id", "ID")),
        gene_id=_bare(_attribute("gene_id", "Parent")),
    )


def transcript_to_gene(annotation: Path | str) -> pl.DataFrame:
    """Map each transcript of an annotation to its gene: transcript_id, gene_id, gene_name."""
    features = _read_features(annotation)
    names = gene_catalogue(annotation).select("gene_id", "gene_name")
    return _transcripts(features).join(names, on="gene_id", how="left", maintain_order="left")


def coding_transcripts(annotation: Path | str) -> pl.DataFrame:
    """List the coding transcripts of an annotation, with the place of their start codon.

    Returns
    -------
    polars.DataFrame
        Columns of `TRANSCRIPT_SCHEMA`: strand is ``+`` or ``-``; start_codon is the 1-based
        position of the first base of the start codon (null where the coding sequence is incomplete
        there); coding_length is in bp; is_representative marks one transcript of each gene: the one
        that the annotation tags ``MANE_Select``, else ``Ensembl_canonical``, else that with the
        longest coding sequence (and, among equals, the smallest identifier).
    """
    features = _read_features(annotation)
    forward = pl.col("strand") == "+"
    first_phase = (
        pl.when(forward)
        .then(pl.col("phase").sort_by("start").first())
        .otherwise(pl.col("phase").sort_by("end").last())
    )
    coding = (
        features.filter(pl.col("type") == "CDS")
        .with_columns(transcript_id=_bare(_attribute("transcript_id", "Parent")))
        .group_by("transcript_id", "chromosome", "strand")
        .agg(
            coding_length=(pl.col("end") - pl.col("start") + 1).sum(),
            first=pl.col("start").min(),
            last=pl.col("end").max(),
            start_phase=first_phase.first(),
        )
    )
    rank = (
        pl.when(pl.col("attributes").str.contains("MANE_Select", literal=True))
        .then(0)
        .when(pl.col("attributes").str.contains("Ensembl_canonical", literal=True))
        .then(1)
        .otherwise(2)
    )
    tags = features.select(
        transcript_id=_bare(_attribute("transcript_id", "ID")), type="type", rank=rank
    ).filter(pl.col("transcript_id").is_not_null() & (pl.col("type") != "CDS"))
    # Every line of a GTF names its transcript, so the best tag of its lines is the transcript's.
    tags = tags.group_by("transcript_id").agg(pl.col("rank").min())
    names = gene_catalogue(annotation).select("gene_id", "gene_name")
    order = ["rank", "coding_length", "transcript_id"]
    return (
        coding.join(_transcripts(features).unique("transcript_id"), on="transcript_id")
        .join(tags, on="transcript_id", how="left")
        .join(names, on="gene_id", how="left")
        .sort(order, descending=[False, True, False])
        .with_columns(
            start_codon=pl.when(pl.col("start_phase") == "0").then(
                pl.when(forward).then("first").otherwise("last")
            ),
            is_representative=pl.int_range(pl.len()).over("gene_id") == 0,
        )
        .select(pl.col(name).cast(dtype) for name, dtype in TRANSCRIPT_SCHEMA.items())
        .sort("gene_id", "transcript_id")
    )


def read_gene_catalogue(path: Path | str) -> pl.DataFrame:
    """Read a gene catalogue given as TSV with gene_id, gene_name and optionally coding_length.

    Raises
    ------
    InputError
        If a column is missing, an identifier is repeated or not Ensembl's, or a coding length is
        not a positive whole number.
    """
    frame = pl.read_csv(path, separator="\t", comment_prefix="#", infer_schema=False)
    for column in ("gene_id", "gene_name"):
        if column not in frame.columns:
            raise InputError(
                Problem("this column is missing", "Add it to the header.", path, 1, column)
            )
    frame = frame.with_columns(
        pl.lit(None, dtype=pl.String).alias(name)
        for name in ("chromosome", "coding_length")
        if name not in frame.columns
    ).with_row_index("row", offset=2)
    is_gene = (
        pl.col("gene_id").str.contains(GENE_ID).fill_null(False) & pl.col("gene_id").is_unique()
    )
    length = pl.col("coding_length").cast(pl.Int64, strict=False)
    is_length = pl.col("coding_length").is_null() | (length > 0).fill_null(False)
    problems = [
        Problem(f"'{value}' is not {what}", "Correct or remove the row.", path, row, column)
        for column, valid, what in (
            ("gene_id", is_gene, "an Ensembl gene id without version, or occurs twice"),
            ("coding_length", is_length, "a positive whole number"),
        )
        for row, value in frame.filter(~valid).select("row", column).iter_rows()
    ]
    if problems:
        raise InputError(problems)
    return frame.select("gene_id", "gene_name", "chromosome", length)


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
            # GENCODE's FASTA joins all identifiers of a transcript by bars, its own first.
            names = [str(sequence.name).split("|")[0] for sequence in sequences]
        bare = pl.DataFrame({"transcript_id": names}, schema={"transcript_id": pl.String}).select(
            _bare(pl.col("transcript_id")).unique(maintain_order=True)
        )
        return bare.with_columns(gene_id="transcript_id", gene_name="transcript_id")
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
