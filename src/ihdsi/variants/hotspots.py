"""Recurrent alterations and clinical tiers: tables with sources, and how variants meet them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.annotation import TRANSCRIPT_SCHEMA
from ihdsi.delimited import DelimitedTable, read_delimited
from ihdsi.errors import InputError, Problem
from ihdsi.variants.consequences import ALTERATION_CLASSES, changed_residues

__all__ = [
    "PROMOTER_SCHEMA",
    "KnownAlterations",
    "hotspot_changes",
    "load_known_alterations",
    "mark_promoters",
    "promoter_positions",
    "read_hotspots",
    "read_tiers",
    "with_hotspots",
    "with_tiers",
]

HOTSPOT, PROMOTER = "hotspot", "promoter"
HOTSPOT_SCHEMA: dict[str, Any] = {
    "gene_name": pl.String,
    "kind": pl.String,
    "position": pl.Int64,
    "reference": pl.String,
    "alternate": pl.String,
    "source": pl.String,
}
TIER_SCHEMA: dict[str, Any] = {
    "gene_name": pl.String,
    "alteration_class": pl.String,
    "protein_change": pl.String,
    "tier": pl.String,
    "meaning": pl.String,
    "source": pl.String,
}
#: Places of promoter hotspots on the genome; alleles on the forward strand.
PROMOTER_SCHEMA: dict[str, Any] = {
    "gene_name": pl.String,
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
}

_KINDS = ("protein", PROMOTER)
_RESIDUES, _BASES = "ACDEFGHIKLMNPQRSTVWY", "ACGT"
_COMPLEMENT: Mapping[str, str] = dict(zip("ACGT", "TGCA", strict=True))
#: Classes that a tier may name: those of variants and those of copy number.
_TIER_CLASSES = (
    *ALTERATION_CLASSES,
    *(HOTSPOT, PROMOTER, "amplification", "gain", "loss", "deletion"),
)
#: ESCAT (Mateo et al. 2018): tier and, except for tier X, its level of evidence.
_TIERS = ("I-A", "I-B", "I-C", "II-A", "II-B", "III-A", "III-B", "III-C", "IV-A", "IV-B", "V", "X")


def _refuse_missing_columns(table: DelimitedTable, needed: Mapping[str, Any]) -> None:
    absent = [
        Problem("this column is missing", "Add it to the header.", table.path, 1, column)
        for column in needed
        if column not in table.columns
    ]
    if absent:
        raise InputError(absent)


def read_hotspots(path: Path | str) -> pl.DataFrame:
    """Read a table of recurrent alterations.

    Parameters
    ----------
    path
        TSV with gene_name; kind (``protein`` or ``promoter``); position (of the amino acid, or, for
        a promoter, minus the distance from the A of the start codon along the genome: −1 is the
        base before it); reference and alternate (one amino acid, or one base on the gene's strand;
        an empty alternate of a protein means any other amino acid, ``*`` a stop); source.

    Returns
    -------
    polars.DataFrame
        Those columns (`HOTSPOT_SCHEMA`); alternate is null where any is meant.

    Raises
    ------
    InputError
        With the row and column of every value that is none of these, and of every repeated row.
    """
    table = read_delimited(path)
    _refuse_missing_columns(table, HOTSPOT_SCHEMA)
    problems: list[Problem] = []
    seen: dict[tuple[str, ...], int] = {}
    for row in table.rows:
        value = row.values
        promoter = value["kind"] == PROMOTER
        letters, what = (_BASES, "base") if promoter else (_RESIDUES, "amino acid")
        number = value["position"]
        whole = number.removeprefix("-").isdecimal() and int(number) != 0
        alternates = letters if promoter else f"{letters}*"
        checks = {
            "gene_name": (bool(value["gene_name"]), "Name the gene."),
            "kind": (value["kind"] in _KINDS, f"Write {' or '.join(_KINDS)}."),
            "position": (
                whole and (int(number) < 0) == promoter,
                "Write a negative whole number, the distance upstream of the start codon."
                if promoter
                else "Write the number of the amino acid.",
            ),
            "reference": (
                len(value["reference"]) == 1 and value["reference"] in letters,
                f"Write one {what} in one-letter code.",
            ),
            "alternate": (
                (not value["alternate"] and not promoter)
                or (len(value["alternate"]) == 1 and value["alternate"] in alternates),
                f"Write one {what} in one-letter code"
                + ("." if promoter else ", * for a stop, or nothing for any."),
            ),
            "source": (bool(value["source"]), "Cite where the alteration is shown to recur."),
        }
        problems += [
            Problem(f"'{value[column]}' is no {column}", remedy, path, row.line, column)
            for column, (good, remedy) in checks.items()
            if not good
        ]
        key = tuple(value[name] for name in list(HOTSPOT_SCHEMA)[:5])
        if key in seen:
            problems.append(
                Problem(
                    f"the alteration stands in row {seen[key]} already",
                    "Remove one.",
                    path,
                    row.line,
                    "position",
                )
            )
        seen.setdefault(key, row.line)
    if problems:
        raise InputError(problems)
    return _frame(table, HOTSPOT_SCHEMA).with_columns(pl.col("position").cast(pl.Int64))


def _frame(table: DelimitedTable, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Make a frame of a table's columns; empty values become null."""
    return pl.DataFrame(
        {name: [row.values[name] or None for row in table.rows] for name in schema},
        schema=dict.fromkeys(schema, pl.String),
    )


def read_tiers(path: Path | str) -> pl.DataFrame:
    """Read the table of clinical tiers.

    Parameters
    ----------
    path
        TSV with gene_name, alteration_class, protein_change (empty: any), tier (ESCAT, for example
        ``I-A``), meaning and source.

    Returns
    -------
    polars.DataFrame
        Those columns (`TIER_SCHEMA`); protein_change is null where any is meant.

    Raises
    ------
    InputError
        With the row and column of every value that is not allowed.

    References
    ----------
    Mateo et al. 2018, Ann Oncol 29:1895, ESMO Scale for Clinical Actionability of molecular
    Targets (ESCAT).
    """
    table = read_delimited(path)
    _refuse_missing_columns(table, TIER_SCHEMA)
    allowed = {"alteration_class": _TIER_CLASSES, "tier": _TIERS}
    problems = [
        Problem(
            f"'{row.values[column]}' is no {column}",
            f"Write one of {', '.join(values)}.",
            path,
            row.line,
            column,
        )
        for row in table.rows
        for column, values in allowed.items()
        if row.values[column] not in values
    ]
    problems += [
        Problem("this value is missing", "Fill it in.", path, row.line, column)
        for row in table.rows
        for column in ("gene_name", "meaning", "source")
        if not row.values[column]
    ]
    if problems:
        raise InputError(problems)
    return _frame(table, TIER_SCHEMA)


def promoter_positions(
    hotspots: pl.DataFrame, transcripts: pl.DataFrame, targets: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Place promoter hotspots on the study's genome, whatever its build.

    Parameters
    ----------
    hotspots
        `read_hotspots`.
    transcripts
        `ihdsi.annotation.coding_transcripts`; the start codon of each gene's representative
        transcript counts.
    targets
        The sequenced regions (chromosome, 0-based start, end); places outside them are left out.

    Returns
    -------
    polars.DataFrame
        Columns of `PROMOTER_SCHEMA`. Genes that the annotation lacks give none.
    """
    forward = pl.col("strand") == "+"

    def on_forward_strand(column: str) -> pl.Expr:
        return pl.when(forward).then(column).otherwise(pl.col(column).replace_strict(_COMPLEMENT))

    places = (
        hotspots.filter(pl.col("kind") == PROMOTER)
        .join(
            transcripts.filter("is_representative", pl.col("start_codon").is_not_null()),
            on="gene_name",
        )
        .select(
            "gene_name",
            "chromosome",
            # The base before the A is −1 and there is no 0, so distances add up as they stand.
            pl.when(forward)
            .then(pl.col("start_codon") + pl.col("position"))
            .otherwise(pl.col("start_codon") - pl.col("position"))
            .alias("position"),
            on_forward_strand("reference").alias("reference_allele"),
            on_forward_strand("alternate").alias("alternate_allele"),
        )
    )
    if targets is not None:
        places = places.join_where(
            targets.select("start", "end", target_chromosome="chromosome"),
            pl.col("chromosome") == pl.col("target_chromosome"),
            pl.col("position") > pl.col("start"),
            pl.col("position") <= pl.col("end"),
        )
    return places.select(list(PROMOTER_SCHEMA)).unique().sort(list(PROMOTER_SCHEMA))


@dataclass(frozen=True)
class KnownAlterations:
    """What is known of genes and alterations beforehand; without any of it nothing is marked."""

    hotspots: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=HOTSPOT_SCHEMA))
    promoters: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PROMOTER_SCHEMA))
    tiers: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TIER_SCHEMA))
    transcripts: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=TRANSCRIPT_SCHEMA)
    )


def load_known_alterations(
    hotspots: Path | str,
    tiers: Path | str,
    promoters: Path | str | None = None,
    transcripts: Path | str | None = None,
) -> KnownAlterations:
    """Read the tables of hotspots and tiers, and what the annotation gave (Parquet), if anything.

    Raises
    ------
    InputError
        As `read_hotspots` and `read_tiers`.
    """
    nothing = KnownAlterations()
    return KnownAlterations(
        read_hotspots(hotspots),
        pl.read_parquet(promoters) if promoters else nothing.promoters,
        read_tiers(tiers),
        pl.read_parquet(transcripts) if transcripts else nothing.transcripts,
    )


def hotspot_changes(changes: pl.DataFrame, hotspots: pl.DataFrame) -> pl.DataFrame:
    """Find the changes of proteins that are hotspots.

    A residue listed without an alternate is met by other amino acids in its place and by in-frame
    changes that begin there; a stop at the residue is loss of function and meets it only where the
    table says ``*``. A listed exchange is met whatever else it is: at the border of an exon, MAF
    files call it a splice-site variant. Where the notation names the reference residue it has to be
    the table's, so that another isoform's numbering is no match.

    Parameters
    ----------
    changes
        gene_name, protein_change and alteration_class.
    hotspots
        `read_hotspots`.

    Returns
    -------
    polars.DataFrame
        The distinct rows of `changes` that are hotspots.
    """
    keys = ["gene_name", "protein_change", "alteration_class"]
    listed = hotspots.filter(pl.col("kind") == "protein").select(
        "gene_name",
        "position",
        listed_reference="reference",
        listed_alternate="alternate",
    )
    # Everything else is dismissed by its gene before any notation is taken apart.
    candidates = (
        changes.select(keys)
        .filter(pl.col("protein_change").is_not_null())
        .unique(maintain_order=True)
        .join(listed.select("gene_name").unique(), on="gene_name", how="semi")
    )
    any_alternate = pl.col("listed_alternate").is_null() & pl.col("alteration_class").is_in(
        ["missense", "inframe"]
    )
    return (
        candidates.join(changed_residues(candidates["protein_change"]), on="protein_change")
        .join(listed, on=["gene_name", "position"])
        .filter(
            (pl.col("reference") == pl.col("listed_reference")).fill_null(value=True)
            & (any_alternate | (pl.col("alternate") == pl.col("listed_alternate")).fill_null(False))
            & pl.col("alteration_class").is_in(ALTERATION_CLASSES)
        )
        .select(keys)
        .unique(maintain_order=True)
    )


def with_hotspots(variants: pl.DataFrame, hotspots: pl.DataFrame) -> pl.DataFrame:
    """Replace alteration_class by ``hotspot`` where gene_name and protein_change are one."""
    keys = ["gene_name", "protein_change", "alteration_class"]
    found = hotspot_changes(variants, hotspots).with_columns(_hotspot=pl.lit(value=True))
    return (
        variants.join(found, on=keys, how="left", maintain_order="left")
        .with_columns(
            alteration_class=pl.when(pl.col("_hotspot"))
            .then(pl.lit(HOTSPOT))
            .otherwise("alteration_class")
        )
        .drop("_hotspot")
    )


def _bare_chromosome(column: str) -> pl.Expr:
    """Chromosome without ``chr``: MAF files are often written without it."""
    return pl.col(column).str.replace("^chr", "")


def mark_promoters(variants: pl.DataFrame, promoters: pl.DataFrame) -> pl.DataFrame:
    """Give variants at promoter hotspots the class ``promoter`` and the gene.

    Parameters
    ----------
    variants
        One row per patient, variant and gene, with chromosome, position (1-based),
        reference_allele, alternate_allele, gene_id, gene_name, consequence, alteration_class and
        protein_change. Substitutions of several bases are looked into base by base.
    promoters
        `promoter_positions`.

    Returns
    -------
    polars.DataFrame
        As `variants`. A row without a gene, or with the promoter's gene, becomes the promoter's;
        where the variant only lies in other genes, a row is added and these stay.
    """
    if promoters.is_empty() or variants.is_empty():
        return variants
    variant = ["patient", "chromosome", "position", "reference_allele", "alternate_allele"]
    reference, alternate = pl.col("reference_allele"), pl.col("alternate_allele")
    places = promoters.select(
        place_chromosome=_bare_chromosome("chromosome"),
        place="position",
        promoter_gene="gene_name",
        place_reference="reference_allele",
        place_alternate="alternate_allele",
    )
    offset = pl.col("place") - pl.col("position")
    hits = (
        variants.select(variant)
        .filter(reference.str.len_chars() == alternate.str.len_chars())
        .unique(maintain_order=True)
        .with_columns(
            bare=_bare_chromosome("chromosome"),
            beyond=pl.col("position") + reference.str.len_chars().cast(pl.Int64),
        )
        .join_where(
            places,
            pl.col("bare") == pl.col("place_chromosome"),
            pl.col("position") <= pl.col("place"),
            pl.col("beyond") > pl.col("place"),
        )
        .filter(
            (reference.str.slice(offset, 1).str.to_uppercase() == pl.col("place_reference"))
            & (alternate.str.slice(offset, 1).str.to_uppercase() == pl.col("place_alternate"))
        )
        .select(*variant, "promoter_gene")
        .unique(maintain_order=True)
    )
    if hits.is_empty():
        return variants
    joined = variants.join(hits, on=variant, how="left", maintain_order="left")
    own = (
        pl.col("gene_name").is_null() | (pl.col("gene_name") == pl.col("promoter_gene"))
    ).fill_null(value=False) & pl.col("promoter_gene").is_not_null()
    marked = (
        joined.filter(pl.col("promoter_gene").is_not_null())
        .sort(own, descending=True, maintain_order=True)
        .unique([*variant, "promoter_gene"], keep="first", maintain_order=True)
        .with_columns(
            gene_id=pl.when(own).then("gene_id"),
            consequence=pl.when(own).then("consequence"),
            gene_name="promoter_gene",
            alteration_class=pl.lit(PROMOTER),
            protein_change=pl.lit(None, dtype=pl.String),
        )
    )
    kept = joined.filter(~own)
    return pl.concat([kept, marked]).select(variants.columns)


def with_tiers(variants: pl.DataFrame, tiers: pl.DataFrame) -> pl.DataFrame:
    """Fill ``tier`` with the highest tier of each variant's gene, class and protein change.

    Parameters
    ----------
    variants
        gene_name, alteration_class and protein_change.
    tiers
        `read_tiers`. A tier annotates; it is no advice on treatment.
    """
    exact = ["gene_name", "alteration_class", "protein_change"]
    # The names of the tiers sort as their ranks do.
    best = pl.col("tier").min()
    specific = tiers.filter(pl.col("protein_change").is_not_null())
    general = tiers.filter(pl.col("protein_change").is_null())
    return (
        variants.drop("tier", strict=False)
        .join(
            specific.group_by(exact).agg(specific_tier=best),
            on=exact,
            how="left",
            maintain_order="left",
        )
        .join(
            general.group_by(exact[:2]).agg(general_tier=best),
            on=exact[:2],
            how="left",
            maintain_order="left",
        )
        .with_columns(tier=pl.min_horizontal("specific_tier", "general_tier"))
        .drop("specific_tier", "general_tier")
    )
