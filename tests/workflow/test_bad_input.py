"""Bad input gets one clear error before any job: file, row, column, remedy, exit code not 0."""

import re
from pathlib import Path

import pytest

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
        "counts",
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
        80,
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
