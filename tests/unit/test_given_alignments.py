"""Alignments that are cut, mixed up or of another genome are refused."""

import shutil
import subprocess
from pathlib import Path

import pysam
import pytest

from given_files import BGZF_END, LENGTHS, cut, read_group, write_bam, write_genome
from ihdsi.errors import FaultyFileError, InputError
from ihdsi.genome_builds import Contigs, read_index
from ihdsi.given_alignments import (
    alignment_faults,
    check_alignment,
    clashing_read_groups,
    mixed_alignments,
    read_alignment_header,
)
from project_copy import need_tools

GENOME = Contigs(LENGTHS, {"chr1": "ab"}, "genome.fa.fai")
REORDERED = dict.fromkeys(("chr2", "chr1", "chr3"), 3000)
GRCH37 = {"chr1": 249_250_621, "chr2": 243_199_373, "chr3": 198_022_430}


@pytest.fixture
def genome(folder):
    write_genome("genome.fa", index=True)
    return "genome.fa.fai"


def write_cram(path):
    write_bam("source.bam")
    pysam.view("-C", "-T", "genome.fa", "-o", path, "source.bam", catch_stdout=False)


def test_a_whole_alignment(genome):
    write_bam("a.bam", groups=[read_group("P1"), read_group("P1", "2")])
    header = check_alignment("a.bam", genome)
    assert (header.kind, header.sort_order, header.samples) == ("BAM", "coordinate", ("P1",))
    assert header.contigs.lengths == LENGTHS
    write_cram("a.cram")
    header = check_alignment("a.cram", genome)
    assert header.kind == "CRAM"
    assert set(header.contigs.checksums) == set(LENGTHS)
    # Neither a missing sort order nor missing read groups say that something is wrong.
    write_bam("b.bam", sort_order=None)
    check_alignment("b.bam", genome)


@pytest.mark.parametrize(
    ("kind", "share", "what"),
    [
        ("bam", 0.5, "the BAM end-of-file block is missing"),
        ("bam", 0.9999, "the BAM end-of-file block is missing"),
        ("cram", 0.999, "the CRAM end-of-file container is missing"),
        ("cram", 0.7, "the CRAM end-of-file container is missing"),
    ],
)
def test_truncated_files(genome, kind, share, what):
    path = f"a.{kind}"
    if kind == "bam":
        write_bam(path)
    else:
        write_cram(path)
    cut(path, share)
    need_tools("samtools")
    assert subprocess.run(["samtools", "quickcheck", path], check=False).returncode != 0
    with pytest.raises(InputError, match=what) as caught:
        check_alignment(path, genome, sheet="samples.tsv", row=3)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == ("samples.tsv", 3, "bam")
    assert "Copy the file again" in problem.remedy


def test_a_hole_before_a_right_end(genome):
    write_bam("a.bam", n=2000)
    cut("a.bam", 0.6, BGZF_END)
    read_alignment_header("a.bam")
    with pytest.raises(InputError, match="is truncated: no whole BGZF block follows at byte"):
        check_alignment("a.bam", genome)


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b">c\nACGT\n", bytes(100), b"BAM\x01", b"@r\n"]
)
def test_files_of_another_kind(folder, content):
    (folder / "a.bam").write_bytes(content)
    with pytest.raises(FaultyFileError, match="no BAM or CRAM file"):
        read_alignment_header("a.bam")


def test_a_vcf_is_no_alignment(folder):
    (folder / "a.bam").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\n")
    with pytest.raises(FaultyFileError, match="no BAM or CRAM file"):
        read_alignment_header("a.bam")


def faults_of(path, lengths=None, called=None, *, realigned=False, **options):
    write_bam(path, lengths, n=2, **options)
    return alignment_faults(read_alignment_header(path), GENOME, called, realigned=realigned)


@pytest.mark.parametrize(
    ("lengths", "called", "options"),
    [
        (LENGTHS, None, {}),
        (LENGTHS | {"chrEBV": 100}, None, {}),
        ({"decoy": 9} | LENGTHS, None, {}),
        (REORDERED, None, {}),
        ({"chr2": 3000}, {"chr2"}, {}),
        (LENGTHS | {"chr3": 5}, {"chr1", "chr2"}, {}),
        (LENGTHS, None, {"chr1": "ab", "chr2": "whatever"}),
    ],
)
def test_genomes_that_serve(folder, lengths, called, options):
    assert faults_of("a.bam", lengths, called, **options) == []


@pytest.mark.parametrize(
    ("lengths", "called", "options", "what", "remedy"),
    [
        ({"chr1": 3000, "chr2": 3000}, None, {}, "it has no contig chr3", "FASTQ"),
        ({"chr1": 3000}, {"chr2"}, {}, "it has no contig chr2", "FASTQ"),
        (LENGTHS | {"chr2": 3001}, None, {}, "chr2 has 3,001 bases there and 3,000", "FASTQ"),
        (GRCH37, None, {}, "its chromosome 1 is that of GRCh37 (hg19)", "realigned"),
        ({"1": 3000, "2": 3000, "3": 3000}, None, {}, "('1' for 'chr1'", "samtools reheader"),
        ({"1": 3000, "2": 2999, "3": 3000}, None, {}, "it has no contig chr1", "FASTQ"),
        (LENGTHS, None, {"chr1": "cd"}, "chr1 has another sequence there (M5 cd)", "FASTQ"),
        ({}, None, {}, "holds reads that are not aligned", "give FASTQ"),
    ],
)
def test_genomes_that_do_not(folder, lengths, called, options, what, remedy):
    ((said, advice),) = faults_of("a.bam", lengths, called, **options)
    assert what in said
    assert remedy in advice
    # What will be aligned anew may come from any genome.
    assert faults_of("b.bam", lengths, called, realigned=True, **options) == []


@pytest.mark.parametrize("order", ["queryname", "unsorted"])
def test_files_that_are_not_sorted(folder, order):
    ((what, remedy),) = faults_of("a.bam", sort_order=order)
    assert f"SO:{order}" in what
    assert "samtools sort" in remedy


def test_several_samples_in_one_file(folder):
    groups = [read_group("P1"), read_group("P2", "2"), read_group("P1", "3")]
    for realigned in (False, True):
        ((what, remedy),) = faults_of("a.bam", groups=groups, realigned=realigned)
        assert "name 2 samples (P1, P2)" in what
        assert "samtools split" in remedy


def mixed(*files, genome=GENOME, **options):
    return mixed_alignments([(read_alignment_header(f), False) for f in files], genome, **options)


def test_alignments_whose_contigs_are_numbered_otherwise(folder):
    write_bam("a.bam")
    write_bam("more.bam", LENGTHS | {"decoy": 100})
    write_bam("b.bam", REORDERED)
    write_bam("c.bam", REORDERED)
    write_bam("shifted.bam", {"decoy": 100} | LENGTHS)
    assert mixed("a.bam", "more.bam") == []
    assert mixed("b.bam", "c.bam") == []
    assert mixed("a.bam", "b.bam", genome=None) == []
    for first, second in (("a.bam", "b.bam"), ("a.bam", "shifted.bam"), ("b.bam", "a.bam")):
        ((index, what, remedy),) = mixed(first, second)
        assert index == 1
        assert f"{second} numbers the contigs otherwise than {first}" in what
        assert "ReorderSam" in remedy
    # Beside samples that are aligned here, the genome's numbers hold.
    assert [index for index, *_ in mixed("b.bam", "c.bam", aligned_here=True)] == [0, 1]
    assert mixed("a.bam", "more.bam", aligned_here=True) == []
    assert mixed("a.bam", "b.bam", called={"chr3"}) == []


def test_why_the_numbers_matter(folder):
    """Two alignments of the genome's own sequence: any call is false, and mpileup makes many."""
    need_tools("bcftools")
    write_genome("genome.fa", index=True)
    calls = {}
    for name, lengths in (("a", LENGTHS), ("b", LENGTHS), ("c", REORDERED)):
        write_bam(f"{name}.bam", lengths, groups=[read_group(name)])
        pysam.index(f"{name}.bam")
    for other in ("b", "c"):
        piled = subprocess.run(
            ["bcftools", "mpileup", "-f", "genome.fa", "-Ou", "a.bam", f"{other}.bam"],
            capture_output=True,
            check=True,
        )
        called = subprocess.run(
            ["bcftools", "call", "-mv"], input=piled.stdout, capture_output=True, check=True
        )
        calls[other] = sum(not line.startswith(b"#") for line in called.stdout.splitlines())
    assert calls["b"] == 0
    assert calls["c"] > 1000


def test_the_same_read_group_in_two_files(folder):
    whole = {"LB": "lib1", "PU": "FLOWCELL.1"}
    write_bam("t.bam", groups=[read_group("P1", "H1", **whole)])
    write_bam("n.bam", groups=[read_group("P1", "0"), read_group("P1", "H1", **whole)])
    ((index, what, remedy),) = mixed("t.bam", "n.bam", genome=None)
    assert index == 1
    assert "n.bam and t.bam have the same read group (ID H1, SM P1, LB lib1, PU FLOWCELL.1)" in what
    assert "Give each sample its own file" in remedy


def test_read_group_ids_that_one_caller_cannot_tell(folder):
    """The case that freebayes refuses, found before it is asked."""
    need_tools("freebayes")
    write_genome("genome.fa", index=True)
    write_bam("n.bam", groups=[read_group("N", "0"), read_group("N", "1")])
    write_bam("t.bam", groups=[read_group("T", "1"), read_group("T", "2")])
    write_bam("o.bam", groups=[read_group("O", "7")])
    headers = [read_alignment_header(f"{name}.bam") for name in "nto"]
    assert clashing_read_groups(headers[1:], ["T", "O"]) == []
    ((index, what, remedy),) = clashing_read_groups(headers, ["N", "T", "O"])
    assert index == 1
    assert "t.bam and n.bam (N) both have a read group with the ID '1'" in what
    for files, refused in ((["n.bam", "t.bam"], True), (["t.bam", "o.bam"], False)):
        command = ["freebayes", "-f", "genome.fa", "-r", "chr1:1-50", *files]
        assert (
            subprocess.run(command, capture_output=True, check=False).returncode != 0
        ) == refused
    # The remedy is a command that works.
    need_tools("samtools")
    subprocess.run(remedy.split(": ", 1)[1], shell=True, check=True)
    renamed = read_alignment_header("new.bam")
    assert clashing_read_groups([headers[0], renamed], ["N", "T"]) == []
    with pysam.AlignmentFile("new.bam") as source:
        assert {read.get_tag("RG") for read in source} == {"T"}


def test_numbers_as_read_groups_say_nothing(folder):
    write_bam("t.bam", groups=[read_group("P1", "1")])
    write_bam("n.bam", groups=[read_group("P1", "1")])
    write_bam("m.bam", groups=[read_group("P1", "1", LB="l", PU="a")])
    write_bam("o.bam", groups=[read_group("P1", "1", LB="l", PU="b")])
    assert mixed("t.bam", "n.bam", "m.bam", "o.bam") == []


def test_in_a_job_the_index_is_there(genome, folder):
    write_bam("a.bam", GRCH37)
    with pytest.raises(InputError, match="aligned to another genome than the study's"):
        check_alignment("a.bam", genome)
    check_alignment("a.bam", genome, realigned=True)
    write_bam("one.bam", {"chr2": 3000})
    (folder / "targets.bed").write_text("chr2\t1\t50\n")
    check_alignment("one.bam", genome, targets="targets.bed")
    write_bam("b.bam", REORDERED)
    write_bam("c.bam")
    check_alignment("b.bam", genome)
    check_alignment("b.bam", genome, first="b.bam")
    for options in ({"first": "c.bam"}, {"aligned_here": True}):
        with pytest.raises(InputError, match="numbers the contigs otherwise"):
            check_alignment("b.bam", genome, **options)
    shutil.copy("c.bam", "cut.bam")
    cut("cut.bam", 0.5)
    check_alignment("c.bam", genome, first="cut.bam")
    assert list(read_index(genome).lengths) == list(LENGTHS)
    assert Path("c.bam").is_file()
