"""What a given file says of itself is held against the sheet and the genome, before any job."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pysam
import pytest

from given_files import (
    LENGTHS,
    cut,
    read_group,
    row,
    write_bam,
    write_fastq,
    write_genome,
    write_sheet,
    write_vcf,
)
from ihdsi.given_cells import unlisted_samples
from ihdsi.given_files import faults_of_given_files
from ihdsi.sheets import read_cohort
from ihdsi.study import ReferenceFiles, Site


@pytest.fixture
def read(folder, tiny_study):
    """Read a sheet of these rows, each a mapping of its filled columns."""

    def cohort_of(*rows):
        write_sheet(folder / "samples.tsv", rows)
        site = Site(
            site="alpha",
            title="Alpha",
            country="LU",
            study="tiny",
            study_version="1.0",
            samples="samples.tsv",
        )
        return read_cohort(site, tiny_study)

    return cohort_of


@pytest.fixture
def cohort(folder, read):
    write_vcf("calls.vcf.gz", ["TUMOR", "NORMAL"], n=0)
    (folder / "counts.tsv").write_text("# made elsewhere\ngene_id\tS1\tS2\nENSG1\t1\t2\n")
    with gzip.open("counts.tsv.gz", "wt") as target:
        target.write('\ufeff"S1"\tgene_id\n')
    return read


def test_names_that_are_there(cohort):
    rows = (
        row("P1-T", vcf="calls.vcf.gz", vcf_sample="TUMOR"),
        row("P1-N", "normal", vcf="calls.vcf.gz", vcf_sample="NORMAL"),
        row("P1-R", assay="rna", counts="counts.tsv", counts_sample="S2"),
        row("P2-R", assay="rna", counts="counts.tsv.gz", counts_sample="S1"),
    )
    assert faults_of_given_files(cohort(*rows)) == []


@pytest.mark.parametrize(
    ("sample", "column", "held"),
    [
        (row("P1-T", vcf="calls.vcf.gz", vcf_sample="TUMOUR"), "vcf_sample", "TUMOR, NORMAL"),
        (row("P1-N", "normal", vcf="calls.vcf.gz"), "vcf_sample", "TUMOR, NORMAL"),
        (
            row("P1-R", assay="rna", counts="counts.tsv", counts_sample="S3"),
            "counts_sample",
            "gene_id, S1, S2",
        ),
    ],
)
def test_names_that_are_not(cohort, sample, column, held):
    (problem,) = faults_of_given_files(cohort(sample))
    assert (str(problem.file), problem.row, problem.column) == ("samples.tsv", 2, column)
    assert f"it holds: {held}" in problem.what
    assert column in problem.remedy


def test_a_file_that_is_no_vcf(read, folder):
    (folder / "other.vcf").write_text("not a VCF\n")
    (problem,) = faults_of_given_files(read(row("P1-T", vcf="other.vcf")))
    assert (problem.row, problem.column) == (2, "vcf")
    assert "is no VCF or BCF" in problem.what


def test_files_that_a_simulation_makes_later_are_not_opened(cohort, folder):
    write_genome("results.fa", index=True)
    for name in ("calls.fq", "calls.bam"):
        (folder / name).touch()
    rows = (
        row("P1-T", vcf="calls.vcf.gz", vcf_sample="X"),
        row("P2-T", fastq_1="calls.fq", fastq_2="calls.vcf.gz"),
        row("P3-T", bam="calls.bam"),
    )
    reference = ReferenceFiles(genome="calls.fa", targets="calls.bed")
    assert faults_of_given_files(cohort(*rows), reference, simulated="calls") == []
    assert len(faults_of_given_files(cohort(*rows), reference)) == 4


@pytest.fixture
def genome(folder):
    write_genome("genome.fa", index=True)
    return ReferenceFiles(genome="genome.fa")


def test_whole_files_on_the_genome(read, genome):
    for mate in (1, 2):
        write_fastq(f"R{mate}.fq.gz", mate)
    write_bam("n.bam", groups=[read_group("any")])
    write_vcf("calls.vcf.gz", ["P2-T"])
    cohort = read(
        row("P1-T", fastq_1="R1.fq.gz", fastq_2="R2.fq.gz"),
        row("P1-N", "normal", bam="n.bam"),
        row("P2-T", vcf="calls.vcf.gz"),
    )
    assert faults_of_given_files(cohort, genome) == []


def test_one_problem_a_file_with_its_row(read, genome, folder):
    write_fastq("R1.fq.gz", 1)
    write_fastq("R2.fq.gz", 2, run="OTHER")
    (folder / "empty.fq").touch()
    write_fastq("R3.fq.gz", 1)
    write_bam("cut.bam")
    cut("cut.bam")
    write_bam("hg.bam", {"chr1": 249_250_621})
    write_vcf("calls.vcf", ["P3-T", "P4-T"], lengths={"1": 3000})
    cohort = read(
        row("P1-T", lane="A", fastq_1="R1.fq.gz", fastq_2="R2.fq.gz"),
        row("P1-T", lane="B", fastq_1="R3.fq.gz", fastq_2="empty.fq"),
        row("P1-N", "normal", bam="cut.bam"),
        row("P2-N", "normal", bam="hg.bam"),
        row("P3-T", vcf="calls.vcf"),
        row("P4-T", vcf="calls.vcf"),
    )
    problems = faults_of_given_files(cohort, genome)
    assert [(p.row, p.column) for p in problems] == [
        (2, "fastq_2"),
        (3, "fastq_2"),
        (4, "bam"),
        (5, "bam"),
        (6, "vcf"),
    ]
    said = [problem.what for problem in problems]
    assert "they are no mates" in said[0]
    assert "is empty" in said[1]
    assert "is truncated" in said[2]
    assert "another genome" in said[3]
    assert "names chromosomes otherwise" in said[4]


def test_without_an_index_the_genome_is_left_to_the_jobs(read, folder):
    write_genome("plain.fa", index=False)
    write_bam("hg.bam", {"chr1": 249_250_621})
    write_vcf("calls.vcf", ["P2-T"], lengths={"1": 3000})
    cohort = read(row("P1-N", "normal", bam="hg.bam"), row("P2-T", vcf="calls.vcf"))
    for reference in (None, ReferenceFiles(), ReferenceFiles(genome="plain.fa")):
        assert faults_of_given_files(cohort, reference) == []


def test_only_contigs_with_targets_must_agree(read, genome, folder):
    write_bam("part.bam", {"chr1": 3000})
    cohort = read(row("P1-N", "normal", bam="part.bam"))
    (problem,) = faults_of_given_files(cohort, genome)
    assert "it has no contig chr2" in problem.what
    (folder / "targets.bed").write_text("chr1\t10\t60\n")
    reference = ReferenceFiles(genome="genome.fa", targets="targets.bed")
    assert faults_of_given_files(cohort, reference) == []


def test_alignments_of_a_site_must_go_together(read, genome):
    group = read_group("S", "H1", LB="lib", PU="FLOWCELL.1")
    write_bam("a.bam", groups=[group])
    write_bam("b.bam", groups=[group])
    write_bam("c.bam", dict.fromkeys(reversed(LENGTHS), 3000))
    cohort = read(
        row("P1-N", "normal", bam="a.bam"),
        row("P2-N", "normal", bam="b.bam"),
        row("P3-N", "normal", bam="c.bam"),
    )
    problems = faults_of_given_files(cohort, genome)
    assert [problem.row for problem in problems] == [3, 4]
    assert "have the same read group" in problems[0].what
    assert "numbers the contigs otherwise than a.bam" in problems[1].what


def test_read_group_ids_of_a_pair_and_of_normals(read, genome):
    for name, number in (("t", "1"), ("n", "1"), ("o", "1"), ("m", "2")):
        write_bam(f"{name}.bam", groups=[read_group(name, number)])
    pair = read(row("P1-T", bam="t.bam"), row("P1-N", "normal", bam="n.bam"))
    (problem,) = faults_of_given_files(pair, genome)
    assert (problem.row, problem.column) == (2, "bam")
    assert "t.bam and n.bam (P1-N) both have a read group with the ID '1'" in problem.what
    normals = read(
        row("P1-N", "normal", bam="n.bam"),
        row("P2-N", "normal", bam="o.bam"),
        row("P3-N", "normal", bam="m.bam"),
    )
    assert faults_of_given_files(normals, genome) == []
    (problem,) = faults_of_given_files(normals, genome, normals_in_one_stream=True)
    assert problem.row == 3


def test_archive_names_of_rna_mates_pass(read, genome):
    for mate in (1, 2):
        with pysam.BGZFile(f"R{mate}.fq.gz", "wb") as target:
            target.write(b"@SRR1.7.%d\nACGT\n+\nIIII\n" % mate)
    files = {"fastq_1": "R1.fq.gz", "fastq_2": "R2.fq.gz"}
    assert faults_of_given_files(read(row("P1-R", assay="rna", **files)), genome) == []
    (problem,) = faults_of_given_files(read(row("P1-T", **files)), genome)
    assert "they are no mates" in problem.what


def test_a_broken_matrix(read):
    with gzip.open("counts.tsv.gz", "wt") as target:
        target.write("gene_id\tS1\n" * 1000)
    cut("counts.tsv.gz", 0.1)
    (problem,) = faults_of_given_files(read(row("P1-R", assay="rna", counts="counts.tsv.gz")))
    assert (problem.row, problem.column) == (2, "counts")


def test_a_folder_that_is_not_salmons(read):
    for name, text in (
        ("good", "Name\tLength\tEffectiveLength\tTPM\tNumReads\nT1\t9\t9\t1\t1\n"),
        ("bad", "Name\n"),
    ):
        Path(name).mkdir()
        Path(name, "quant.sf").write_text(text)
    cohort = read(
        row("P1-R", assay="rna", salmon="good"),
        row("P2-R", assay="rna", salmon="bad/"),
        row("P3-R", assay="rna", salmon="good/quant.sf"),
    )
    problems = faults_of_given_files(cohort)
    assert [(p.row, p.column) for p in problems] == [(3, "salmon"), (4, "salmon")]
    assert "lacks the column Length" in problems[0].what
    assert "is a file" in problems[1].what


@pytest.fixture
def cell_files(folder):
    """An h5ad file of two donors, a 10x folder, and a 10x HDF5 file."""
    obs = pd.DataFrame({"donor": pd.Categorical(["d2", "d1", "d2"]), "n": [1, 2, 3]})
    obs.index = ["a", "b", "c"]
    ad.AnnData(np.ones((3, 2), dtype=np.float32), obs=obs).write_h5ad("cells.h5ad")
    (folder / "matrix").mkdir()
    for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv"):
        (folder / "matrix" / name).touch()
    with h5py.File("cells.h5", "w") as file:
        file["matrix/barcodes"] = [b"a"]
    with h5py.File("other.h5", "w") as file:
        file["something/else"] = [1]
    (folder / "empty").mkdir()
    (folder / "text.h5ad").write_text("patient\tsample\n")
    (folder / "cells.csv").touch()


def single_cell(**values):
    return row("P1-C", assay="single_cell", **values)


@pytest.mark.parametrize(
    "given",
    [
        {"cells": "cells.h5ad", "cells_sample": "d1", "cells_column": "donor"},
        {"cells": "cells.h5"},
        {"cells": "matrix"},
    ],
)
def test_cells_that_are_there(cell_files, read, given):
    assert faults_of_given_files(read(single_cell(**given))) == []


@pytest.mark.parametrize(
    ("given", "column", "what"),
    [
        (
            {"cells": "cells.h5ad", "cells_column": "donor"},
            "cells_sample",
            "holds no sample 'P1-C' (it holds: d2, d1)",
        ),
        ({"cells": "cells.h5ad"}, "cells", "have no column 'sample' (they have: donor, n)"),
        ({"cells": "text.h5ad"}, "cells", "cannot be opened as HDF5"),
        ({"cells": "other.h5"}, "cells", "holds no 10x matrix"),
        ({"cells": "empty"}, "cells", "holds no matrix.mtx, plain or gzipped"),
        ({"cells": "cells.csv"}, "cells", "neither a folder nor named .h5 or .h5ad"),
    ],
)
def test_cells_that_are_not(cell_files, read, given, column, what):
    (problem,) = faults_of_given_files(read(single_cell(**given)))
    assert (str(problem.file), problem.row, problem.column) == ("samples.tsv", 2, column)
    assert what in problem.what
    assert problem.remedy


def test_samples_of_cells_that_the_sheet_does_not_list_are_named(cell_files):
    said = unlisted_samples("cells.h5ad", "donor", ["d2"])
    assert said == "1 samples of cells.h5ad are of no row of the sheet and are not read: d1"
    assert unlisted_samples("cells.h5ad", "donor", ["d1", "d2", "d3"]) is None
    assert unlisted_samples("cells.h5", "", []) is None
