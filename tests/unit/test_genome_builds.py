"""Whether a file speaks of the study's genome is told from names, lengths and checksums."""

import gzip

import pytest

from given_files import LENGTHS, write_genome
from ihdsi.genome_builds import (
    Contigs,
    build_of_lengths,
    build_of_text,
    differences,
    genome_contigs,
    other_names,
    read_index,
    target_contigs,
)

GENOME = Contigs({"chr1": 100, "chr2": 90, "chrM": 16}, {"chr1": "aa"}, "genome.fa.fai")


def test_contigs_are_known_from_index_and_dictionary_only(folder):
    assert genome_contigs(None) is None
    write_genome("genome.fa", index=False)
    assert genome_contigs("genome.fa") is None
    dictionary = "@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:3000\tM5:AB\n@SQ\tSN:chr2\tLN:7\tM5:cd\n"
    (folder / "genome.dict").write_text(dictionary)
    contigs = genome_contigs("genome.fa")
    assert contigs.lengths == {"chr1": 3000, "chr2": 7}
    assert contigs.source == "genome.dict"
    write_genome("genome.fa", index=True)
    contigs = genome_contigs("genome.fa")
    assert contigs.lengths == LENGTHS
    # chr2 of the dictionary is another sequence, so its checksum is not taken.
    assert contigs.checksums == {"chr1": "ab"}
    assert read_index("genome.fa.fai").lengths == LENGTHS


@pytest.mark.parametrize("content", ["chr1\tlong\n", "chr1\n\x00\n", "@SQ\n"])
def test_a_broken_index_is_left_to_the_jobs(folder, content):
    write_genome("genome.fa", index=False)
    (folder / "genome.dict").write_text("@SQ\tLN:5\n" if content == "@SQ\n" else "")
    (folder / "genome.fa.fai").write_text(content)
    contigs = genome_contigs("genome.fa")
    assert contigs is None or contigs.lengths == {}


def test_the_index_of_a_compressed_genome(folder):
    (folder / "genome.fa.gz.fai").write_text("chr1\t5\t6\t5\t6\n")
    assert genome_contigs("genome.fa.gz").lengths == {"chr1": 5}


@pytest.mark.parametrize("name", ["targets.bed", "targets.bed.gz"])
def test_contigs_of_targets(folder, name):
    opener = gzip.open if name.endswith(".gz") else open
    with opener(name, "wt") as target:
        target.write("# panel\ntrack name=x\nchr2\t1\t5\nchr1\t1\t5\nchr2\t7\t9\n\n")
    assert target_contigs(name) == {"chr1", "chr2"}
    assert target_contigs("absent.bed") is None


@pytest.mark.parametrize(
    ("lengths", "checksums", "called", "absent", "different"),
    [
        ({"chr1": 100, "chr2": 90, "chrM": 16}, {}, None, [], []),
        ({"decoy": 7, "chrM": 16, "chr2": 90, "chr1": 100}, {}, None, [], []),
        ({"chr1": 100, "chr2": 90}, {}, None, ["chrM"], []),
        ({"chr1": 100, "chr2": 90}, {}, {"chr1"}, [], []),
        ({"chr1": 100, "chr2": 80, "chrM": 16}, {}, None, [], ["chr2"]),
        ({"chr1": 100, "chr2": 80}, {}, {"chr1"}, [], []),
        ({"chr1": None, "chr2": None, "chrM": None}, {}, None, [], []),
        ({"chr1": 100}, {"chr1": "aa"}, {"chr1"}, [], []),
        ({"chr1": 100}, {"chr1": "bb"}, {"chr1"}, [], ["chr1"]),
        ({}, {}, {"chr2"}, ["chr2"], []),
    ],
)
def test_only_what_is_called_must_agree(lengths, checksums, called, absent, different):
    found = differences(Contigs(lengths, checksums), GENOME, called)
    assert found[0] == absent
    assert [text.split(" ")[0] for text in found[1]] == different


def test_other_names():
    assert other_names({"1": 100, "2": None, "MT": 16, "3": 5}, GENOME) == {
        "1": "chr1",
        "2": "chr2",
        "MT": "chrM",
    }
    ensembl = Contigs({"1": 100, "MT": 16})
    assert other_names({"chr1": 100, "chrM": 16}, ensembl) == {"chr1": "1", "chrM": "MT"}
    # The same name with another length is another build, not another spelling.
    assert other_names({"1": 99}, GENOME) == {}


def test_known_builds():
    assert build_of_lengths({"chr1": 248_956_422}) == "GRCh38 (hg38)"
    assert build_of_lengths({"1": 249_250_621}) == "GRCh37 (hg19)"
    assert build_of_lengths({"chr1": 3000}) is None
    assert build_of_lengths({}) is None
    assert build_of_text("file:///refs/human_g1k_b37.fasta") == "GRCh37 (hg19)"
    assert build_of_text("Homo_sapiens.GRCh38.fa") == "GRCh38 (hg38)"
    assert build_of_text("genome.fa") is None
