"""Join neighbouring substitutions of one tumour that lie on the same reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.variants.read_support import ReadSupport

__all__ = [
    "join_substitutions",
    "neighbouring_pairs",
    "pairs_in_one_codon",
    "read_coding_sequences",
    "shared_reads",
]

#: Two substitutions with one base between are joined only inside a codon.
LARGEST_DISTANCE = 2


def read_coding_sequences(annotation: Path | str) -> pl.DataFrame:
    """Read the coding parts of a GFF3 or GTF.

    Returns
    -------
    polars.DataFrame
        chromosome, start, end (1-based, closed), strand, phase (bases before the first whole
        codon, GFF3 specification 1.26, column 8); each interval once.
    """
    columns = ("chromosome", "source", "type", "start", "end", "score", "strand", "phase")
    frame = pl.read_csv(
        annotation,
        separator="\t",
        has_header=False,
        comment_prefix="#",
        new_columns=[*columns, "attributes"],
        quote_char=None,
        infer_schema=False,
    )
    return (
        frame.filter(pl.col("type") == "CDS")
        .select(
            "chromosome",
            pl.col("start", "end").cast(pl.Int64),
            "strand",
            pl.col("phase").cast(pl.Int64, strict=False).fill_null(0),
        )
        .unique(maintain_order=True)
    )


def neighbouring_pairs(variants: pl.DataFrame) -> NDArray[np.int64]:
    """Pairs of substitutions that are 1 or `LARGEST_DISTANCE` bases apart.

    Parameters
    ----------
    variants
        chromosome, position, reference_allele, alternate_allele; sorted.

    Returns
    -------
    numpy.ndarray
        Row numbers, shape (n, 2), the first before the second.
    """
    rows = variants.with_row_index("row").filter(
        (pl.col("reference_allele").str.len_bytes() == 1)
        & (pl.col("alternate_allele").str.len_bytes() == 1)
    )
    pairs = pl.concat(
        rows.with_columns(position=pl.col("position") + distance)
        .join(rows, on=["chromosome", "position"], how="inner")
        .select(first="row", second="row_right")
        for distance in range(1, LARGEST_DISTANCE + 1)
    )
    return pairs.sort("first", "second").to_numpy().astype(np.int64).reshape(-1, 2)


def pairs_in_one_codon(
    chromosomes: Sequence[str],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    coding: pl.DataFrame,
) -> NDArray[np.bool_]:
    """Whether two positions belong to the same codon of any transcript.

    A codon that an intron divides is known by its parts within an exon only.

    Parameters
    ----------
    chromosomes, first, second
        Positions (1-based), ``first < second``, shape (n,).
    coding
        Result of `read_coding_sequences`.
    """
    pairs = pl.DataFrame(
        {"of": chromosomes, "first": first, "second": second},
        schema={"of": pl.String, "first": pl.Int64, "second": pl.Int64},
    ).with_row_index("pair")
    inside = pairs.join_where(
        coding,
        pl.col("of") == pl.col("chromosome"),
        pl.col("first") >= pl.col("start"),
        pl.col("second") <= pl.col("end"),
    )

    def codon(position: str) -> pl.Expr:
        offset = (
            pl.when(pl.col("strand") == "-")
            .then(pl.col("end") - pl.col(position))
            .otherwise(pl.col(position) - pl.col("start"))
        )
        return (offset - pl.col("phase")).floordiv(3)

    same = np.zeros(pairs.height, dtype=bool)
    same[inside.filter(codon("first") == codon("second"))["pair"].to_numpy()] = True
    return same


def shared_reads(one: ReadSupport, other: ReadSupport) -> float:
    """Share of the reads that carry both alleles among those that carry either.

    Only reads that cover both places count. 0 without any.
    """
    both_covered = one.covering & other.covering
    either = (one.carrying | other.carrying) & both_covered
    return len(one.carrying & other.carrying) / len(either) if either else 0.0


def join_substitutions(
    variants: pl.DataFrame, pairs: NDArray[np.int64], reference: pysam.FastaFile
) -> pl.DataFrame:
    """Replace linked substitutions by one multi-nucleotide variant.

    Parameters
    ----------
    variants
        chromosome, position, reference_allele, alternate_allele, tumour_alternate and any other
        columns; sorted.
    pairs
        Row numbers of linked substitutions, shape (n, 2); links chain.
    reference
        The genome, for the base between two substitutions.

    Returns
    -------
    polars.DataFrame
        The same columns and `components`, a list of ``position:reference>alternate`` of what was
        joined (null elsewhere). The numbers of a joined variant are those of its component with
        the fewest alternate reads. Sorted by position within each chromosome.
    """
    label = np.arange(variants.height)
    for first, second in pairs.tolist():
        label[label == label[second]] = label[first]
    grouped = variants.with_row_index("row").with_columns(group=pl.Series(label))
    single = grouped.filter(pl.len().over("group") == 1).with_columns(
        components=pl.lit(None, dtype=pl.List(pl.String))
    )
    members = grouped.filter(pl.len().over("group") > 1).sort("group", "position")
    if members.is_empty():
        return single.drop("group", "row")
    described = members.with_columns(
        component=pl.format("{}:{}>{}", "position", "reference_allele", "alternate_allele")
    )
    joined = []
    for _, records in groupby(described.iter_rows(named=True), key=lambda record: record["group"]):
        parts = list(records)
        weakest = min(parts, key=lambda record: record["tumour_alternate"])
        start, end = parts[0]["position"], parts[-1]["position"]
        bases = reference.fetch(parts[0]["chromosome"], start - 1, end).upper()
        alternate = list(bases)
        for part in parts:
            alternate[part["position"] - start] = part["alternate_allele"]
        joined.append(
            weakest
            | {
                "row": parts[0]["row"],
                "position": start,
                "reference_allele": bases,
                "alternate_allele": "".join(alternate),
                "components": [part["component"] for part in parts],
            }
        )
    replaced = pl.DataFrame(joined, schema={**single.schema, "component": pl.String})
    return pl.concat([single, replaced.select(single.columns)]).sort("row").drop("group", "row")
