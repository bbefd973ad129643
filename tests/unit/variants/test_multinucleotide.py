"""Which substitutions become one variant."""

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.variants.multinucleotide import (
    join_substitutions,
    neighbouring_pairs,
    pairs_in_one_codon,
    read_coding_sequences,
    shared_reads,
)
from ihdsi.variants.panel_of_normals import ALLELE
from ihdsi.variants.read_support import ReadSupport


def variants(*rows):
    return pl.DataFrame(
        [(*row, 10 + number) for number, row in enumerate(rows)],
        schema=[*ALLELE, "tumour_alternate"],
        orient="row",
    )


def test_pairs_are_substitutions_up_to_two_bases_apart():
    calls = variants(
        ("1", 10, "A", "G"),
        ("1", 11, "C", "T"),
        ("1", 12, "CT", "C"),
        ("1", 12, "C", "A"),
        ("1", 14, "G", "A"),
        ("1", 17, "G", "A"),
        ("2", 18, "G", "A"),
    )
    assert neighbouring_pairs(calls).tolist() == [[0, 1], [0, 3], [1, 3], [3, 4]]
    assert neighbouring_pairs(calls[:1]).shape == (0, 2)


def test_pairs_of_two_alleles_at_one_place():
    calls = variants(("1", 10, "A", "G"), ("1", 10, "A", "T"), ("1", 11, "C", "T"))
    assert neighbouring_pairs(calls).tolist() == [[0, 2], [1, 2]]


GFF = """##gff-version 3
1\t.\tgene\t1\t200\t.\t+\t.\tID=gene:G1
1\t.\tCDS\t11\t19\t.\t+\t0\tParent=transcript:T1
1\t.\tCDS\t31\t41\t.\t+\t1\tParent=transcript:T1
1\t.\tCDS\t31\t41\t.\t+\t1\tParent=transcript:T2
1\t.\tCDS\t100\t110\t.\t-\t2\tParent=transcript:T3
"""


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (11, 13, True),
        (12, 14, False),
        (17, 19, True),
        (19, 21, False),
        # One base of the codon before the intron's end, then whole codons.
        (31, 33, False),
        (32, 34, True),
        # The minus strand counts from 110; two bases belong to the codon before.
        (106, 108, True),
        (107, 109, False),
        (50, 52, False),
    ],
)
def test_codons(tmp_path, first, second, same):
    path = tmp_path / "a.gff3"
    path.write_text(GFF)
    coding = read_coding_sequences(path)
    assert coding.height == 3
    found = pairs_in_one_codon(["1", "2"], np.array([first] * 2), np.array([second] * 2), coding)
    assert found.tolist() == [same, False]


def support(covering, carrying):
    return ReadSupport(frozenset(covering), frozenset(carrying), np.array([], dtype=np.int64))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (support("abcdef", "abc"), support("abcdef", "abc"), 1.0),
        (support("abcdef", "abc"), support("abcdef", "bcd"), 0.5),
        (support("abcdef", "ab"), support("abcdef", "cd"), 0.0),
        # Reads that end between the two say nothing.
        (support("abcdexyz", "abxyz"), support("abcdew", "abw"), 1.0),
        (support("ab", "ab"), support("cd", "cd"), 0.0),
    ],
)
def test_shared_reads(one, other, share):
    assert shared_reads(one, other) == share


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">1\nacgtacgtacgt\nACGTACGTACGT\n")
    pysam.faidx(str(path))
    with pysam.FastaFile(str(path)) as fasta:
        yield fasta


def test_chains_are_joined_and_the_weakest_speaks(genome):
    calls = variants(
        ("1", 2, "C", "T"),
        ("1", 5, "A", "C"),
        ("1", 6, "C", "A"),
        ("1", 8, "T", "G"),
        ("1", 20, "T", "A"),
    )
    joined = join_substitutions(calls, np.array([[1, 2], [2, 3]]), genome)
    assert joined.rows() == [
        ("1", 2, "C", "T", 10, None),
        ("1", 5, "ACGT", "CAGG", 11, ["5:A>C", "6:C>A", "8:T>G"]),
        ("1", 20, "T", "A", 14, None),
    ]


def test_two_chains_and_none(genome):
    calls = variants(
        ("1", 5, "A", "C"), ("1", 6, "C", "A"), ("1", 9, "A", "C"), ("1", 11, "G", "A")
    )
    joined = join_substitutions(calls, np.array([[2, 3], [0, 1]]), genome)
    assert joined.select(ALLELE[1:]).rows() == [(5, "AC", "CA"), (9, "ACG", "CCA")]
    untouched = join_substitutions(calls, np.empty((0, 2), dtype=np.int64), genome)
    assert untouched.drop("components").equals(calls)
