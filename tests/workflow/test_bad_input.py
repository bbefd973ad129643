"""Bad input gets one clear error: file, row, column, remedy, exit code not 0.

What a sheet or the first and last bytes of a file tell is said before any job; what needs the whole
file is said by the job that reads it first, and nothing is made from the file.
"""

import gzip
import re
from pathlib import Path

import pysam
import pytest

import given_files as given
from project_copy import copy_project, need_tools

pytestmark = pytest.mark.workflow

SHEET = "config/sites/lih/samples.tsv"
CLINICAL = "config/sites/lih/clinical.tsv"
NCCK = "config/sites/ncck/samples.tsv"


def change_cell(path, row, column, new):
    """Write `new` into a cell; rows count as an editor shows them."""

    def change(root: Path):
        lines = (root / path).read_text(encoding="utf-8").split("\n")
        fields = lines[row - 1].split("\t")
        fields[lines[0].split("\t").index(column)] = new
        lines[row - 1] = "\t".join(fields)
        (root / path).write_text("\n".join(lines), encoding="utf-8")

    return change


def replace(path, old, new):
    def change(root: Path):
        text = (root / path).read_bytes()
        assert old in text
        (root / path).write_bytes(text.replace(old, new, 1))

    return change


def drop_column(path, column):
    def change(root: Path):
        rows = [line.split("\t") for line in (root / path).read_text("utf-8").splitlines()]
        index = rows[0].index(column)
        lines = ["\t".join(row[:index] + row[index + 1 :]) for row in rows]
        (root / path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    return change


def repeat_row(path, row):
    def change(root: Path):
        lines = (root / path).read_text(encoding="utf-8").split("\n")
        lines.insert(row, lines[row - 1])
        (root / path).write_text("\n".join(lines), encoding="utf-8")

    return change


FASTQ = "results/demo/simulated/lih/fastq/LIH-0001-T_L001_R1.fastq.gz"

# name: (change, file, row, column, what, remedy)
FAULTS = {
    "missing column": (
        drop_column(SHEET, "tissue"),
        SHEET,
        1,
        "tissue",
        "this required column is missing",
        "Add it to the header",
    ),
    "duplicate sample": (
        repeat_row(SHEET, 14),
        SHEET,
        15,
        "sample",
        "occurs twice (first in row 14)",
        "remove or rename one",
    ),
    "duplicate lane": (
        change_cell(SHEET, 3, "lane", "L001"),
        SHEET,
        3,
        "lane",
        "has lane 'L001' twice (first in row 2)",
        "its own lane name",
    ),
    "unknown tissue": (
        change_cell(SHEET, 4, "tissue", "blood"),
        SHEET,
        4,
        "tissue",
        "unknown tissue 'blood'",
        "Use tumour or normal.",
    ),
    "FASTQ that does not exist": (
        change_cell(SHEET, 2, "fastq_1", "reads/absent_R1.fastq.gz"),
        SHEET,
        2,
        "fastq_1",
        "the file reads/absent_R1.fastq.gz does not exist",
        "Correct the path",
    ),
    "R2 without R1": (
        change_cell(SHEET, 2, "fastq_1", ""),
        SHEET,
        2,
        "fastq_1",
        "fastq_2 is given without fastq_1",
        "Give both files of a pair",
    ),
    "R1 without R2 among pairs": (
        change_cell(SHEET, 3, "fastq_2", ""),
        SHEET,
        3,
        "fastq_2",
        "has single reads here and pairs of reads in row 2",
        "Give all lanes of a sample both files",
    ),
    "same FASTQ twice": (
        change_cell(SHEET, 3, "fastq_1", FASTQ),
        SHEET,
        3,
        "fastq_1",
        "is already used in row 2, column 'fastq_1'",
        "Name each file of reads once",
    ),
    "unknown local code": (
        change_cell(CLINICAL, 3, "sexe", "Dame"),
        CLINICAL,
        3,
        "sexe",
        "the code 'Dame' is not in the codebook",
        "known: Femme, Homme",
    ),
    "empty sheet": (
        lambda root: (root / SHEET).write_text(""),
        SHEET,
        None,
        None,
        "the sheet is empty",
        "Write a header line",
    ),
    "header only": (
        lambda root: (root / SHEET).write_text("patient\tsample\ttissue\tassay\n"),
        SHEET,
        1,
        None,
        "the sheet has a header but no rows",
        "Write one line per record",
    ),
    "wrong study version": (
        replace("config/sites/ncck/site.yaml", b'study_version: "1.0"', b'study_version: "0.9"'),
        "config/sites/ncck/site.yaml",
        6,
        "study_version",
        "agreed to version '0.9'",
        "raise study_version",
    ),
    "not UTF-8": (
        replace(CLINICAL, "âge".encode(), "âge".encode("latin-1")),
        CLINICAL,
        1,
        None,
        "byte 0xe2 is not UTF-8 text",
        "Save the file as UTF-8",
    ),
    "not UTF-8 in a row": (
        replace(SHEET, b"LIH-0004-T\ttumour", b"LIH-0004-T\ttum\xf4ur"),
        SHEET,
        12,
        "tissue",
        "byte 0xf4 is not UTF-8 text",
        "Save the file as UTF-8",
    ),
    "Windows line ends": (
        lambda root: (root / NCCK).write_bytes((root / NCCK).read_bytes().replace(b"\n", b"\r\n")),
        NCCK,
        1,
        "cells_column",
        "the file has Windows line ends",
        "sed -i",
    ),
    "trailing space": (
        change_cell(SHEET, 5, "patient", "LIH-0001 "),
        SHEET,
        5,
        "patient",
        "has white space at its start or end",
        "Delete the surrounding spaces",
    ),
    "two entry points": (
        change_cell(SHEET, 12, "fastq_1", FASTQ.replace("0001", "0004")),
        SHEET,
        12,
        "vcf",
        "the sample has 2 entry points (fastq, vcf)",
        "Keep the one",
    ),
    "misspelt threshold": (
        replace("config/studies/demo.yaml", b"minimum_n: 10", b"minimun_n: 10"),
        "config/studies/demo.yaml",
        84,
        "disclosure.minimun_n",
        "this key is not known",
        "config/README.md",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_clear_error_before_any_job(project, name):
    change, file, row, column, what, remedy = FAULTS[name]
    change(project.root)
    answer = project.snakemake("--cores", "1")
    assert answer.returncode != 0
    place = ", ".join(
        part
        for part in (
            file,
            f"row {row}" if row else "",
            f"column '{column}'" if column else "",
        )
        if part
    )
    messages = [line for line in answer.stdout.splitlines() if line.strip().startswith(file)]
    assert len(messages) == 1, answer.stdout
    assert messages[0].strip().startswith(place), answer.stdout
    assert what in messages[0]
    assert remedy in messages[0]
    assert "Traceback" not in answer.stdout
    assert not re.search(r"^Job \d|Job stats", answer.stdout, re.MULTILINE)
    assert not (project.root / "results").exists()
    assert not (project.root / "exchange").exists()


def test_all_problems_of_a_sheet_are_said_at_once(project):
    change_cell(SHEET, 2, "fastq_1", "")(project.root)
    change_cell(SHEET, 14, "tissue", "blood")(project.root)
    answer = project.snakemake("--cores", "1")
    assert answer.returncode != 0
    assert "2 problems in the input:" in answer.stdout
    assert f"1. {SHEET}, row 2, column 'fastq_1'" in answer.stdout
    assert f"2. {SHEET}, row 14, column 'tissue'" in answer.stdout


def test_an_unknown_key_of_the_run_configuration(project):
    project.edit("config/config.yaml", "coordinator: true", "coordinater: true")
    answer = project.snakemake("--cores", "1")
    assert answer.returncode != 0
    assert "coordinater" in answer.stdout
    assert not (project.root / "results").exists()


GRCH37 = {"chr1": 249_250_621, "chr2": 243_199_373, "chr3": 198_022_430}
BARE = {"1": 3000, "2": 3000, "3": 3000}
OTHER_BUILD = {name: sequence[500:] + sequence[:500] for name, sequence in given.GENOME.items()}
BARE_GENOME = {name.removeprefix("chr"): sequence for name, sequence in given.GENOME.items()}
LIBRARY = {"LB": "lib1", "PU": "FLOWCELL.1"}


def cut_bam(path):
    given.write_bam(path)
    given.cut(path)


def cut_cram(path):
    given.write_bam(path.with_suffix(".source"))
    genome = str(path.parent / "genome.fa")
    options = ["-C", "-T", genome, "-o", str(path), str(path.with_suffix(".source"))]
    pysam.view(*options, catch_stdout=False)
    given.cut(path, 0.9)


def cut_vcf(path):
    given.write_vcf(path, ["S"])
    given.cut(path, 0.9)


def gzip_vcf(path):
    path.write_bytes(gzip.compress(given.vcf_text(["S"], given.LENGTHS).encode()))


def bam(**options):
    return lambda path: given.write_bam(path, n=5, **options)


def vcf(samples=("S",), **options):
    return lambda path: given.write_vcf(path, list(samples), **options)


# name: (file name, how it is made, the sheet's column, what, remedy)
GIVEN = {
    "reads that are no FASTQ": (
        *("a.fq", lambda path: path.write_text("patient\tsample\n"), "fastq_1"),
        *("a.fq is not FASTQ: a read begins with '@'", "Give FASTQ"),
    ),
    "reads in an empty file": (
        *("b.fq.gz", Path.touch, "fastq_1", "b.fq.gz is empty", "Copy it again"),
    ),
    "gzip without .gz": (
        *("c.fq", lambda path: given.write_fastq(path, 1), "fastq_1"),
        *("c.fq is gzip, which its name does not say", "Name gzipped files .gz"),
    ),
    "mates of another run": (
        *("d.fq.gz", lambda path: given.write_fastq(path, 1, run="OTHER"), "fastq_2"),
        *("'OTHER:0' and that of given/R2.fq.gz is 'RUN:0': they are no mates", "of one run"),
    ),
    "truncated BAM": (
        *("a.bam", cut_bam, "bam", "a.bam is truncated: the BAM end-of-file", "Copy the file"),
    ),
    "truncated CRAM": (
        *("b.cram", cut_cram, "bam", "b.cram is truncated: the CRAM end-of-file", "Copy the file"),
    ),
    "an alignment that is none": (
        *("c.bam", lambda path: path.write_text("text\n"), "bam"),
        *("c.bam is no BAM or CRAM file", "Give a whole BAM"),
    ),
    "BAM on another build": (
        *("d.bam", bam(lengths=GRCH37), "bam"),
        *("its chromosome 1 is that of GRCh37 (hg19)", "Align its reads to the study's genome"),
    ),
    "BAM that lacks a contig": (
        *("e.bam", bam(lengths={"chr1": 3000, "chr3": 3000}), "bam"),
        *("it has no contig chr2", "Align its reads to the study's genome"),
    ),
    "BAM with other names": (
        *("f.bam", bam(lengths=BARE), "bam", "('1' for 'chr1'", "samtools reheader"),
    ),
    "BAM that is not sorted": (
        *("g.bam", bam(sort_order="queryname"), "bam", "SO:queryname", "samtools sort"),
    ),
    "BAM of several samples": (
        *("h.bam", bam(groups=[given.read_group("S1"), given.read_group("S2", "2")]), "bam"),
        *("name 2 samples (S1, S2)", "samtools split"),
    ),
    "BAM with the normal's read-group ID": (
        *("i.bam", bam(groups=[given.read_group("T", "1")]), "bam"),
        *("i.bam and given/normal.bam (P13-N) both have a read group", "samtools addreplacerg"),
    ),
    "BAM given twice": (
        *("j.bam", bam(groups=[given.read_group("N", "1", **LIBRARY)]), "bam"),
        *("one sequencing run of one library cannot be two samples", "its own file"),
    ),
    "BAM with contigs in another order": (
        *("k.bam", bam(lengths=dict(reversed(given.LENGTHS.items()))), "bam"),
        *("numbers the contigs otherwise", "ReorderSam"),
    ),
    "truncated VCF": (
        *("a.vcf.gz", cut_vcf, "vcf", "a.vcf.gz is truncated: the BGZF", "Copy the file again"),
    ),
    "VCF on another build": (
        *("b.vcf.gz", vcf(lengths=GRCH37), "vcf"),
        *("b.vcf.gz is on another build than the study's genome", "lift the file over"),
    ),
    "VCF with other names": (
        *("c.vcf", vcf(lengths=BARE), "vcf", "('1' for 'chr1'", "bcftools annotate --rename-chrs"),
    ),
    "VCF in gzip": (
        *("d.vcf.gz", gzip_vcf, "vcf", "is compressed with gzip", "Compress it with bgzip"),
    ),
    "VCF without the sample": (
        *("e.vcf", vcf(["other"]), "vcf_sample"),
        *("holds no sample 'S' (it holds: other)", "in vcf_sample"),
    ),
}
_PATIENT = {name: f"P{number:02d}" for number, name in enumerate(GIVEN, 1)}


def given_row(name):
    """Return the sheet's row of a given file."""
    file, _, column, *_ = GIVEN[name]
    if column.startswith("fastq"):
        return given.row(f"{_PATIENT[name]}-T", fastq_1=f"given/{file}", fastq_2="given/R2.fq.gz")
    if column == "bam":
        return given.row(f"{_PATIENT[name]}-T", bam=f"given/{file}")
    return given.row(f"{_PATIENT[name]}-T", vcf=f"given/{file}", vcf_sample="S")


@pytest.fixture(scope="module")
def refused_run(tmp_path_factory):
    """One run of a study whose files are all bad, each in its way."""
    project = copy_project(tmp_path_factory.mktemp("refused") / "project")
    folder = project.root / "given"
    folder.mkdir()
    clash = _PATIENT["BAM with the normal's read-group ID"]
    rows = [given.row(f"{clash}-N", "normal", bam="given/normal.bam")]
    for name in GIVEN:
        sheet_row = given_row(name)
        if sheet_row.get("fastq_2"):
            sheet_row["fastq_2"] = f"given/{_PATIENT[name]}_R2.fq.gz"
            given.write_fastq(folder / f"{_PATIENT[name]}_R2.fq.gz", 2)
        rows.append(sheet_row)
    given.write_bam(folder / "normal.bam", groups=[given.read_group("N", "1", **LIBRARY)])
    given.write_study(folder, rows, index=True)
    for file, make, *_ in GIVEN.values():
        make(folder / file)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    answer = project.snakemake("--configfile", "given/run.yaml", "--cores", "1")
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    return project, answer


@pytest.mark.parametrize("name", GIVEN)
def test_a_given_file_is_refused_before_any_job(refused_run, name):
    _, answer = refused_run
    _, _, column, what, remedy = GIVEN[name]
    place = f"given/samples.tsv, row {list(GIVEN).index(name) + 3}, column '{column}': "
    messages = [line for line in answer.stdout.splitlines() if place in line]
    assert len(messages) == 1, answer.stdout
    assert what.replace("R2.fq.gz", f"{_PATIENT[name]}_R2.fq.gz") in messages[0]
    assert remedy in messages[0]


def test_nothing_ran_for_refused_files(refused_run):
    project, answer = refused_run
    assert answer.returncode != 0
    assert f"{len(GIVEN)} problems in the input:" in answer.stdout
    assert "Traceback" not in answer.stdout
    assert "[E::" not in answer.stdout
    assert not re.search(r"^Job \d|Job stats", answer.stdout, re.MULTILINE)
    assert not (project.root / "results").exists()


def hole_in_bam(path):
    given.write_bam(path, n=2000)
    given.cut(path, 0.6, given.BGZF_END)


def changed_byte_in_bam(path):
    given.write_bam(path, n=2000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def cut_reads(path):
    given.write_fastq(path, 1)
    given.cut(path, 0.7)


def cut_text_vcf(path):
    text = given.vcf_text(["S"], given.LENGTHS)
    path.write_text(text[: text.rindex("\tGT")])


# name: (file name, how it is made, sample, log, column, what, remedy)
READ_THROUGH = {
    "truncated FASTQ": (
        *("a_R1.fq.gz", cut_reads, "P01-T", "check_reads/P01-T.L001.log", "fastq_1"),
        *("a_R1.fq.gz is truncated: the gzip stream ends early", "Copy the file again"),
    ),
    "mates in unequal numbers": (
        *("b_R1.fq.gz", lambda path: given.write_fastq(path, 1, n=300), "P02-T"),
        *("check_reads/P02-T.L001.log", "fastq_2"),
        *("b_R1.fq.gz holds 300 reads and given/P02_R2.fq.gz 400", "copy both again"),
    ),
    "BAM with a hole": (
        *("c.bam", hole_in_bam, "P03-T", "check_alignment/P03-T.log", "bam"),
        *("c.bam is truncated: no whole BGZF block follows", "Copy the file again"),
    ),
    "BAM on another build": (
        *("d.bam", bam(lengths=GRCH37), "P04-T", "check_alignment/P04-T.log", "bam"),
        *("d.bam is aligned to another genome than the study's", "Align its reads"),
    ),
    "truncated VCF": (
        *("e.vcf", cut_text_vcf, "P05-T", "check_call_sets/somatic.log", "vcf"),
        *("e.vcf is truncated", "Copy the file again"),
    ),
    "VCF on another build": (
        *("f.vcf", vcf(lengths=None, sequences=OTHER_BUILD), "P06-T"),
        *("check_call_sets/somatic.log", "vcf"),
        *("f.vcf is on another build than the study's genome", "lift the file over"),
    ),
    "VCF with other names": (
        *("g.vcf", vcf(lengths=None, sequences=BARE_GENOME), "P07-T"),
        *("check_call_sets/somatic.log", "vcf", "('1' for 'chr1'", "--rename-chrs"),
    ),
    # Its blocks follow on each other; that one does not unpack is found where it is read.
    "BAM with a changed byte": (
        *("h.bam", changed_byte_in_bam, "P08-T", "adopt_alignment/P08-T.log", None, "P08-T", ""),
    ),
}


@pytest.fixture(scope="module")
def failed_run(tmp_path_factory):
    """One run of a study whose genome has no index yet and whose files are bad inside."""
    need_tools("samtools", "bwa")
    project = copy_project(tmp_path_factory.mktemp("failed") / "project")
    folder = project.root / "given"
    folder.mkdir()
    rows = []
    for file, make, sample, _, column, *_ in READ_THROUGH.values():
        make(folder / file)
        entry = {"bam": "bam", "vcf": "vcf"}.get(column or "bam", "fastq_1")
        files = {entry: f"given/{file}"}
        if entry == "fastq_1":
            files["fastq_2"] = f"given/{sample[:3]}_R2.fq.gz"
            given.write_fastq(folder / f"{sample[:3]}_R2.fq.gz", 2)
        if entry == "vcf":
            files["vcf_sample"] = "S"
        rows.append(given.row(sample, **files))
    given.write_study(folder, rows, index=False)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    answer = project.snakemake("--configfile", "given/run.yaml", "--cores", "2")
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    return project, answer


@pytest.mark.parametrize("name", READ_THROUGH)
def test_a_given_file_is_refused_by_the_job_that_reads_it(failed_run, name):
    project, answer = failed_run
    _, _, sample, log, column, what, remedy = READ_THROUGH[name]
    site = project.root / "results/given/sites/alpha"
    text = (site / "logs" / log).read_text(encoding="utf-8")
    if column is not None:
        row = list(READ_THROUGH).index(name) + 2
        place = f"given/samples.tsv, row {row}, column '{column}': "
        messages = [line for line in text.splitlines() if place in line]
        assert len(messages) == 1, text
        assert what in messages[0]
        assert remedy in messages[0]
        assert "Traceback" not in text
        # Snakemake shows the failed job's log, so that nobody has to look for it.
        assert messages[0] in answer.stdout
    assert what in text
    left = [
        path.relative_to(site)
        for path in site.rglob("*")
        if sample in path.name and path.relative_to(site).parts[0] not in ("logs", "benchmarks")
    ]
    checked = Path("given/alignment/P08-T.json")
    assert left == ([checked] if name == "BAM with a changed byte" else [])


def test_a_run_with_refused_files_fails_and_makes_no_table(failed_run):
    project, answer = failed_run
    assert answer.returncode != 0
    site = project.root / "results/given/sites/alpha"
    # What the jobs before the refusal made is whole; nothing is derived from a refused file.
    made = {
        str(path.relative_to(site))
        for path in site.rglob("*")
        if path.is_file() or path.is_symlink()
    }
    derived = {name for name in made if not name.startswith(("logs/", "benchmarks/", "given/"))}
    # The site has no germline calls, so its list of common sites is empty and of no file.
    assert derived <= {"quality_control/common_sites.parquet"}
    assert not (project.root / "exchange").exists()
