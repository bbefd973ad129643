"""Every fault of a sample sheet is said with its row and column; a good sheet is said back."""

import os
from pathlib import Path

import pytest

from ihdsi.errors import InputError
from ihdsi.sheet_description import describe_cohort, outline_cohort
from ihdsi.sheets import read_cohort
from ihdsi.study import Site, Study

COLUMNS = (
    "patient",
    "sample",
    "tissue",
    "assay",
    "library",
    "lane",
    "umi",
    "fastq_1",
    "fastq_2",
    "bam",
    "vcf",
    "vcf_sample",
    "maf",
    "maf_sample",
    "counts",
    "counts_sample",
    "salmon",
    "cells",
    "cells_sample",
    "cells_column",
)
FILES = ("fastq_1", "fastq_2", "bam", "vcf", "maf", "counts", "salmon", "cells")


def site(**changes):
    return Site(
        **{
            "site": "alpha",
            "title": "Alpha",
            "country": "LU",
            "study": "tiny",
            "study_version": "1.0",
            "samples": "samples.tsv",
        }
        | changes
    )


def sample(patient, name, tissue="tumour", assay="dna", **values):
    return {"patient": patient, "sample": name, "tissue": tissue, "assay": assay} | values


def fastq(patient, name, tissue="tumour", assay="dna", lane="L001", **changes):
    files = {f"fastq_{i}": f"reads/{name}_{lane}_R{i}.fq.gz" for i in (1, 2)}
    return sample(patient, name, tissue, assay, lane=lane, **(files | changes))


@pytest.fixture
def write(folder):
    """Write samples.tsv and the files that it names, apart from those in `absent`."""

    def write_sheet(*rows, columns=COLUMNS, absent=()):
        lines = ["\t".join(columns)]
        lines += ["\t".join(row.get(column, "") for column in columns) for row in rows]
        (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
        for row in rows:
            for name in (row[column] for column in FILES if row.get(column)):
                if name not in absent and "$" not in name:
                    Path(name).parent.mkdir(parents=True, exist_ok=True)
                    Path(name).touch()

    return write_sheet


@pytest.fixture
def read(write, tiny_study):
    def read_sheet(*rows, clinical=False, **options):
        write(*rows, **options)
        extra = {"clinical": "clinical.tsv", "codebook": "codebook.yaml"} if clinical else {}
        return read_cohort(site(**extra), tiny_study)

    return read_sheet


@pytest.fixture
def refused_sheet(read, refused):
    def check(*rows, row, column, text, remedy="", **options):
        refused(
            lambda: read(*rows, **options),
            file="samples.tsv",
            row=row,
            column=column,
            text=text,
            remedy=remedy,
        )

    return check


GOOD = fastq("P1", "P1-T")


@pytest.mark.parametrize("column", ["patient", "sample", "tissue", "assay"])
def test_a_missing_column(refused_sheet, column):
    refused_sheet(
        GOOD,
        columns=[c for c in COLUMNS if c != column],
        row=1,
        column=column,
        text="required column is missing",
        remedy="patient, sample, tissue, assay",
    )


def test_all_missing_columns_come_together(read):
    with pytest.raises(InputError) as caught:
        read(GOOD, columns=["sample", "fastq_1", "fastq_2"])
    assert [p.column for p in caught.value.problems] == ["patient", "tissue", "assay"]


def test_optional_columns_may_be_absent(read):
    cohort = read(GOOD, columns=["patient", "sample", "tissue", "assay", "fastq_1", "fastq_2"])
    assert [lane.lane for lane in cohort.samples["P1-T"].lanes] == ["L001"]


@pytest.mark.parametrize("column", ["Sample", "fastq1", "notes"])
def test_an_unknown_column(refused_sheet, column):
    refused_sheet(
        GOOD,
        columns=(*COLUMNS, column),
        row=1,
        column=column,
        text="column is not known",
        remedy="fastq_1, fastq_2, bam",
    )


@pytest.mark.parametrize(
    ("bad", "column", "text", "remedy"),
    [
        (fastq("P2", "P2-T", tissue="tumor"), "tissue", "unknown tissue 'tumor'", "tumour or norm"),
        (fastq("P2", "P2-T", tissue=""), "tissue", "unknown tissue ''", "tumour or normal"),
        (fastq("P2", "P2-T", assay="DNA"), "assay", "unknown assay 'DNA'", "dna or rna"),
        (fastq("P2", "P2-T", assay="wgs"), "assay", "unknown assay 'wgs'", "dna or rna"),
        (
            sample("P2", "P2-T", fastq_2="a.fq"),
            "fastq_1",
            "fastq_2 is given without fastq_1",
            "a single-end file stands in fastq_1",
        ),
        (
            sample("P2", "P2-T", bam="a.bam", umi="read1:8"),
            "umi",
            "umi is given for a sample that enters as bam",
            "FASTQ files only",
        ),
        (
            sample("P2", "P2-T", vcf="a.vcf", library="A"),
            "library",
            "library is given for a sample that enters as vcf",
            "Empty it",
        ),
        (sample("P2", "P2-T", library="A"), "fastq_1", "no entry point", "fastq_1 and fastq_2"),
        (
            fastq("P2", "P2-T", umi="read1"),
            "umi",
            "'read1' lacks the barcode's length",
            "for example read1:8:2",
        ),
        (
            fastq("P2", "P2-T", umi="read1:0"),
            "umi",
            "'read1:0' lacks the barcode's length",
            "LOCATION:LENGTH",
        ),
        (
            fastq("P2", "P2-T", umi="read3:8"),
            "umi",
            "'read3:8' does not say where a barcode stands",
            "read1, read2 or per_read",
        ),
        (
            fastq("P2", "P2-T", umi="8:read1"),
            "umi",
            "'8:read1' does not say where a barcode stands",
            "LOCATION:LENGTH",
        ),
        (
            fastq("P2", "P2-T", umi="index1:8"),
            "umi",
            "'index1:8' gives a length, but an index is taken whole",
            "an index alone",
        ),
        *(
            (
                fastq("P2", "P2-T", umi=umi, fastq_2=""),
                "umi",
                f"the barcode stands in '{umi.partition(':')[0]}', but the lane is single-end",
                "Give fastq_2, or a place that single reads have (read1, index1)",
            )
            for umi in ("read2:8", "per_read:6:1", "index2", "per_index")
        ),
        (sample("P2", "P2-T"), "fastq_1", "no entry point", "fastq_1 and fastq_2, bam, vcf, maf"),
        (
            sample("P2", "P2-R", assay="rna"),
            "fastq_1",
            "no entry point",
            "fastq_2, counts, salmon.",
        ),
        (
            fastq("P2", "P2-T", bam="a.bam"),
            "bam",
            "2 entry points (fastq, bam)",
            "empty the others",
        ),
        (
            sample("P2", "P2-T", bam="a.bam", vcf="a.vcf", maf="a.maf"),
            "vcf",
            "3 entry points (bam, vcf, maf)",
            "empty the others",
        ),
        (
            sample("P2", "P2-T", counts="c.tsv"),
            "counts",
            "a dna sample cannot enter as counts",
            "fastq, bam, vcf, maf",
        ),
        (
            sample("P2", "P2-R", assay="rna", bam="a.bam"),
            "bam",
            "a rna sample cannot enter as bam",
            "fastq, counts",
        ),
        (
            sample("P2", "P2-R", assay="rna", vcf="a.vcf"),
            "vcf",
            "a rna sample cannot enter as vcf",
            "fastq, counts",
        ),
        (sample("P2", "P2-C", assay="single_cell"), "cells", "no entry point", "cells."),
        (
            sample("P2", "P2-C", assay="single_cell", counts="c.tsv"),
            "counts",
            "a single_cell sample cannot enter as counts",
            "Use one of: cells.",
        ),
        (
            sample("P2", "P2-C", assay="single_cell", cells="a.h5", cells_sample="P2"),
            "cells_sample",
            "the column cells names no h5ad file",
            "one sample",
        ),
        (
            sample("P2", "P2-C", assay="single_cell", cells="folder", cells_column="donor"),
            "cells_column",
            "the column cells names no h5ad file",
            "Empty it",
        ),
    ],
)
def test_a_fault_of_a_row(refused_sheet, bad, column, text, remedy):
    refused_sheet(GOOD, bad, row=3, column=column, text=text, remedy=remedy)


@pytest.mark.parametrize("column", ["patient", "sample", "lane", "library"])
@pytest.mark.parametrize(
    "name",
    ["a/b", "../a", ".", ".hidden", "-rf", "a b", "a.b", "a;b", "*", "é", "환자", "$x", "a:b"],
)
def test_a_name_that_cannot_be_a_file_name(refused_sheet, column, name):
    refused_sheet(
        GOOD,
        fastq("P2", "P2-T") | {column: name},
        row=3,
        column=column,
        text=f"'{name}' cannot be a",
        remedy="letters, digits",
    )


@pytest.mark.parametrize("column", ["patient", "sample"])
def test_an_empty_name(refused_sheet, column):
    bad = fastq("P2", "P2-T") | {column: ""}
    refused_sheet(GOOD, bad, row=3, column=column, text="'' cannot be a name")


@pytest.mark.parametrize("column", FILES)
def test_a_file_that_does_not_exist(refused_sheet, column):
    assay = {"counts": "rna", "salmon": "rna", "cells": "single_cell"}.get(column, "dna")
    name = "somewhere/else.gz"
    bad = (
        fastq("P2", "P2-T", **{column: name})
        if column.startswith("fastq")
        else sample("P2", "P2-T", assay=assay, **{column: name})
    )
    refused_sheet(
        GOOD,
        bad,
        absent=[name],
        row=3,
        column=column,
        text=f"the file {name} does not exist",
        remedy="relative paths start at the working directory",
    )


def test_each_folder_is_listed_once_and_no_file_is_probed(write, tiny_study, monkeypatch):
    rows = [fastq(f"P{i}", f"P{i}-T") for i in range(40)]
    rows += [sample(f"P{i}", f"P{i}-N", "normal", vcf="calls/all.vcf") for i in range(40)]
    write(*rows)
    listed = []
    scandir = os.scandir

    def counting(path):
        listed.append(str(path))
        return scandir(path)

    def probe(*_, **__):
        raise AssertionError("a file was probed alone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", counting)
        for name in ("stat", "exists", "is_file", "resolve"):
            patch.setattr(Path, name, probe)
        for name in ("exists", "isfile", "lexists", "realpath"):
            patch.setattr(os.path, name, probe)
        patch.setattr(os, "stat", probe)
        cohort = read_cohort(site(), tiny_study)
    assert len(cohort.samples) == 80
    assert sorted(listed) == ["calls", "reads"]


def test_a_folder_that_does_not_exist_is_tried_once(write, tiny_study, monkeypatch):
    rows = [fastq(f"P{i}", f"P{i}-T") for i in range(5)]
    write(*rows, absent=[row[c] for row in rows for c in ("fastq_1", "fastq_2")])
    listed = []

    def failing(path):
        listed.append(str(path))
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(InputError, match="10 problems"):
        read_cohort(site(), tiny_study)
    assert listed == ["reads"]


def test_files_of_a_simulated_study_are_made_later(write, study_document):
    made = "results/tiny/simulated/alpha.bam"
    write(sample("P1", "P1-T", bam=made), absent=[made])
    study = Study.model_validate(study_document | {"simulated": True})
    assert read_cohort(site(), study).samples["P1-T"].path == made
    with pytest.raises(InputError, match="does not exist"):
        read_cohort(site(), Study.model_validate(study_document))


@pytest.mark.parametrize(
    "again",
    [
        "reads/P1-T_L001_R1.fq.gz",
        "./reads/P1-T_L001_R1.fq.gz",
        "reads//P1-T_L001_R1.fq.gz",
        "reads/../reads/P1-T_L001_R1.fq.gz",
        "{folder}/reads/P1-T_L001_R1.fq.gz",
    ],
)
@pytest.mark.parametrize("column", ["fastq_1", "fastq_2"])
def test_the_same_reads_twice(refused_sheet, folder, again, column):
    refused_sheet(
        GOOD,
        fastq("P2", "P2-T", **{column: again.format(folder=folder)}),
        row=3,
        column=column,
        text="is already used in row 2, column 'fastq_1'",
        remedy="Name each file of reads once",
    )


def test_a_file_as_its_own_mate(refused_sheet):
    name = "reads/a_R1.fq.gz"
    refused_sheet(
        fastq("P1", "P1-T", fastq_1=name, fastq_2=name),
        row=2,
        column="fastq_2",
        text="already used in row 2, column 'fastq_1'",
    )


def test_the_same_bam_twice(refused_sheet):
    refused_sheet(
        sample("P1", "P1-T", bam="a.bam"),
        sample("P2", "P2-T", bam="./a.bam"),
        row=3,
        column="bam",
        text="already used in row 2, column 'bam'",
    )


def test_a_lane_twice(refused_sheet):
    refused_sheet(
        GOOD,
        fastq("P1", "P1-T", fastq_1="c_R1.fq", fastq_2="c_R2.fq"),
        row=3,
        column="lane",
        text="sample 'P1-T' has lane 'L001' twice (first in row 2)",
        remedy="own lane name",
    )


def test_single_reads(read):
    cohort = read(fastq("P1", "P1-T", fastq_2=""), fastq("P1", "P1-T", lane="L002", fastq_2=""))
    assert not cohort.samples["P1-T"].is_paired
    lane = cohort.lanes["P1-T", "L002"]
    assert lane.trimmed == ("single_reads/P1-T.L002.fastq.gz",)
    assert lane.report == "single_reads/P1-T.L002.fastp.json"
    assert "P1-T: tumour DNA from single-end FASTQ, 2 lanes merge (L001, L002)" in describe_cohort(
        cohort
    )


@pytest.mark.parametrize("paired_first", [True, False])
def test_single_reads_among_pairs(refused_sheet, paired_first):
    second = {"fastq_2": ""} if paired_first else {}
    kinds = ("pairs of reads", "single reads") if paired_first else ("single reads", "pairs of re")
    refused_sheet(
        fastq("P1", "P1-T", **({} if paired_first else {"fastq_2": ""})),
        fastq("P1", "P1-T", lane="L002", **second),
        row=3,
        column="fastq_2",
        text=f"sample 'P1-T' has {kinds[1]}",
        remedy="all lanes of a sample both files, or all one",
    )


def test_libraries_and_their_lanes(read):
    cohort = read(
        fastq("P1", "P1-T", library="A"),
        fastq("P1", "P1-T", lane="L002", library="A"),
        fastq("P1", "P1-T", library="B", fastq_1="b1.fq", fastq_2="b2.fq"),
        fastq("P1", "P1-N", "normal", library="P1-N"),
        fastq("P2", "P2-N", "normal", library="A"),
    )
    tumour = cohort.samples["P1-T"]
    assert {name: [lane.lane for lane in lanes] for name, lanes in tumour.libraries.items()} == {
        "A": ["L001", "L002"],
        "B": ["L001"],
    }
    assert [lane.name for lane in tumour.lanes] == ["A.L001", "A.L002", "B.L001"]
    assert cohort.lanes["P1-T", "B.L001"].fastq_1 == "b1.fq"
    assert tumour.lanes[2].trimmed == (
        "reads/P1-T.B.L001.R1.fastq.gz",
        "reads/P1-T.B.L001.R2.fastq.gz",
    )
    assert tumour.lanes[2].read_group == (
        r"@RG\tID:P1-T.B.L001\tSM:P1-T\tLB:B\tPU:B.L001\tPL:ILLUMINA"
    )
    # The default library by its name is the same as none; one library needs no merging.
    assert cohort.samples["P1-N"].lanes[0].name == "L001"
    assert [cohort.alignment(s) for s in ("P1-T", "P1-N", "P2-N")] == [
        "P1-T.merged.bam",
        "P1-N.markdup.bam",
        "P2-N.markdup.bam",
    ]
    groups = [lane.read_group for sample in cohort.samples.values() for lane in sample.lanes]
    assert len(set(groups)) == 5
    assert (
        "P1-T: tumour DNA from FASTQ, 3 lanes of 2 libraries merge (A.L001, A.L002, B.L001)"
        in describe_cohort(cohort)
    )
    assert {"A", "B"} <= cohort.identifiers


def test_a_lane_of_a_library_twice(refused_sheet):
    refused_sheet(
        fastq("P1", "P1-T", library="A"),
        fastq("P1", "P1-T", library="A", fastq_1="c_R1.fq", fastq_2="c_R2.fq"),
        row=3,
        column="lane",
        text="sample 'P1-T' has lane 'L001' of library 'A' twice (first in row 2)",
    )


def test_barcodes(read):
    cohort = read(
        fastq("P1", "P1-T", umi="read1:8:2", library="A"),
        fastq("P1", "P1-T", umi="per_index", library="B", lane="L002"),
        fastq("P1", "P1-N", "normal", fastq_2="", umi="index1"),
    )
    first, second = (lane.umi for lane in cohort.samples["P1-T"].lanes)
    assert first.fastp_options == "--umi --umi_loc read1 --umi_len 8 --umi_skip 2"
    assert second.fastp_options == "--umi --umi_loc per_index"
    assert "(A.L001, B.L002), barcode in read1:8:2, per_index →" in describe_cohort(cohort)


def test_a_library_has_one_barcode(refused_sheet):
    refused_sheet(
        fastq("P1", "P1-T", umi="read1:8"),
        fastq("P1", "P1-T", lane="L002"),
        row=3,
        column="umi",
        text="library 'P1-T' of sample 'P1-T' has the barcode '' here and 'read1:8' in row 2",
        remedy="the same in all lanes of a library",
    )


def test_given_alignments_are_reused_or_aligned_anew(write, tiny_study):
    write(sample("P1", "P1-T", bam="a.cram"), fastq("P1", "P1-N", "normal"))
    for word, file, text in (
        ("reuse", "P1-T.adopted.bam", "BAM a.cram, used as aligned"),
        ("realign", "P1-T.realigned.bam", "BAM a.cram, aligned anew"),
    ):
        cohort = read_cohort(site(alignments=word), tiny_study)
        assert cohort.alignment("P1-T") == file
        assert cohort.alignment("P1-N") == "P1-N.markdup.bam"
        assert text in describe_cohort(cohort)
    assert [s.sample for s in cohort.newly_aligned] == ["P1-T", "P1-N"]


def test_tumours_without_normal_reads_are_called_alone(read):
    cohort = read(*MIXED)
    assert list(cohort.tumour_only) == ["P4", "P5"]
    assert list(cohort.somatic_called) == ["P1", "P4", "P5"]
    assert read(GOOD).has_somatic
    assert not read(NORMAL).has_somatic


def test_an_empty_lane_is_the_first(refused_sheet):
    refused_sheet(
        GOOD,
        fastq("P1", "P1-T", fastq_1="c_R1.fq", fastq_2="c_R2.fq") | {"lane": ""},
        row=3,
        column="lane",
        text="lane 'L001' twice",
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (sample("P1", "P1-T", bam="a.bam"), sample("P1", "P1-T", bam="b.bam")),
        (sample("P1", "P1-T", vcf="a.vcf"), sample("P1", "P1-T", vcf="a.vcf")),
        (GOOD, sample("P1", "P1-T", bam="b.bam")),
        (sample("P1", "P1-T", bam="b.bam"), GOOD),
    ],
    ids=["bam", "vcf", "fastq then bam", "bam then fastq"],
)
def test_a_sample_twice(refused_sheet, first, second):
    refused_sheet(
        fastq("P0", "P0-T"),
        first,
        second,
        row=4,
        column="sample",
        text="sample 'P1-T' occurs twice (first in row 3)",
        remedy="remove or rename one",
    )


@pytest.mark.parametrize(
    ("column", "value"), [("patient", "P2"), ("tissue", "normal"), ("assay", "rna")]
)
def test_a_sample_with_two_meanings(refused_sheet, column, value):
    refused_sheet(
        GOOD,
        fastq("P1", "P1-T", lane="L002") | {column: value},
        row=3,
        column=column,
        text=f"sample 'P1-T' has {column} '{value}' here and '{GOOD[column]}' in row 2",
    )


@pytest.mark.parametrize("tissue", ["tumour", "normal"])
@pytest.mark.parametrize("assay", ["dna", "rna"])
def test_a_patient_with_two_samples_of_a_kind(refused_sheet, tissue, assay):
    refused_sheet(
        fastq("P1", "P1-A", tissue, assay),
        fastq("P2", "P2-A", tissue, assay),
        fastq("P1", "P1-B", tissue, assay),
        row=4,
        column="sample",
        text=f"patient 'P1' has two {tissue} {assay.upper()} samples ('P1-A' in row 2 and 'P1-B')",
        remedy="same sample name",
    )


def test_an_unset_variable(refused_sheet, monkeypatch):
    monkeypatch.delenv("IHDSI_TEST_READS", raising=False)
    refused_sheet(
        GOOD,
        fastq("P2", "P2-T", fastq_2="${IHDSI_TEST_READS}/b.fq.gz"),
        row=3,
        column="fastq_2",
        text="IHDSI_TEST_READS is not set",
        remedy="Export the variable",
    )


def test_a_set_variable(read, folder, monkeypatch):
    (folder / "elsewhere.bam").touch()
    monkeypatch.setenv("IHDSI_TEST_READS", str(folder))
    cohort = read(sample("P1", "P1-T", bam="${IHDSI_TEST_READS}/elsewhere.bam"))
    assert cohort.samples["P1-T"].path == f"{folder}/elsewhere.bam"


@pytest.mark.parametrize(
    ("old", "new", "row", "column", "text"),
    [
        ("\n", "\r\n", 1, "cells_column", "Windows line ends"),
        ("P1-T\t", "P1-T \t", 2, "sample", "white space"),
        ("tissue\t", "tissue \t", 1, "tissue", "white space"),
        ("tumour", "tumour\xe9", 2, "tissue", "0xe9 is not UTF-8"),
        ("\t", ",", 1, None, "no tab"),
    ],
)
def test_what_spreadsheets_do(write, tiny_study, refused, old, new, row, column, text):
    write(GOOD)
    path = Path("samples.tsv")
    path.write_bytes(path.read_text().replace(old, new).encode("latin-1"))
    refused(lambda: read_cohort(site(), tiny_study), file=path, row=row, column=column, text=text)


@pytest.mark.parametrize(
    ("content", "row", "text"), [("", None, "empty"), ("\t".join(COLUMNS) + "\n", 1, "no rows")]
)
def test_nothing_in_the_sheet(folder, tiny_study, refused, content, row, text):
    (folder / "samples.tsv").write_text(content)
    refused(
        lambda: read_cohort(site(), tiny_study), file="samples.tsv", row=row, column=None, text=text
    )


def test_no_sheet(folder, tiny_study, refused):
    refused(
        lambda: read_cohort(site(), tiny_study),
        file="samples.tsv",
        row=None,
        column=None,
        text="does not exist",
    )


def test_all_faults_come_together_in_the_order_of_the_rows(read):
    with pytest.raises(InputError) as caught:
        read(
            fastq("P1", "P1-T", tissue="tumor"),
            fastq("P2", "P2-T", fastq_1="gone.fq.gz"),
            sample("P3", "P3-T"),
            fastq("P4", "P4 T", assay="exome"),
            absent=["gone.fq.gz"],
        )
    assert [(p.row, p.column) for p in caught.value.problems] == [
        (2, "tissue"),
        (3, "fastq_1"),
        (4, "fastq_1"),
        (5, "assay"),
        (5, "sample"),
    ]
    assert {p.file for p in caught.value.problems} == {Path("samples.tsv")}


MIXED = (
    fastq("P1", "P1-T"),
    fastq("P1", "P1-T", lane="L002"),
    sample("P1", "P1-N", "normal", bam="p1n.bam"),
    fastq("P1", "P1-R", assay="rna"),
    sample("P2", "P2-T", vcf="p2.vcf", vcf_sample="TUMOR"),
    sample("P2", "P2-N", "normal", vcf="all.vcf.gz", vcf_sample="P2_blood"),
    sample("P2", "P2-R", assay="rna", counts="counts.tsv"),
    sample("P3", "P3-T", maf="all.maf"),
    sample("P3", "P3-N", "normal", vcf="all.vcf.gz"),
    sample("P3", "P3-R", assay="rna", counts="counts.tsv"),
    sample("P4", "P4-T", bam="p4.bam"),
    fastq("P5", "P5-T"),
    sample("P5", "P5-N", "normal", vcf="own.vcf"),
    fastq("P5", "P5-NR", "normal", "rna"),
    sample("P6", "P6-T", maf="all.maf", maf_sample="TCGA-6"),
    sample("P6", "P6-N", "normal", maf="all.maf"),
    fastq("P7", "P7-N", "normal"),
)

DESCRIPTION = """\
Site alpha (Alpha): 7 patients, 16 samples, read from samples.tsv
  tumour–normal pairs called from reads: 1; tumours called without a normal: 2; \
tumours with given calls: 3; normals with given genotypes: 3; RNA from reads: 1; \
RNA from count matrices: 2; skipped: 2
  P1
    P1-T: tumour DNA from FASTQ, 2 lanes merge (L001, L002) → somatic calling against P1-N
    P1-N: normal DNA from BAM p1n.bam, used as aligned → germline calling
    P1-R: tumour RNA from FASTQ, lane L001 → quantified by salmon
  P2
    P2-T: tumour DNA from VCF p2.vcf, there named TUMOR → somatic variants taken as given
    P2-N: normal DNA from VCF all.vcf.gz, there named P2_blood → germline genotypes taken as given
    P2-R: tumour RNA from count matrix counts.tsv → counts taken as given
  P3
    P3-T: tumour DNA from MAF all.maf → somatic variants taken as given
    P3-N: normal DNA from VCF all.vcf.gz → germline genotypes taken as given
    P3-R: tumour RNA from count matrix counts.tsv → counts taken as given
  P4
    P4-T: tumour DNA from BAM p4.bam, used as aligned → somatic calling without a normal
    ! P4-T called without a normal: the patient has no normal DNA sample; \
variants that are likely germline are marked
  P5
    P5-T: tumour DNA from FASTQ, lane L001 → somatic calling without a normal
    P5-N: normal DNA from VCF own.vcf → germline genotypes taken as given
    P5-NR: normal RNA from FASTQ, lane L001
    ! P5-T called without a normal: the normal enters as VCF, without reads; \
variants that are likely germline are marked
    ! P5-NR skipped: normal RNA takes no part in the study's contrasts
  P6
    P6-T: tumour DNA from MAF all.maf, there named TCGA-6 → somatic variants taken as given
    P6-N: normal DNA from MAF all.maf
    ! P6-N skipped: a MAF holds somatic variants; nothing is read for a normal
  P7
    P7-N: normal DNA from FASTQ, lane L001 → germline calling"""


def test_a_mixed_sheet_is_said_back(read):
    assert describe_cohort(read(*MIXED), "Alpha") == DESCRIPTION


def test_the_title_is_optional(read):
    assert describe_cohort(read(GOOD)).startswith("Site alpha: 1 patients, 1 samples, ")


def names(files):
    return {key: [s.sample for s in samples] for key, samples in files.items()}


def test_look_up_tables(read):
    cohort = read(*MIXED)
    assert list(cohort.patients) == ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]
    assert list(cohort.somatic_pairs) == ["P1"]
    pair = cohort.somatic_pairs["P1"]
    assert (pair.tumour_dna.sample, pair.normal_dna.sample) == ("P1-T", "P1-N")
    assert list(cohort.germline_patients) == ["P1", "P7"]
    assert names(cohort.somatic_vcfs) == {"P2": ["P2-T"]}
    assert names(cohort.germline_vcfs) == {"P2": ["P2-N", "P3-N"], "P5": ["P5-N"]}
    assert names(cohort.mafs) == {"P3": ["P3-T", "P6-T"]}
    assert names(cohort.count_matrices) == {"P2": ["P2-R", "P3-R"]}
    assert [s.name_in_file for s in cohort.germline_vcfs["P2"]] == ["P2_blood", "P3-N"]
    assert [s.sample for s in cohort.aligned] == ["P1-T", "P1-N", "P4-T", "P5-T", "P7-N"]
    assert [s.sample for s in cohort.quantified] == ["P1-R"]
    # Copy number needs a tumour's reads; any normal with reads joins the pool.
    assert list(cohort.copy_number_patients) == ["P1", "P4", "P5"]
    assert [s.sample for s in cohort.copy_number_normals] == ["P1-N", "P7-N"]
    assert cohort.has_copy_number
    assert cohort.sample_of("tumour_rna") == {"P1": "P1-R", "P2": "P2-R", "P3": "P3-R"}
    assert cohort.sample_of("normal_rna") == {"P5": "P5-NR"}
    assert [s.sample for s in cohort.with_entry("dna", "bam", "maf")] == [
        "P1-N",
        "P3-T",
        "P4-T",
        "P6-T",
        "P6-N",
    ]
    assert list(cohort.lanes)[:2] == [("P1-T", "L001"), ("P1-T", "L002")]
    assert cohort.lanes["P1-T", "L002"].fastq_2 == "reads/P1-T_L002_R2.fq.gz"
    assert [lane.line for lane in cohort.samples["P1-T"].lanes] == [2, 3]
    assert cohort.alignment("P1-T") == "P1-T.markdup.bam"
    assert cohort.alignment("P1-N") == "P1-N.adopted.bam"


@pytest.mark.parametrize(
    ("row", "reads", "measured"),
    [
        (fastq("P1", "P1-T"), True, True),
        (sample("P1", "P1-N", "normal", bam="a.bam"), True, True),
        (fastq("P1", "P1-R", assay="rna"), True, True),
        (sample("P1", "P1-T", vcf="a.vcf"), False, True),
        (sample("P1", "P1-N", "normal", maf="a.maf"), False, False),
        (fastq("P1", "P1-NR", "normal", "rna"), False, False),
    ],
)
def test_what_a_site_brings(read, row, reads, measured):
    cohort = read(row)
    assert (bool(cohort.processed), cohort.is_measured) == (reads, measured)


def test_lanes_need_not_stand_together(read):
    cohort = read(GOOD, fastq("P2", "P2-T"), fastq("P1", "P1-T", lane="L002"))
    assert [lane.line for lane in cohort.samples["P1-T"].lanes] == [2, 4]
    assert "2 lanes merge (L001, L002)" in describe_cohort(cohort)


def test_a_file_added_later_renames_no_call_set(read):
    first = sample("P1", "P1-N", "normal", vcf="a.vcf")
    second = sample("P2", "P2-N", "normal", vcf="b.vcf")
    assert list(read(first).germline_vcfs) == ["P1"]
    assert list(read(first, second).germline_vcfs) == ["P1", "P2"]


def test_identifiers_point_at_people_and_their_reads(read):
    assert read(*MIXED[:3], MIXED[4]).identifiers >= {
        "P1",
        "P1-T",
        "P1-T_L002_R1.fq.gz",
        "p1n.bam",
        "P2",
        "P2-T",
        "TUMOR",
    }


CLINICAL = ("expression_effects", "expression_design", "expression_moments", "survival_effects")
CURVE = "survival_curve"
NORMAL = fastq("P1", "P1-N", "normal")
RNA = fastq("P1", "P1-R", assay="rna")


@pytest.mark.parametrize(
    ("rows", "clinical", "tables"),
    [
        ([GOOD], False, ("qc_profile", "gene_alterations", "mutation_burden")),
        ([NORMAL], False, ("qc_profile", "variant_frequencies")),
        (
            [GOOD, NORMAL],
            False,
            ("qc_profile", "variant_frequencies", "gene_alterations", "mutation_burden"),
        ),
        (
            [sample("P1", "P1-T", maf="a.maf")],
            True,
            ("cohort_profile", "qc_profile", "gene_alterations", "mutation_burden", CURVE),
        ),
        (
            [sample("P1", "P1-N", "normal", vcf="a.vcf")],
            True,
            ("cohort_profile", "qc_profile", "variant_frequencies", CURVE),
        ),
        ([RNA], False, ("qc_profile",)),
        ([RNA], True, ("cohort_profile", "qc_profile", *CLINICAL, CURVE)),
        (
            [sample("P1", "P1-R", assay="rna", counts="c.tsv")],
            True,
            ("cohort_profile", "qc_profile", *CLINICAL, CURVE),
        ),
        ([fastq("P1", "P1-NR", "normal", "rna")], True, ("cohort_profile", CURVE)),
    ],
)
def test_summary_tables_follow_the_data(read, rows, clinical, tables):
    assert read(*rows, clinical=clinical).summary_tables == tables


@pytest.mark.parametrize(("column", "assay"), [("vcf", "dna"), ("maf", "dna"), ("counts", "rna")])
def test_one_column_of_a_file_cannot_be_two_patients(read, refused, column, assay):
    def row(patient, path):
        return sample(
            patient, f"{patient}-X", assay=assay, **{column: path, f"{column}_sample": "S1"}
        )

    refused(
        lambda: read(row("P1", "given.tsv"), row("P2", "./given.tsv")),
        file="samples.tsv",
        row=3,
        column=column,
        text="'S1' of ./given.tsv is already read as sample 'P1-X' (row 2)",
        remedy=f"{column}_sample",
    )
    other = row("P2", "given.tsv") | {f"{column}_sample": "S2"}
    assert len(read(row("P1", "given.tsv"), other).patients) == 2


def test_the_outline_names_every_patient_once_under_what_happens_to_them(read):
    alike = [sample(f"Q{i}", f"Q{i}-T", maf="q.maf") for i in range(40)]
    cohort = read(fastq("P1", "P1-T"), fastq("P1", "P1-N", "normal"), fastq("P2", "P2-T"), *alike)
    text = outline_cohort(cohort, "Alpha")
    assert "  40 patients:\n    - tumour DNA from MAF → somatic variants taken as given\n" in text
    assert (
        "  P1:\n    - P1-T: tumour DNA from FASTQ, lane L001 → somatic calling against P1-N\n"
        in text
    )
    assert text.endswith(
        "! P2-T called without a normal: the patient has no normal DNA sample; "
        "variants that are likely germline are marked"
    )
    named = [word.strip(",:") for line in text.splitlines() for word in line.split()]
    assert all(named.count(patient) == 1 for patient in cohort.patients)
    assert text.splitlines()[0] == describe_cohort(cohort, "Alpha").splitlines()[0]


def test_a_salmon_folder_is_an_entry(read, refused):
    rows = (
        sample("P1", "P1-R", assay="rna", salmon="salmon/P1"),
        fastq("P2", "P2-R", assay="rna"),
        sample("P3", "P3-R", "normal", "rna", salmon="salmon/P3"),
    )
    cohort = read(*rows)
    assert [s.sample for s in cohort.salmon_folders] == ["P1-R"]
    assert [s.sample for s in cohort.transcripts_counted] == ["P2-R", "P1-R"]
    assert cohort.salmon_folder(cohort.samples["P1-R"], "results/x") == "salmon/P1"
    assert (
        cohort.salmon_folder(cohort.samples["P2-R"], "results/x")
        == "results/x/expression/salmon/P2-R"
    )
    assert read(rows[0]).has_expression
    assert "P1" in cohort.identifiers
    text = describe_cohort(cohort)
    assert "RNA from salmon output: 1; skipped: 1" in text
    assert "P1-R: tumour RNA from salmon output salmon/P1 → transcripts summed to genes" in text
    refused(
        lambda: read(rows[0], sample("P2", "P2-R", assay="rna", salmon="./salmon/P1")),
        file="samples.tsv",
        row=3,
        column="salmon",
        text="is already used in row 2",
        remedy="once",
    )


def cells(patient, name, file, tissue="tumour", **values):
    return sample(patient, name, tissue, "single_cell", cells=file, **values)


def test_samples_of_cells_and_what_is_made_of_them(read):
    cohort = read(
        cells("P1", "P1-C", "all.h5ad", cells_sample="donor1", cells_column="donor"),
        cells("P2", "P2-C", "all.h5ad", cells_column="donor"),
        cells("P3", "P3-C", "p3.h5"),
        cells("P4", "P4-C", "p4.h5ad"),
        cells("P4", "P4-CN", "p4n.h5", "normal"),
    )
    kept = {n: (s.path, s.name_in_file, s.cells_column) for n, s in cohort.cell_samples.items()}
    assert kept == {
        "P1-C": ("all.h5ad", "donor1", "donor"),
        "P2-C": ("all.h5ad", "P2-C", "donor"),
        "P3-C": ("p3.h5", "", ""),
        "P4-C": ("p4.h5ad", "P4-C", "sample"),
    }
    # One sample of each file answers for what the sheet does not list.
    listed = {name: cohort.listed_beside(name) for name in kept}
    assert listed == {"P1-C": ["donor1", "P2-C"], "P2-C": [], "P3-C": [""], "P4-C": ["P4-C"]}
    assert cohort.summary_tables == ("qc_profile", "cell_composition")
    assert {"donor1", "P3-C", "all.h5ad"} <= cohort.identifiers
    assert [len(samples) for samples in cohort.cell_files.values()] == [2, 1, 1]
    text = describe_cohort(cohort)
    assert "; single cells: 4; skipped: 1" in text
    assert "P1-C: tumour single-cell from cells all.h5ad, there named donor1 → cell types" in text
    assert "P3-C: tumour single-cell from cells p3.h5 → cell types" in text
    assert "! P4-CN skipped: only the cells of tumours are summarised" in text


def test_a_site_without_cells_makes_nothing_of_them(read):
    cohort = read(*MIXED)
    assert not cohort.has_cells
    assert not {"cell_composition", "cell_expression_effects"} & set(cohort.summary_tables)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"cells": "a.h5"}, {"cells": "a.h5"}, "already used in row 2, column 'cells'"),
        (
            {"cells": "a.h5ad", "cells_sample": "x"},
            {"cells": "a.h5ad", "cells_sample": "x"},
            "'x' of a.h5ad is already read as sample 'P1-C'",
        ),
    ],
)
def test_cells_of_one_sample_under_two_names(refused_sheet, first, second, text):
    refused_sheet(
        sample("P1", "P1-C", assay="single_cell", **first),
        sample("P2", "P2-C", assay="single_cell", **second),
        row=3,
        column="cells",
        text=text,
    )


def test_two_single_cell_samples_of_a_patient(refused_sheet):
    refused_sheet(
        cells("P1", "P1-A", "a.h5"),
        cells("P1", "P1-B", "b.h5"),
        row=3,
        column="sample",
        text="patient 'P1' has two tumour single-cell samples",
    )
