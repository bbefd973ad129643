"""What a protein change tells about the trinucleotide that a coding mutation happened in.

A MAF without a reference genome gives the substituted base and the change of the protein, but not
the neighbouring bases. The genetic code restores most of them: C>G on the coding strand that turns
serine into cysteine, for example, can only be TCT>TGT or TCC>TGC. The strand of the gene
follows from its own mutations, because most protein changes are possible on one strand only. Where
the substituted base is the middle of its codon the trinucleotide is the codon; where it is the
first or the last, one neighbour lies in the next codon and stays unknown.

The observation of a mutation is therefore its class (strand of the gene, substitution, amino acid
before and after), and what a signature says of classes follows from what it says of channels:

    P(class | signature) ∝ Σ over codons, positions and outer neighbours that give the class:
                             sites(codon, position, neighbour) · rate(channel | signature)

where the rate is the signature's probability of a channel per occurrence of its trinucleotide. The
number of sites of an outer neighbour is taken from the trinucleotides of coding sequence by a
second-order Markov chain: f(n b1 b2) f(b1 b2 b3) / f(b1 b2). Probabilities are conditional
on whether the protein changes at all, so that neither selection nor a file without silent mutations
distorts them. A mutation without a usable protein change is observed as its substitution alone.

The constraint that codons put on contexts is the same that makes codon-aware models of
neutral mutation work (Goldman and Yang 1994, Mol Biol Evol 11:725; Martincorena et al. 2017, Cell
171:1029, whose 192-rate model this inverts).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.variants.mutation_contexts import (
    BASES,
    CHANNELS,
    TRINUCLEOTIDE_OF_CHANNEL,
    TRINUCLEOTIDES,
    base_codes,
    channels_of,
)

__all__ = ["CLASS_KEY", "class_probabilities", "coding_sites", "gene_strands", "mutation_classes"]

Floats = NDArray[np.float64]

#: What is observed of a mutation: the gene's strand (null: unknown), the substitution on the plus
#: strand, and the amino acids (null: the protein change is absent or fits no codon).
CLASS_KEY = ("strand", "reference_allele", "alternate_allele", "amino_acid", "changed_to")

#: The standard genetic code (NCBI translation table 1), codons in the order TCAG.
_CODE = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
_AMINO_ACID = dict(zip(map("".join, product("TCAG", repeat=3)), _CODE, strict=True))


def coding_sites(trinucleotides: Floats) -> pl.DataFrame:
    """List every substitution of every codon, with its channel and its expected number of sites.

    Parameters
    ----------
    trinucleotides
        Counts (32, order of `TRINUCLEOTIDES`) in coding sequence, strands folded.

    Returns
    -------
    polars.DataFrame
        `CLASS_KEY`, channel (index into `CHANNELS`) and sites (relative number), for both strands
        of the gene: one row a strand, codon, position, alternate base and outer neighbour.
    """
    folded = dict(zip(TRINUCLEOTIDES, trinucleotides.tolist(), strict=True))
    # Each orientation has half of what the folded counts hold.
    frequency = {
        "".join(triple): folded.get("".join(triple), folded.get(_reversed("".join(triple)), 0.0))
        for triple in product(BASES, repeat=3)
    }
    triples = pl.DataFrame(
        {"triple": list(frequency), "sites": list(frequency.values())}
    ).with_columns(amino_acid=pl.col("triple").replace_strict(_AMINO_ACID))
    pair = (
        triples.group_by(pair=pl.col("triple").str.head(2))
        .agg(pl.col("sites").sum())
        .select("pair", pair_sites="sites")
    )
    # In frame a stop codon ends the sequence: what mutates it is too little to be modelled.
    codons = triples.rename({"triple": "codon"}).filter(pl.col("amino_acid") != "*")
    neighbours = pl.DataFrame({"neighbour": list(BASES)})
    outer = codons.join(neighbours, how="cross")
    first = outer.select(
        "codon",
        "amino_acid",
        "sites",
        position=pl.lit(0),
        context=pl.col("neighbour") + pl.col("codon").str.head(2),
        shared=pl.col("codon").str.head(2),
    )
    last = outer.select(
        "codon",
        "amino_acid",
        "sites",
        position=pl.lit(2),
        context=pl.col("codon").str.tail(2) + pl.col("neighbour"),
        shared=pl.col("codon").str.tail(2),
    )
    ends = (
        pl.concat([first, last])
        .join(triples.select(context="triple", context_sites="sites"), on="context")
        .join(pair, left_on="shared", right_on="pair")
        .with_columns(
            sites=pl.when(pl.col("pair_sites") > 0)
            .then(pl.col("sites") * pl.col("context_sites") / pl.col("pair_sites"))
            .otherwise(0.0)
        )
        .select("codon", "amino_acid", "sites", "position", "context")
    )
    middle = codons.select("codon", "amino_acid", "sites", position=pl.lit(1), context="codon")
    substituted = (
        pl.concat([ends, middle])
        .join(pl.DataFrame({"alternate": list(BASES)}), how="cross")
        .with_columns(reference=pl.col("context").str.slice(1, 1))
        .filter(pl.col("reference") != pl.col("alternate"))
        .with_columns(
            changed_codon=pl.col("codon").str.head(pl.col("position"))
            + pl.col("alternate")
            + pl.col("codon").str.slice(pl.col("position") + 1)
        )
        .with_columns(changed_to=pl.col("changed_codon").replace_strict(_AMINO_ACID))
    )
    context = base_codes("".join(substituted["context"])).reshape(-1, 3)
    alternate = base_codes("".join(substituted["alternate"]))
    substituted = substituted.with_columns(
        channel=pl.Series(channels_of(context[:, 0], context[:, 1], alternate, context[:, 2]))
    )
    complement = dict(zip(BASES, reversed(BASES), strict=True))
    plus = substituted.with_columns(
        strand=pl.lit("+"), reference_allele="reference", alternate_allele="alternate"
    )
    minus = substituted.with_columns(
        strand=pl.lit("-"),
        reference_allele=pl.col("reference").replace_strict(complement),
        alternate_allele=pl.col("alternate").replace_strict(complement),
    )
    return (
        pl.concat([plus, minus]).select(*CLASS_KEY, "channel", "sites").filter(pl.col("sites") > 0)
    )


def _reversed(triple: str) -> str:
    return "".join(BASES[3 - BASES.index(base)] for base in reversed(triple))


def _with_amino_acids(substitutions: pl.DataFrame) -> pl.DataFrame:
    """Split protein changes like E545K, L165L, L165= or R213*; others stay null."""
    return (
        substitutions.with_columns(
            pl.col("protein_change")
            .str.extract_groups(r"^(?:p\.)?(?<amino_acid>[A-Z*])\d+(?<changed_to>[A-Z*=])$")
            .alias("groups")
        )
        .with_columns(
            amino_acid=pl.col("groups").struct.field("amino_acid").replace({"X": "*"}),
            changed_to=pl.when(pl.col("groups").struct.field("changed_to") == "=")
            .then(pl.col("groups").struct.field("amino_acid"))
            .otherwise(pl.col("groups").struct.field("changed_to"))
            .replace({"X": "*"}),
        )
        .drop("groups")
    )


def gene_strands(substitutions: pl.DataFrame, sites: pl.DataFrame) -> pl.DataFrame:
    """Learn each gene's strand from the mutations that are possible on one strand only.

    Parameters
    ----------
    substitutions
        gene_name, reference_allele, alternate_allele, protein_change.
    sites
        `coding_sites`.

    Returns
    -------
    polars.DataFrame
        gene_name, strand (``+`` or ``-``): the strand that most of the gene's unambiguous
        mutations need. Genes without any, or with as many for either strand, have no row.
    """
    possible = (
        sites.select(CLASS_KEY)
        .unique()
        .group_by([name for name in CLASS_KEY if name != "strand"])
        .agg(only=pl.when(pl.len() == 1).then(pl.col("strand").first()))
        .drop_nulls("only")
    )
    balance = pl.when(pl.col("only") == "+").then(1).otherwise(-1).sum()
    return (
        _with_amino_acids(substitutions)
        .join(possible, on=[name for name in CLASS_KEY if name != "strand"])
        .group_by("gene_name")
        .agg(balance=balance)
        .filter(pl.col("balance") != 0)
        .select(
            "gene_name",
            strand=pl.when(pl.col("balance") > 0).then(pl.lit("+")).otherwise(pl.lit("-")),
        )
        .sort("gene_name")
    )


def mutation_classes(substitutions: pl.DataFrame, sites: pl.DataFrame) -> pl.DataFrame:
    """Class of each substitution.

    Parameters
    ----------
    substitutions
        gene_name, reference_allele, alternate_allele, protein_change and any other columns.
    sites
        `coding_sites`.

    Returns
    -------
    polars.DataFrame
        `substitutions`, in its order, with `CLASS_KEY`. Amino acids (and the strand) are null where
        no codon fits: a change of several bases, a splice variant, or another transcript's strand.
    """
    keyed = _with_amino_acids(substitutions).join(
        gene_strands(substitutions, sites), on="gene_name", how="left", maintain_order="left"
    )
    by_strand = sites.select(CLASS_KEY).unique().with_columns(fits=pl.lit(True))
    either = by_strand.with_columns(strand=pl.lit(None, dtype=pl.String)).unique()
    fitting = pl.concat([by_strand, either])
    fits = pl.col("fits").is_not_null()
    return (
        keyed.join(fitting, on=list(CLASS_KEY), how="left", nulls_equal=True, maintain_order="left")
        .with_columns(
            pl.when(fits).then(pl.col(name)).alias(name)
            for name in ("strand", "amino_acid", "changed_to")
        )
        .drop("fits")
    )


def class_probabilities(
    sites: pl.DataFrame, signatures: Floats, trinucleotides: Floats
) -> tuple[pl.DataFrame, Floats]:
    """Probability of each class under each signature.

    Parameters
    ----------
    sites
        `coding_sites`.
    signatures
        Channels × signatures (96 × s), columns summing to 1, of a territory with `trinucleotides`.
    trinucleotides
        Counts (32) in the territory that the signatures refer to.

    Returns
    -------
    tuple
        The classes (`CLASS_KEY`) and the probabilities (classes × s). They sum to 1 over the
        classes of known strand that leave the protein as it is, over those that change it, over
        either for unknown strand, and over the substitutions alone (amino acids null).
    """
    weights = trinucleotides[TRINUCLEOTIDE_OF_CHANNEL][:, np.newaxis]
    rates = np.divide(signatures, weights, out=np.zeros_like(signatures), where=weights > 0)
    number = range(signatures.shape[1])
    rate_table = pl.DataFrame({f"p{i}": rates[:, i] for i in number}).with_columns(
        channel=pl.int_range(len(CHANNELS), dtype=pl.Int64)
    )
    # Sums of floats depend on their order, and equal tumours must give equal bytes.
    weighted = sites.join(rate_table, on="channel", maintain_order="left").with_columns(
        (pl.col(f"p{i}") * pl.col("sites")) for i in number
    )
    columns = [f"p{i}" for i in number]
    unstranded = weighted.with_columns(strand=pl.lit(None, dtype=pl.String))
    bare = unstranded.with_columns(
        amino_acid=pl.lit(None, dtype=pl.String), changed_to=pl.lit(None, dtype=pl.String)
    )
    keyed = (
        pl.concat([weighted, unstranded, bare])
        .group_by(CLASS_KEY)
        .agg(pl.col(columns).sum())
        .sort(CLASS_KEY)
    )
    silent = pl.col("amino_acid") == pl.col("changed_to")
    # Strands of genes are no outcome of mutation, so each strand is a distribution of its own.
    normalised = keyed.with_columns(
        pl.col(column) / pl.col(column).sum().over("strand", silent) for column in columns
    )
    return normalised.select(CLASS_KEY), normalised.select(columns).to_numpy()
