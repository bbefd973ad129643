"""From predicted consequences to the alteration classes of the contract."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ALTERATION_CLASSES", "CLASS_OF_MAF", "alteration_class", "worst_per_gene"]

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
