"""What a protein change leaves open, against a coding genome where everything is known."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from coding_genome import CODE, CodingGenome
from ihdsi.variants.mutation_contexts import CHANNELS, TRINUCLEOTIDES
from ihdsi.variants.protein_contexts import (
    CLASS_KEY,
    class_probabilities,
    coding_sites,
    gene_strands,
    mutation_classes,
)
from ihdsi.variants.signatures import human_trinucleotides, reference_signatures

EVEN = np.ones(len(TRINUCLEOTIDES))


def channels_of_class(sites, **key):
    part = sites.filter(*(pl.col(name) == value for name, value in key.items()))
    return {CHANNELS[i] for i in part["channel"]}


def test_the_genetic_code_is_the_standard_one():
    sites = coding_sites(EVEN)
    # Every sense codon × 3 positions × 3 alternates, 4 neighbours at two positions, two strands.
    assert sites.height == 61 * (4 + 1 + 4) * 3 * 2
    seen = set(sites.select("amino_acid", "changed_to").unique().iter_rows())
    expected = {
        (CODE[codon], CODE[codon[:p] + base + codon[p + 1 :]])
        for codon in CODE
        for p, base in product(range(3), "ACGT")
        if base != codon[p] and CODE[codon] != "*"
    }
    assert seen == expected


def test_known_hotspots_have_their_published_contexts():
    sites = coding_sites(EVEN)
    # FGFR3 S249C is TCC>TGC and lies in TCT/TCC/TCA/TCG codons: C>G in the middle.
    assert channels_of_class(
        sites,
        strand="+",
        reference_allele="C",
        alternate_allele="G",
        amino_acid="S",
        changed_to="C",
    ) == {"T[C>G]C", "T[C>G]T"}
    # PIK3CA E545K and E542K: GAG>AAG or GAA>AAA, the first base, whose left neighbour is open.
    assert channels_of_class(
        sites,
        strand="+",
        reference_allele="G",
        alternate_allele="A",
        amino_acid="E",
        changed_to="K",
    ) == {f"T[C>T]{after}" for after in "ACGT"}
    # TP53 R248Q: CGN>CAN, on the minus strand C>T on the plus strand; always in CpG unless AGR.
    assert channels_of_class(
        sites,
        strand="-",
        reference_allele="C",
        alternate_allele="T",
        amino_acid="R",
        changed_to="Q",
    ) == {f"{before}[C>T]G" for before in "CT"}


def test_strands_are_learned_and_misfits_keep_the_substitution_only():
    sites = coding_sites(EVEN)
    mutations = pl.DataFrame(
        [
            ("plus", "C", "T", "p.R248W"),
            ("plus", "G", "A", "R248Q"),
            ("minus", "C", "T", "E545K"),
            ("minus", "C", "T", "p.L165L"),  # fits CTG>CTA on the minus strand
            ("minus", "C", "T", "L165="),
            ("minus", "C", "T", "W10W"),  # no codon
            ("minus", "C", "T", "G12_splice"),
            ("minus", "C", "T", None),
            ("plus", "C", "T", "E545K"),  # another transcript's strand
            ("unseen", "A", "G", "R10R"),  # possible on both strands (AGA>AGG, CGT>CGC)
        ],
        schema=["gene_name", "reference_allele", "alternate_allele", "protein_change"],
        orient="row",
    )
    assert dict(gene_strands(mutations.head(8), sites).iter_rows()) == {"plus": "+", "minus": "-"}
    found = mutation_classes(mutations, sites)
    assert found.select("gene_name", "protein_change").equals(
        mutations.select("gene_name", "protein_change")
    )
    assert found.select("strand", "amino_acid", "changed_to").rows() == [
        ("+", "R", "W"),
        ("+", "R", "Q"),
        ("-", "E", "K"),
        ("-", "L", "L"),
        ("-", "L", "L"),
        *[(None, None, None)] * 4,
        (None, "R", "R"),
    ]


def test_class_probabilities_add_up_and_follow_the_sequence():
    """Frequencies of classes among simulated mutations are those that the model says."""
    genome = CodingGenome(seed=2, n_genes=300, codons=400)
    names = ["SBS1", "SBS2", "SBS5", "SBS13"]
    measured_in = human_trinucleotides("GRCh38", "genome")
    cosmic = reference_signatures(names, "3.4", "GRCh38")
    sites = coding_sites(genome.trinucleotides)
    classes, probabilities = class_probabilities(sites, cosmic, measured_in)
    silent = pl.col("amino_acid") == pl.col("changed_to")
    sums = (
        classes.with_columns(p=pl.Series(probabilities.sum(axis=1)))
        .group_by("strand", silent=silent)
        .agg(pl.col("p").sum())
    )
    assert sums["p"].to_list() == pytest.approx([len(names)] * sums.height)
    # Plus, minus and unknown strand, silent and not; and the substitution alone.
    assert sums.height == 7

    truth = genome.class_frequencies(cosmic, measured_in)
    both = truth.join(
        classes.hstack(pl.DataFrame(probabilities, schema=names)),
        on=list(CLASS_KEY),
        suffix="_model",
    )
    assert both.height == truth.height
    for name in names:
        # Total variation distance in each of four distributions (strand, silent or not).
        distance = (both[name] - both[f"{name}_model"]).abs().sum() / 2 / 4
        assert distance < 0.03, name


def test_probabilities_are_the_same_to_the_last_bit_each_time():
    measured_in = human_trinucleotides("GRCh38", "genome")
    cosmic = reference_signatures(["SBS1", "SBS2", "SBS5"], "3.4", "GRCh38")
    sites = coding_sites(human_trinucleotides("GRCh38", "exome"))
    made = [class_probabilities(sites, cosmic, measured_in)[1].tobytes() for _ in range(10)]
    assert len(set(made)) == 1
