"""Call sets that are cut, on another build or named otherwise are refused."""

import gzip
import re
import subprocess
from pathlib import Path

import pysam
import pytest

from given_files import BGZF_END, GENOME, LENGTHS, cut, vcf_text, write_genome, write_vcf
from ihdsi.errors import FaultyFileError, InputError
from ihdsi.genome_builds import Contigs
from ihdsi.given_variants import (
    call_set_faults,
    check_call_set,
    check_call_sets,
    check_maf,
    check_mafs,
    read_call_set_header,
)
from project_copy import need_tools

CONTIGS = Contigs(LENGTHS, source="genome.fa.fai")
GRCH37 = {"chr1": 249_250_621, "chr2": 243_199_373}
BARE = {name.removeprefix("chr"): sequence for name, sequence in GENOME.items()}
OTHER = {name: sequence[500:] + sequence[:500] for name, sequence in GENOME.items()}


@pytest.fixture
def genome(folder):
    write_genome("genome.fa", index=True)
    return "genome.fa"


def faults_of(called=None, **options):
    write_vcf("a.vcf", ["T"], **options)
    return call_set_faults(read_call_set_header("a.vcf"), CONTIGS, called)


def test_headers_that_serve(folder):
    for lengths in (LENGTHS, {"chr2": 3000}, LENGTHS | {"chrEBV": 5}, {}, {"chr1": None}):
        assert faults_of(lengths={k: v for k, v in lengths.items() if v}) == []
    assert faults_of({"chr1"}, lengths=LENGTHS | {"chr3": 7}) == []
    # A tag alone is a hint, not a fault.
    assert faults_of(lengths=LENGTHS, head=["##reference=file:///refs/hg19.fa"]) == []
    write_vcf("b.vcf", ["T"], lengths=GRCH37)
    assert call_set_faults(read_call_set_header("b.vcf"), None) == []


def test_contigs_without_length(folder):
    write_vcf("a.vcf", ["T"], lengths=None, head=["##contig=<ID=chr1>", "##contig=<ID=chr7>"])
    header = read_call_set_header("a.vcf")
    assert header.contigs.lengths["chr1"] is None
    assert call_set_faults(header, CONTIGS) == []


@pytest.mark.parametrize(
    ("options", "what", "remedy"),
    [
        ({"lengths": GRCH37}, "its header speaks of GRCh37 (hg19)", "lift"),
        ({"lengths": LENGTHS | {"chr3": 2999}}, "chr3 has 2,999 bases there and 3,000", "lift"),
        (
            {"lengths": {"chr1": 5}, "head": ["##reference=/refs/hg18.fa"]},
            "its header speaks of NCBI36 (hg18)",
            "lift",
        ),
        ({"lengths": {"1": 3000, "2": 3000}}, "('1' for 'chr1'", "--rename-chrs"),
        ({"lengths": {"scaffold_1": 30}}, "no contig in common", "lift"),
    ],
)
def test_headers_that_do_not(folder, options, what, remedy):
    ((said, advice),) = faults_of(**options)
    assert what in said
    assert remedy in advice


def test_files_that_are_no_call_set_or_broke_off(folder):
    (folder / "a.vcf").write_text("not a VCF\n")
    with pytest.raises(FaultyFileError, match="is no VCF or BCF"):
        read_call_set_header("a.vcf")
    write_vcf("b.vcf.gz", ["T"])
    cut("b.vcf.gz", 0.9)
    with pytest.raises(FaultyFileError, match="the BGZF end-of-file block is missing"):
        read_call_set_header("b.vcf.gz")


def test_gzip_is_not_bgzip(folder):
    with gzip.open("a.vcf.gz", "wt") as target:
        target.write(vcf_text(["T"], LENGTHS))
    with pytest.raises(FaultyFileError, match="is compressed with gzip") as caught:
        read_call_set_header("a.vcf.gz")
    assert "bgzip" in caught.value.remedy


@pytest.mark.parametrize("name", ["a.vcf", "a.vcf.gz", "a.bcf"])
def test_a_whole_call_set(genome, name):
    write("T", name)
    assert check_call_set(name, genome, samples=["T"]) == {"n_records": 180, "n_off_genome": 0}


def write(sample, name, **options):
    if name.endswith(".bcf"):
        write_vcf("source.vcf", [sample], **options)
        with (
            pysam.VariantFile("source.vcf") as source,
            pysam.VariantFile(name, "wb", header=source.header) as target,
        ):
            for record in source:
                target.write(record)
    else:
        write_vcf(name, [sample], **options)


@pytest.mark.parametrize("share", [0.55, 0.8, 0.99])
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("a.vcf", b""),
        ("a.vcf.gz", b""),
        ("a.vcf.gz", BGZF_END),
        ("a.bcf", BGZF_END),
    ],
)
def test_a_call_set_that_breaks_off(genome, name, end, share):
    write("T", name, n=70)
    cut(name, share, end)
    with pytest.raises(InputError, match=r"truncated|breaks off") as caught:
        check_call_set(name, genome, sheet="samples.tsv", row=4)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == ("samples.tsv", 4, "vcf")
    assert name in problem.what
    assert re.search(r"Copy the file again|Give a whole VCF", problem.remedy)


def test_a_line_cut_in_its_last_genotype(genome):
    text = vcf_text(["T"], LENGTHS)
    Path("plain.vcf").write_text(text[:-1])
    with pysam.BGZFile("blocks.vcf.gz", "wb") as target:
        target.write(text[:-1].encode())
    for name in ("plain.vcf", "blocks.vcf.gz"):
        with pytest.raises(InputError, match="its last line has no end"):
            check_call_set(name, genome)


def test_what_bcftools_makes_of_such_a_file(genome):
    """The reason for the check: bcftools norm ends with exit code 0."""
    need_tools("bcftools")
    text = vcf_text(["T", "N"], LENGTHS)
    Path("a.vcf").write_text(text[: text.index("\t0/1\n", len(text) // 2)])
    command = ["bcftools", "norm", "-f", genome, "--check-ref", "e", "-o", "out.vcf", "a.vcf"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with pysam.VariantFile("out.vcf") as source:
        assert 0 < sum(1 for _ in source) < 180


def test_another_build_without_contig_lines(genome):
    write_vcf("a.vcf", ["T"], lengths=None, sequences=OTHER, head=["##reference=hg19.fa"])
    with pytest.raises(InputError) as caught:
        check_call_set("a.vcf", genome)
    (problem,) = caught.value.problems
    assert "is on another build than the study's genome; its header speaks of GRCh37" in str(
        problem
    )
    assert "of 180 records differ (chr1:" in problem.what
    assert "lift the file over" in problem.remedy


def test_single_wrong_reference_alleles(genome):
    lines = vcf_text(["T"], LENGTHS).splitlines()
    fields = lines[-5].split("\t")
    fields[3] = next(base for base in "ACGT" if base not in (fields[3], fields[4]))
    lines[-5] = "\t".join(fields)
    Path("a.vcf").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="1 of 180 records differ") as caught:
        check_call_set("a.vcf", genome)
    assert f"(chr3:{fields[1]} has REF {fields[3]}, the genome" in str(caught.value)
    assert "another build" not in str(caught.value)


def test_a_position_behind_the_end_of_the_contig(genome):
    text = vcf_text(["T"], None, n=1).replace("chr2\t11\t", "chr2\t4000\t")
    Path("a.vcf").write_text(text)
    with pytest.raises(InputError, match="the genome nothing"):
        check_call_set("a.vcf", genome)


def test_symbols_and_lower_case_are_compared_as_bases(genome):
    text = vcf_text(["T"], LENGTHS, n=1)
    line = text.splitlines()[-1].split("\t")
    Path("a.vcf").write_text(
        text
        + "\t".join(["chr3", "20", ".", "N", "A", *line[5:]])
        + "\n"
        # A deletion as a symbol has one reference base.
        + "\t".join(["chr3", "30", ".", GENOME["chr3"][29].lower(), "<DEL>", *line[5:]])
        + "\n"
    )
    assert check_call_set("a.vcf", genome)["n_records"] == 5


@pytest.mark.parametrize(
    ("sequences", "what"),
    [
        (BARE, "('1' for 'chr1'"),
        ({"scaffold": GENOME["chr1"]}, "no record of a.vcf is on a contig"),
    ],
)
def test_records_that_name_chromosomes_otherwise(genome, sequences, what):
    write_vcf("a.vcf", ["T"], lengths=None, sequences=sequences)
    with pytest.raises(InputError) as caught:
        check_call_set("a.vcf", genome)
    assert what in str(caught.value)


def test_some_records_elsewhere_are_counted(genome):
    write_vcf(
        "a.vcf", ["T"], lengths=LENGTHS | {"decoy": 3000}, sequences=GENOME | {"decoy": "A" * 3000}
    )
    assert check_call_set("a.vcf", genome) == {"n_records": 240, "n_off_genome": 60}


def test_an_empty_call_set_and_one_without_samples(genome):
    write_vcf("a.vcf", [], n=0)
    assert check_call_set("a.vcf", genome) == {"n_records": 0, "n_off_genome": 0}
    with pytest.raises(InputError, match="holds no sample 'T'"):
        check_call_set("a.vcf", genome, samples=["T"])


def test_all_faults_of_a_site_at_once(genome):
    write_vcf("a.vcf", ["A"])
    write_vcf("b.vcf", ["B"], sequences=OTHER)
    write_vcf("c.vcf", ["C"], lengths=GRCH37)
    options = {"sheet": "samples.tsv", "processes": 2}
    with pytest.raises(InputError, match="2 problems") as caught:
        check_call_sets(
            ["a.vcf", "b.vcf", "c.vcf"], genome, samples=["A", "B", "C"], rows=[2, 3, 4], **options
        )
    assert [problem.row for problem in caught.value.problems] == [3, 4]
    found = check_call_sets(["a.vcf"], genome, samples=[["A"]], rows=[2], **options)
    assert found == {"a.vcf": {"n_records": 180, "n_off_genome": 0}}


def write_maf(path, genome, build="GRCh38", step=7, comments=2):
    lines = [f"#comment {n}" for n in range(comments)]
    lines.append("Chromosome\tStart_Position\tReference_Allele\tTumor_Seq_Allele2\tNCBI_Build")
    for name, sequence in genome.items():
        for at in range(0, len(sequence), step):
            base = sequence[at].upper()
            if base in "ACGT":
                alternate = "A" if base != "A" else "C"
                lines.append(f"{name}\t{at + 1}\t{base}\t{alternate}\t{build}")
    Path(path).write_text("\n".join(lines) + "\n")
    return path


def test_a_maf_of_the_genome_serves(folder, genome):
    # The column NCBI_Build is not believed where the bases can be compared.
    counts = check_maf(write_maf("a.maf", GENOME, build="GRCh37"), genome, "GRCh38")
    assert counts["n_compared"] > 100
    assert counts["n_different"] == 0


def test_a_maf_of_another_build_is_refused(folder, genome):
    write_maf("a.maf", OTHER, build="37")
    write_maf("b.maf", GENOME)
    with pytest.raises(InputError) as caught:
        check_mafs(["a.maf", "b.maf"], genome, "GRCh38", sheet="samples.tsv", rows=[5, 6])
    (problem,) = caught.value.problems
    assert str(problem.file) == "a.maf"
    assert problem.column == "Reference_Allele"
    assert "line 5 of samples.tsv" in problem.what
    assert "NCBI_Build is 37" in problem.what
    # The row is the line that an editor shows.
    fields = Path("a.maf").read_text().splitlines()[problem.row - 1].split("\t")
    assert f"{fields[0]}:{fields[1]} has {fields[2]}," in problem.what


@pytest.mark.parametrize("build", ["37", "hg19", "GRCh37"])
def test_without_a_genome_the_named_build_is_compared(folder, build):
    with pytest.raises(InputError, match=r"on GRCh37 \(hg19\), the study on GRCh38"):
        check_maf(write_maf("a.maf", GENOME, build=build), None, "GRCh38")
    for unknown in ("38", "", "house build"):
        check_maf(write_maf("a.maf", GENOME, build=unknown), None, "GRCh38")
