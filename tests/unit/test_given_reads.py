"""FASTQ files that tools would read half, or as nothing, are refused."""

import gzip
import subprocess
from pathlib import Path

import pysam
import pytest

from given_files import cut, fastq_text, write_fastq
from ihdsi.errors import FaultyFileError, InputError
from ihdsi.given_reads import (
    check_reads,
    first_read_name,
    mates_differ,
    read_through,
)
from project_copy import need_tools


@pytest.fixture
def pair(folder):
    write_fastq("a_R1.fastq.gz", 1)
    write_fastq("a_R2.fastq.gz", 2)
    return ["a_R1.fastq.gz", "a_R2.fastq.gz"]


def test_whole_reads(pair, folder):
    assert first_read_name(pair[0]) == "RUN:0"
    assert check_reads(pair) == dict.fromkeys(pair, 400)
    assert check_reads(pair[:1]) == {pair[0]: 400}
    (folder / "plain.fq").write_text(fastq_text(1, n=3).rstrip("\n"))
    assert check_reads(["plain.fq"]) == {"plain.fq": 3}


def test_several_gzip_members_and_bgzf_are_one_stream(folder):
    text = fastq_text(1, n=30_000)
    middle = len(text) // 2 + 13
    (folder / "lanes.fq.gz").write_bytes(
        gzip.compress(text[:middle].encode()) + gzip.compress(text[middle:].encode())
    )
    with pysam.BGZFile("blocks.fq.gz", "wb") as target:
        target.write(text.encode())
    for name in ("lanes.fq.gz", "blocks.fq.gz"):
        found = read_through(name)
        assert (found.n_reads, found.last_name) == (30_000, "RUN:29999")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.8, 0.9999])
def test_a_truncated_gzip_stream(pair, share):
    cut(pair[1], share)
    with pytest.raises(InputError, match="is truncated: the gzip stream ends early") as caught:
        check_reads(pair, sheet="samples.tsv", row=7)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == ("samples.tsv", 7, "fastq_2")
    assert pair[1] in problem.what
    assert "Copy the file again" in problem.remedy


def test_a_changed_byte(pair):
    data = bytearray(Path(pair[0]).read_bytes())
    data[-6] ^= 1
    Path(pair[0]).write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged \(CRC check failed"):
        check_reads(pair)


@pytest.mark.parametrize("n_bytes", [5, 60, 120, 210])
def test_a_plain_file_that_breaks_off_in_a_read(folder, n_bytes):
    (folder / "a.fq").write_text(fastq_text(1, n=3)[:-n_bytes])
    with pytest.raises(InputError, match="its last read is not complete"):
        check_reads(["a.fq"])


def test_mates_in_unequal_numbers(pair):
    write_fastq(pair[1], 2, n=300)
    with pytest.raises(InputError, match=r"holds 400 reads and a_R2\.fastq\.gz 300"):
        check_reads(pair)


def test_mates_in_another_order(pair):
    records = fastq_text(2).split("@RUN")[1:]
    with gzip.open(pair[1], "wt") as target:
        target.writelines(f"@RUN{record}" for record in [records[0], *reversed(records[1:])])
    with pytest.raises(InputError, match=r"the last read of .* they are no mates"):
        check_reads(pair)


def test_what_fastp_makes_of_such_files(pair):
    """The reason for the check: fastp ends with exit code 0, silent about the rest."""
    need_tools("fastp")
    cut(pair[0], 0.5)
    command = f"fastp --in1 {pair[0]} --in2 {pair[1]} --out1 o1.fq.gz --out2 o2.fq.gz"
    options = ["--json", "/dev/null", "--html", "/dev/null"]
    answer = subprocess.run([*command.split(), *options], capture_output=True, check=False)
    assert answer.returncode == 0
    with gzip.open("o1.fq.gz", "rt") as lines:
        assert 0 < sum(1 for _ in lines) // 4 < 400


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.fq.gz", b"", "is empty"),
        ("a.fq.gz", gzip.compress(b"", mtime=0), "holds no read"),
        ("a.fq", b"\n", "holds no read"),
        ("a.fq.gz", gzip.compress(b"@r\nA\n+\nI\n", mtime=0)[:9], "holds no read"),
        ("a.fq.gz", b"\x1f\x8b" + bytes(40), "is damaged at its start"),
        ("a.fq.gz", b"@r\nA\n+\nI\n", "is plain text, which its name does deny"),
        ("a.fq", gzip.compress(b"@r\nA\n+\nI\n", mtime=0), "is gzip, which its name does not say"),
        ("a.fq.gz", gzip.compress(b"BAM\x01", mtime=0), "it is a BAM file"),
        ("a.fq", b">r\nACGT\n", "it is FASTA, without qualities"),
        ("a.fq.gz", b"PK\x03\x04", "it is a zip archive"),
        ("a.fq", b"patient\tsample\n", "a read begins with '@'"),
        ("a.fq", b"@r\nACGT\n+\nIII\n@s\n", "its first read has not four lines"),
    ],
)
def test_first_bytes(folder, name, content, what):
    (folder / name).write_bytes(content)
    with pytest.raises(FaultyFileError) as caught:
        first_read_name(name)
    assert what in caught.value.what
    assert name in caught.value.what
    assert caught.value.remedy.endswith((".", ")"))


def test_a_file_that_may_not_be_read(folder):
    (folder / "a.fq").mkdir()
    with pytest.raises(FaultyFileError, match="cannot be read"):
        first_read_name("a.fq")


@pytest.mark.parametrize(
    ("first", "second", "strict", "differ"),
    [
        ("r7", "r7", True, False),
        ("r7/1", "r7/2", True, False),
        ("r7.1", "r7.2", True, True),
        ("r7.1", "r7.2", False, False),
        ("r7", "r8", False, True),
    ],
)
def test_names_of_mates(first, second, strict, differ):
    assert mates_differ(first, second, strict=strict) is differ
