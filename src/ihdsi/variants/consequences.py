"""From predicted consequences to genes, alteration classes and changes of the protein."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = [
    "ALTERATION_CLASSES",
    "CLASS_OF_MAF",
    "alteration_class",
    "changed_residues",
    "consequence_entries",
    "protein_changes",
    "severity_rank",
    "worst_per_gene",
]

#: Classes that predicted consequences have; `ihdsi.variants.hotspots` adds hotspot and promoter.
ALTERATION_CLASSES = ("truncating", "splice", "inframe", "missense", "other")

# Sequence Ontology terms as bcftools csq writes them, most severe first.
_CLASS_OF_TERM: Mapping[str, str] = {
    "stop_gained": "truncating",
    "frameshift": "truncating",
    "start_lost": "truncating",
    "splice_acceptor": "splice",
    "splice_donor": "splice",
    "stop_lost": "other",
    "inframe_altering": "inframe",
    "inframe_insertion": "inframe",
    "inframe_deletion": "inframe",
    "missense": "missense",
    "coding_sequence": "other",
    "synonymous": "synonymous",
    "stop_retained": "synonymous",
    "start_retained": "synonymous",
    "splice_region": "noncoding",
    "5_prime_utr": "noncoding",
    "3_prime_utr": "noncoding",
    "non_coding": "noncoding",
    "intron": "noncoding",
    "intergenic": "noncoding",
}
_SEVERITY = {term: rank for rank, term in enumerate(_CLASS_OF_TERM)}

# Values of Variant_Classification in the MAF specification (GDC MAF Format v1.0.0) that touch
# coding sequence or splice sites; all others lie outside.
CLASS_OF_MAF: Mapping[str, str] = {
    "Nonsense_Mutation": "truncating",
    "Frame_Shift_Del": "truncating",
    "Frame_Shift_Ins": "truncating",
    "Translation_Start_Site": "truncating",
    "Start_Codon_Del": "truncating",
    "Start_Codon_Ins": "truncating",
    "Start_Codon_SNP": "truncating",
    "De_novo_Start_OutOfFrame": "truncating",
    "Splice_Site": "splice",
    "In_Frame_Del": "inframe",
    "In_Frame_Ins": "inframe",
    "Stop_Codon_Del": "other",
    "Stop_Codon_Ins": "other",
    "Nonstop_Mutation": "other",
    "Missense_Mutation": "missense",
    "Silent": "synonymous",
}


def alteration_class(consequence: str) -> str:
    """Class of a consequence as ``bcftools csq`` writes it (several terms joined by ``&``).

    Returns one of `ALTERATION_CLASSES`, ``synonymous`` or ``noncoding``.
    """
    return _CLASS_OF_TERM.get(_worst_term(consequence), "noncoding")


def _worst_term(consequence: str) -> str:
    # A leading '*' marks a consequence downstream of a stop; it keeps its own class.
    terms = consequence.lstrip("*").split("&")
    return min(terms, key=lambda term: _SEVERITY.get(term, len(_SEVERITY)))


def severity_rank(consequence: str | None) -> int:
    """Place of a consequence in the order of severity: 0 is the most severe term.

    Parameters
    ----------
    consequence
        As ``bcftools csq`` writes it; of terms joined by ``&`` the most severe counts. None and
        unknown terms come last.
    """
    return _SEVERITY.get(_worst_term(consequence or ""), len(_SEVERITY))


def worst_per_gene(bcsq: str) -> dict[str, tuple[str, str]]:
    """Pick each gene's most severe consequence from a BCSQ value.

    Parameters
    ----------
    bcsq
        ``consequence|gene|transcript|biotype|…`` entries joined by commas (bcftools csq manual).
        An entry ``@POSITION`` points at the record that holds a compound consequence and carries
        none itself.

    Returns
    -------
    dict
        Gene name to (consequence, transcript), the most severe consequence first.
    """
    worst: dict[str, tuple[int, str, str]] = {}
    for entry in bcsq.split(","):
        if entry.startswith("@") or "|" not in entry:
            continue
        consequence, gene, transcript = [*entry.split("|"), "", ""][:3]
        rank = _SEVERITY.get(_worst_term(consequence), len(_SEVERITY))
        if gene not in worst or rank < worst[gene][0]:
            worst[gene] = (rank, consequence.lstrip("*"), transcript)
    return {
        gene: (consequence, transcript)
        for gene, (_, consequence, transcript) in sorted(worst.items(), key=lambda item: item[1][0])
    }


#: Amino-acid field of BCSQ: position and residues, the second half absent where nothing changes.
_AMINO_ACIDS = r"^(\d+)([A-Z*]+)(?:>\d+([A-Z*]+))?$"
#: Longest run of residues that is compared; what precedes a change is a residue or two.
_COMPARED = 200


def consequence_entries(bcsq: pl.Series) -> pl.DataFrame:
    """Take BCSQ values apart, each distinct value once.

    Parameters
    ----------
    bcsq
        Values of INFO/BCSQ (see `worst_per_gene`).

    Returns
    -------
    polars.DataFrame
        One row for each entry that names a consequence: bcsq, entry (its index in the value), gene,
        consequence (without the ``*`` of consequences downstream of a stop), transcript (without
        version), amino_acids (for example ``249S>249C``; null outside coding sequence), severity
        (0 is the most severe term) and alteration_class.
    """
    values = bcsq.drop_nulls().unique(maintain_order=True).alias("bcsq")
    part = pl.col("parts").list
    entries = (
        pl.DataFrame({"bcsq": values}, schema={"bcsq": pl.String})
        .with_columns(text=pl.col("bcsq").str.split(","))
        .with_columns(entry=pl.int_ranges(pl.col("text").list.len()))
        .explode("text", "entry")
        .filter(
            pl.col("text").str.contains("|", literal=True) & ~pl.col("text").str.starts_with("@")
        )
        .with_columns(parts=pl.col("text").str.split("|"))
        .select(
            "bcsq",
            "entry",
            gene=part.get(1, null_on_oob=True),
            consequence=part.get(0).str.strip_chars_start("*"),
            transcript=part.get(2, null_on_oob=True).str.replace(r"\.\d+$", "").fill_null(""),
            amino_acids=part.get(5, null_on_oob=True),
        )
    )
    unknown = len(_SEVERITY)
    terms = (
        entries.select("consequence")
        .unique()
        .with_columns(
            severity=pl.col("consequence")
            .str.split("&")
            .list.eval(
                pl.element().replace_strict(_SEVERITY, default=unknown, return_dtype=pl.Int64)
            )
            .list.min()
        )
    )
    classes = dict(zip(_SEVERITY.values(), _CLASS_OF_TERM.values(), strict=True))
    terms = terms.with_columns(
        alteration_class=pl.col("severity").replace_strict(
            classes, default="noncoding", return_dtype=pl.String
        )
    )
    return entries.join(terms, on="consequence", how="left", maintain_order="left")


def _codes(text: pl.Series, width: int) -> NDArray[np.uint32]:
    """Characters of strings as a matrix (strings x width), zero beyond their ends."""
    array = text.str.slice(0, width).to_numpy().astype(f"<U{width}")
    return array.view(np.uint32).reshape(-1, width)


def _common_prefix(left: pl.Series, right: pl.Series) -> NDArray[np.int64]:
    """Length of what two columns of strings have in common at their start."""
    longest = pl.concat([left, right]).str.len_chars().to_numpy().max(initial=1)
    width = min(int(longest), _COMPARED)
    first, second = _codes(left, width), _codes(right, width)
    same = (first == second) & (first != 0)
    return np.asarray(np.cumprod(same, axis=1).sum(axis=1), dtype=np.int64)


def _split_amino_acids(entries: pl.DataFrame) -> pl.DataFrame:
    """Distinct (consequence, amino_acids) with their residues and what is left when trimmed."""
    groups = pl.col("amino_acids").str.extract_groups(_AMINO_ACIDS)
    table = (
        entries.select("consequence", "amino_acids")
        .unique(maintain_order=True)
        .with_columns(
            first=groups.struct.field("1").cast(pl.Int64),
            reference=groups.struct.field("2"),
            alternate=groups.struct.field("3"),
        )
        .filter(pl.col("first").is_not_null())
    )
    unchanged = pl.col("alternate").is_null()
    table = table.with_columns(
        pl.coalesce("alternate", "reference").alias("alternate"), unchanged=unchanged
    )
    prefix = _common_prefix(table["reference"], table["alternate"])
    table = table.with_columns(prefix=pl.Series(prefix, dtype=pl.Int64))
    rest = table.select(
        reference=pl.col("reference").str.slice(pl.col("prefix")).str.reverse(),
        alternate=pl.col("alternate").str.slice(pl.col("prefix")).str.reverse(),
    )
    suffix = _common_prefix(rest["reference"], rest["alternate"])
    kept = rest.with_columns(suffix=pl.Series(suffix, dtype=pl.Int64)).select(
        pl.col("reference").str.slice(pl.col("suffix")).str.reverse().alias("lost"),
        pl.col("alternate").str.slice(pl.col("suffix")).str.reverse().alias("gained"),
    )
    return pl.concat([table, kept], how="horizontal").with_columns(
        start=pl.col("first") + pl.col("prefix")
    )


def protein_changes(entries: pl.DataFrame) -> pl.DataFrame:
    """Name changes of the protein in one-letter HGVS.

    Parameters
    ----------
    entries
        consequence and amino_acids, as `consequence_entries` gives them.

    Returns
    -------
    polars.DataFrame
        Distinct consequence and amino_acids with protein_change: ``S249C``, ``R280*``, ``K2=``,
        ``G85fs`` (first changed residue), ``D7del``, ``R4_G5del``, ``K2_W3delinsNR``; insertions
        are written as delins of the residues that bcftools shows (``R4delinsQR``), because the
        neighbour on the other side is not in the record. Entries without residues are left out.

    References
    ----------
    den Dunnen et al. 2016, Hum Mutat 37:564 (HGVS nomenclature, protein level).
    """
    table = _split_amino_acids(entries)

    def span(residues: str, start: str) -> pl.Expr:
        """``R4`` or ``R4_G5`` of residues that begin at a position."""
        length = pl.col(residues).str.len_chars().cast(pl.Int64)
        one = pl.format("{}{}", pl.col(residues).str.slice(0, 1), start)
        last = pl.format("{}{}", pl.col(residues).str.slice(-1), pl.col(start) + length - 1)
        return pl.when(length == 1).then(one).otherwise(pl.concat_str([one, last], separator="_"))

    no_loss, no_gain = pl.col("lost") == "", pl.col("gained") == ""
    frameshift = pl.col("consequence").str.contains("frameshift", literal=True)
    one_for_one = (pl.col("lost").str.len_chars() == 1) & (pl.col("gained").str.len_chars() == 1)
    stop = pl.col("gained").str.starts_with("*")
    first_lost = pl.col("lost").str.slice(0, 1)
    return table.select(
        "consequence",
        "amino_acids",
        protein_change=pl.when("unchanged")
        .then(pl.format("{}=", span("reference", "first")))
        .when(frameshift & ~no_loss)
        .then(pl.format("{}{}fs", first_lost, "start"))
        .when(frameshift | (no_loss & no_gain))
        .then(pl.lit(None, dtype=pl.String))
        .when(one_for_one)
        .then(pl.format("{}{}{}", "lost", "start", "gained"))
        .when(stop & ~no_loss)
        .then(pl.format("{}{}*", first_lost, "start"))
        .when(no_gain)
        .then(pl.format("{}del", span("lost", "start")))
        .when(no_loss)
        .then(pl.format("{}delins{}", span("reference", "first"), "alternate"))
        .otherwise(pl.format("{}delins{}", span("lost", "start"), "gained")),
    )


_SINGLE = r"^([A-Z])(\d+)([A-Z*])$"
_SEVERAL = r"^([A-Z])(\d+)_([A-Z])(\d+)delins([A-Z*]+)$"
#: As Oncotator writes it (Broad Firehose): ``248_249RS>QC``.
_ONCOTATOR = r"^(\d+)_(\d+)([A-Z*]+)>([A-Z*]+)$"
_START = r"^(?:([A-Z])(\d+)|(\d+)_)"


def changed_residues(changes: pl.Series) -> pl.DataFrame:
    """List the residues that changes of a protein replace.

    Parameters
    ----------
    changes
        Values as of `protein_changes`, or of a MAF's Protein_Change or HGVSp_Short without ``p.``.

    Returns
    -------
    polars.DataFrame
        protein_change, position, reference (null where the notation does not say it), alternate
        (null unless one residue takes the place of one): one row for each residue replaced, and for
        any other change one row with the first residue it names. Frameshifts, unchanged and unknown
        notations give none.
    """
    values = changes.drop_nulls().unique(maintain_order=True).alias("protein_change")
    frame = pl.DataFrame({"protein_change": values}, schema={"protein_change": pl.String})
    change = pl.col("protein_change")

    def part(pattern: str, group: int) -> pl.Expr:
        return change.str.extract(pattern, group)

    single = frame.select(
        change,
        position=part(_SINGLE, 2).cast(pl.Int64),
        reference=part(_SINGLE, 1),
        alternate=part(_SINGLE, 3),
    ).filter(pl.col("reference") != pl.col("alternate"))
    several = frame.filter(~change.str.contains(_SINGLE)).with_columns(
        start=pl.coalesce(part(_SEVERAL, 2), part(_ONCOTATOR, 1)).cast(pl.Int64),
        end=pl.coalesce(part(_SEVERAL, 4), part(_ONCOTATOR, 2)).cast(pl.Int64),
        left=part(_SEVERAL, 1),
        right=part(_SEVERAL, 3),
        lost=part(_ONCOTATOR, 3),
        gained=pl.coalesce(part(_SEVERAL, 5), part(_ONCOTATOR, 4)),
    )
    length = pl.col("end") - pl.col("start") + 1
    equal = (pl.col("gained").str.len_chars() == length) & (
        pl.col("lost").is_null() | (pl.col("lost").str.len_chars() == length)
    )
    replaced = (
        several.filter(equal)
        .with_columns(position=pl.int_ranges("start", pl.col("end") + 1))
        .explode("position")
        .with_columns(offset=pl.col("position") - pl.col("start"))
        .with_columns(
            alternate=pl.col("gained").str.slice(pl.col("offset"), 1),
            reference=pl.coalesce(
                pl.col("lost").str.slice(pl.col("offset"), 1),
                pl.when(pl.col("position") == pl.col("start")).then("left"),
                pl.when(pl.col("position") == pl.col("end")).then("right"),
            ),
        )
        .filter(pl.col("reference").is_null() | (pl.col("reference") != pl.col("alternate")))
    )
    other = (
        several.filter(~equal.fill_null(value=False))
        .filter(~change.str.contains("fs", literal=True) & ~change.str.ends_with("="))
        .with_columns(
            position=pl.coalesce(part(_START, 2), part(_START, 3)).cast(pl.Int64),
            reference=pl.coalesce(part(_START, 1), pl.col("lost").str.slice(0, 1)),
            alternate=pl.lit(None, dtype=pl.String),
        )
        .filter(pl.col("position").is_not_null())
    )
    columns = ["protein_change", "position", "reference", "alternate"]
    return pl.concat([part.select(columns) for part in (single, replaced, other)])
