"""Contexts and trinucleotides against plain string operations on a small genome."""

import gzip
from itertools import product

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.variants.mutation_contexts import (
    CHANNELS,
    TRINUCLEOTIDE_OF_CHANNEL,
    TRINUCLEOTIDES,
    genome_channels,
    maf_channels,
    single_base_substitutions,
    trinucleotide_counts,
)

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def folded(triple):
    return triple if triple[1] in "CT" else triple[::-1].translate(COMPLEMENT)


def channel_name(triple, alternate):
    """The channel by string operations alone."""
    if triple[1] not in "CT":
        triple, alternate = triple[::-1].translate(COMPLEMENT), alternate.translate(COMPLEMENT)
    return f"{triple[0]}[{triple[1]}>{alternate}]{triple[2]}"


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    sequences = {
        name: "".join(rng.choice(list("ACGT"), length))
        for name, length in (("1", 5000), ("X", 700))
    }
    # Lower case (repeats) is sequence like any other; N is unknown.
    sequences["1"] = (
        sequences["1"][:100] + "NN" + sequences["1"][102:200].lower() + sequences["1"][200:]
    )
    path.write_text("".join(f">{name}\n{text}\n" for name, text in sequences.items()))
    pysam.faidx(str(path))
    return path, {name: text.upper() for name, text in sequences.items()}


def variants_at(sequences, places, alternate=None):
    rows = []
    for chromosome, position in places:
        reference = sequences[chromosome][position - 1]
        others = [base for base in alternate or "ACGT" if base != reference]
        rows += [(chromosome, position, reference, other) for other in others]
    return pl.DataFrame(
        rows,
        schema=["chromosome", "position", "reference_allele", "alternate_allele"],
        orient="row",
    )


def test_channels_are_cosmics():
    assert len(set(CHANNELS)) == 96
    assert CHANNELS[:5] == ("A[C>A]A", "A[C>A]C", "A[C>A]G", "A[C>A]T", "A[C>G]A")
    assert len(TRINUCLEOTIDES) == 32
    assert all(
        TRINUCLEOTIDES[t] == name[0] + name[2] + name[6]
        for name, t in zip(CHANNELS, TRINUCLEOTIDE_OF_CHANNEL, strict=True)
    )


def test_channels_equal_those_read_off_the_sequence(genome):
    path, sequences = genome
    places = [("1", p) for p in range(300, 1500)] + [("X", p) for p in range(2, 699)]
    variants = variants_at(sequences, places).sample(fraction=1, shuffle=True, seed=1)
    found = genome_channels(variants, path)
    expected = [
        channel_name(sequences[c][p - 2 : p + 1], alternate)
        for c, p, _, alternate in variants.iter_rows()
    ]
    assert [CHANNELS[i] for i in found] == expected
    assert set(expected) == set(CHANNELS)


def test_unknown_neighbours_and_ends_have_no_channel(genome):
    path, sequences = genome
    places = [("1", 1), ("1", 100), ("1", 103), ("1", 104), ("X", 700)]
    found = genome_channels(variants_at(sequences, places), path).reshape(-1, 3)
    assert (found[[0, 1, 2, 4]] == -1).all()
    assert (found[3] >= 0).all()
    assert len(genome_channels(variants_at(sequences, []), path)) == 0


def test_another_build_is_refused(genome, refused):
    path, sequences = genome
    variants = variants_at(sequences, [("1", p) for p in range(300, 400)])
    shifted = variants.with_columns(pl.col("position") + 1)
    refused(
        lambda: genome_channels(shifted, path),
        file=path,
        row=None,
        column=None,
        text="somatic substitutions have another reference base than the genome, for example at 1:",
        remedy="same build",
    )
    beyond = variants.with_columns(position=pl.col("position") + 10_000)
    with pytest.raises(ValueError, match=f"{beyond.height} of {beyond.height} somatic"):
        genome_channels(beyond, path)
    refused(
        lambda: genome_channels(variants.with_columns(chromosome=pl.lit("chr1")), path),
        file=path,
        row=None,
        column=None,
        text="no chromosome 'chr1'",
        remedy="Name the chromosomes",
    )


def test_trinucleotides_equal_a_plain_count(genome):
    path, sequences = genome
    regions = pl.DataFrame(
        {
            "chromosome": ["1", "1", "1", "X", "1"],
            "start": [0, 150, 400, 650, 420],
            "end": [120, 200, 450, 900, 460],
        }
    )
    inside = {
        (row["chromosome"], p)
        for row in regions.to_dicts()
        for p in range(row["start"], row["end"])
        if 0 < p < len(sequences[row["chromosome"]]) - 1
    }
    expected = dict.fromkeys(TRINUCLEOTIDES, 0)
    for chromosome, p in inside:
        triple = sequences[chromosome][p - 1 : p + 2]
        if "N" not in triple:
            expected[folded(triple)] += 1
    assert trinucleotide_counts(path, regions).tolist() == list(expected.values())
    assert trinucleotide_counts(path, regions.clear()).sum() == 0
    with pytest.raises(ValueError, match="no chromosome '2', which the targets name"):
        trinucleotide_counts(path, regions.with_columns(chromosome=pl.lit("2")))


def test_a_variant_counts_once_a_patient():
    variants = pl.DataFrame(
        [
            ("a", "1", 10, "C", "T", "G1", "missense", None),
            ("a", "1", 10, "C", "T", "G2", "missense", "R2W"),
            ("b", "1", 10, "C", "T", "G2", "missense", "R2W"),
            ("a", "1", 11, "CC", "TT", "G1", "missense", "P3F"),
            ("a", "1", 12, "C", "CA", "G1", "truncating", None),
            ("a", "1", 13, "-", "A", "G1", "truncating", None),
        ],
        schema=[
            "patient",
            "chromosome",
            "position",
            "reference_allele",
            "alternate_allele",
            "gene_name",
            "alteration_class",
            "protein_change",
        ],
        orient="row",
    )
    kept = single_base_substitutions(variants)
    assert kept.select("patient", "gene_name", "protein_change").rows() == [
        ("a", "G2", "R2W"),
        ("b", "G2", "R2W"),
    ]
    assert single_base_substitutions(variants.clear()).is_empty()


MAF = ["Chromosome", "Start_Position", "Reference_Allele", "Tumor_Seq_Allele2"]


def write_maf(path, rows, columns=(*MAF, "Tumor_Sample_Barcode", "CONTEXT")):
    lines = ["#version gdc-1.0.0", "\t".join(columns), *("\t".join(row) for row in rows)]
    with gzip.open(path, "wt") as stream:
        stream.write("\n".join(lines) + "\n")
    return path


def test_a_mafs_own_context_is_used(tmp_path):
    triples = ["".join(t) for t in product("ACGT", repeat=3)]
    rows = [
        ("1", str(i + 1), t[1], a, "T1" if i % 2 else "T2", f"ACGT{t}TTCA".lower())
        for i, (t, a) in enumerate((t, a) for t in triples for a in "ACGT" if a != t[1])
    ]
    rows += [
        ("1", "900", "A", "-", "T1", "ACGTTACGTAA"),
        ("1", "901", "A", "C", "T3", "ACGTTACGTAA"),
    ]
    path = write_maf(tmp_path / "a.maf.gz", rows)
    found = maf_channels(path, {"T1": "P1", "T2": "P2"}).sort("position")
    assert found.height == 192
    assert found["patient"].to_list()[:2] == ["P2", "P1"]
    assert [CHANNELS[i] for i in found["channel"]] == [
        channel_name(row[5][4:7].upper(), row[3]) for row in rows[:192]
    ]


def test_a_maf_without_context_and_one_with_a_wrong_one(tmp_path, refused):
    path = write_maf(
        tmp_path / "a.maf.gz", [("1", "5", "A", "C", "T1")], (*MAF, "Tumor_Sample_Barcode")
    )
    assert maf_channels(path, {"T1": "P1"}).is_empty()
    path = write_maf(tmp_path / "b.maf.gz", [("1", "5", "A", "C", "T1", "AAAAACAAAAA")])
    refused(
        lambda: maf_channels(path, {"T1": "P1"}),
        file=path,
        row=2,
        column="CONTEXT",
        text="is not the reference base A",
    )
