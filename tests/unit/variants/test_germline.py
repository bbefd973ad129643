"""Merged germline calls: phase, labels, and the genotypes that calling leaves unsaid."""

import shutil
import subprocess

import polars as pl
import pytest

from germline_files import SETTINGS, call_set, record
from ihdsi.study import GermlineFilters
from ihdsi.variants.germline import (
    GENOTYPE_SCHEMA,
    VariantLabels,
    consequence_options,
    germline_blocks,
    phased_throughout,
    read_genotypes,
)
from ihdsi.variants.germline_filters import filter_command, hard_filters

need_bcftools = pytest.mark.skipif(
    shutil.which("bcftools") is None, reason="bcftools is not installed"
)


def dosages(path, patients, coverage=None, settings=SETTINGS):
    """(chromosome, position) to dosage by patient."""
    table = read_genotypes(path, patients, settings, coverage)
    assert table.schema == GENOTYPE_SCHEMA
    found = {}
    for patient, chromosome, position, dosage in table.select(
        "patient", "chromosome", "position", "allele_dosage"
    ).iter_rows():
        found.setdefault((chromosome, position), {})[patient] = dosage
    return found


def quantized(tmp_path, name, *lines):
    path = tmp_path / f"{name}.bed"
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return path


UNSAID = "./.:.:."


def test_reference_only_where_nothing_was_said_and_reads_cover(tmp_path):
    """Columns: V (given file), then B and A (called from reads), not in the order asked for."""
    path = call_set(
        tmp_path,
        record(100, "0/1:.:.", UNSAID, UNSAID, keys="GT:DP:GQ"),
        record(101, "0/1:.:.", UNSAID, UNSAID, keys="GT:DP:GQ"),
        # Joint calling spoke here, though it called nobody: nothing is added.
        record(102, "0/1:.:.", "./.:3:.", UNSAID, keys="GT:DP:GQ"),
        record(103, UNSAID, "0/1:30:99", "0/0:30:99", keys="GT:DP:GQ"),
        record(200, "1/1:.:.", UNSAID, UNSAID, keys="GT:DP:GQ"),
        record(201, "1/1:.:.", UNSAID, UNSAID, keys="GT:DP:GQ"),
        record(150, "0/1:.:.", UNSAID, UNSAID, keys="GT:DP:GQ", chromosome="X"),
        samples=("V", "B", "A"),
    )
    coverage = {  # 0-based and half-open
        "A": quantized(tmp_path, "a", (1, 0, 100, "20:inf"), (1, 100, 300, "0:20")),
        "B": quantized(
            tmp_path, "b", (1, 0, 100, "0:20"), (1, 100, 200, "20:inf"), ("X", 0, 500, "20:inf")
        ),
    }
    found = dosages(path, ("A", "B", "V"), coverage)
    assert found["1", 100] == {"V": 1, "B": None, "A": 0}
    assert found["1", 101] == {"V": 1, "B": 0, "A": None}
    assert found["1", 102] == {"V": 1, "B": None, "A": None}
    assert found["1", 103] == {"V": None, "B": 1, "A": 0}
    assert found["1", 200] == {"V": 2, "B": 0, "A": None}
    assert found["1", 201] == {"V": 2, "B": None, "A": None}
    assert found["X", 150] == {"V": 1, "B": 0, "A": None}
    # At another depth, other intervals are callable; without coverage nothing is added.
    deeper = dosages(path, ("A", "B", "V"), coverage, GermlineFilters(callable_depth=50))
    assert deeper["1", 100] == {"V": 1, "B": None, "A": None}
    assert dosages(path, ("A", "B", "V"))["1", 100] == {"V": 1, "B": None, "A": None}
    # Nine patients need a second byte of bits.
    many = tuple(f"R{number}" for number in range(9))
    path = call_set(tmp_path, record(5, "0/1", *["./."] * 9), samples=("V", *many), name="many.bcf")
    covered = {name: coverage["A" if name == "R8" else "B"] for name in many}
    found = dosages(path, ("V", *many), covered)["1", 5]
    assert found == {"V": 1, **dict.fromkeys(many), "R8": 0}


def test_nothing_unsaid_needs_no_coverage(tmp_path):
    path = call_set(tmp_path, record(5, "0/1", "./."), samples=("A", "B"))
    nowhere = dict.fromkeys(("A", "B", "excluded"), tmp_path / "absent.bed")
    assert dosages(path, ("A", "B"), nowhere) == {("1", 5): {"A": 1, "B": None}}
    assert dosages(path, ("A", "B"), {"excluded": tmp_path / "absent.bed"})
    assert list(germline_blocks(path, (), SETTINGS, nowhere)) == []
    assert dosages(path, ()) == {}


@pytest.mark.parametrize(
    ("bcsq", "expected"),
    [
        ("intron|AAA|T1|,missense|ZZZ|T2|", ("ZZZ", "missense")),
        ("synonymous|G|T1|,stop_gained|G|T2|", ("G", "stop_gained")),
        ("@9", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_variant_carries_its_most_severe_consequence(tmp_path, bcsq, expected):
    path = call_set(tmp_path, record(5, "0/1", info=f"BCSQ={bcsq}" if bcsq else "."))
    table = read_genotypes(path, ["N1"], SETTINGS)
    assert table.select("gene_name", "consequence").rows() == [expected]


@pytest.mark.parametrize("compound_at", [103, 104])
def test_pointers_are_followed_forwards_and_backwards(tmp_path, compound_at):
    compound = "BCSQ=stop_gained|G|T|protein_coding|+|2A>2*|103A>G+104A>G"
    other = 207 - compound_at
    values = {compound_at: compound, other: f"BCSQ=@{compound_at},synonymous|G|T|p|+|2A|{other}A>G"}
    path = call_set(
        tmp_path,
        *(record(position, "1|1", info=values[position]) for position in (103, 104)),
        record(104, "0|1", alleles="A\tT", info=f"BCSQ=@{compound_at}"),
        record(104, "1|1", chromosome="2", info="BCSQ=@103"),
    )
    labels = VariantLabels()
    (first, second) = germline_blocks(path, ["N1"], SETTINGS)
    labels.of_block(first)
    labels.of_block(second)
    table = read_genotypes(path, ["N1"], SETTINGS)
    assert table.select("chromosome", "alternate_allele", "consequence").rows() == [
        ("1", "G", "stop_gained"),
        ("1", "G", "stop_gained"),
        ("1", "T", None),  # another allele, of which the compound does not speak
        ("2", "G", None),  # another chromosome
    ]


@pytest.mark.parametrize(
    ("genotypes", "phased"),
    [
        (["0|1", "1|0"], True),
        (["0|1", "0/1"], False),
        (["1/1", "0/0"], True),
        (["./.", "./1"], True),
        (["1", "0|1"], True),
        (["1", "0"], True),
    ],
)
def test_phase(tmp_path, genotypes, phased):
    path = call_set(tmp_path, record(4, "0|1", "1|1"), record(5, *genotypes), samples=("N1", "N2"))
    assert phased_throughout(path) is phased


GFF = """\
##gff-version 3
1	.	gene	100	126	.	+	.	ID=gene:G1;Name=GENE1;biotype=protein_coding
1	.	mRNA	100	126	.	+	.	ID=transcript:T1;Parent=gene:G1;biotype=protein_coding
1	.	exon	100	126	.	+	.	Parent=transcript:T1
1	.	CDS	100	126	.	+	0	Parent=transcript:T1
"""


@need_bcftools
@pytest.mark.parametrize(
    ("genotype", "expected"),
    [
        # TGG: alone each change leaves an amino acid (AGG, TAG is a stop); together AAG does.
        ("0|1", ["missense", "missense"]),
        ("0/1", ["missense", "stop_gained"]),
    ],
)
def test_two_snvs_of_one_codon(tmp_path, genotype, expected):
    """Phased, the codon is read as a whole; otherwise each variant stands alone."""
    genome = tmp_path / "genome.fa"
    genome.write_text(">1\n" + "A" * 99 + "ATGTGGGCTGCTGCTGCTGCTGCTTAA" + "A" * 9874 + "\n")
    annotation = tmp_path / "genes.gff3"
    annotation.write_text(GFF)
    path = call_set(
        tmp_path,
        record(103, genotype, "0/0", alleles="T\tA"),
        record(104, genotype, "0/0", alleles="G\tA"),
        samples=("N1", "N2"),
        name="plain.bcf",
    )
    # The header of the helper declares BCSQ; csq wants to do so itself.
    bare, called = tmp_path / "bare.bcf", tmp_path / "called.bcf"
    subprocess.run(
        f"bcftools annotate -x INFO/BCSQ -Ob -o {bare} {path} && samtools faidx {genome} &&"
        f" bcftools csq {consequence_options([path])} -f {genome} -g {annotation} {bare}"
        f" -Ob -o {called}",
        shell=True,
        check=True,
        capture_output=True,
    )
    table = read_genotypes(called, ["N1"], SETTINGS)
    assert table["consequence"].to_list() == expected
    assert table["gene_name"].to_list() == ["GENE1"] * 2


BCFTOOLS_GOOD = {
    "DP": 100, "MQ": 60, "MQBZ": 0, "RPBZ": 0, "BQBZ": 0, "SCBZ": 0, "IDV": 20, "IMF": 0.5,
}  # fmt: skip
FREEBAYES_GOOD = {"AO": 20, "MQM": 60, "SAF": 9, "SAR": 11, "RPL": 8, "RPR": 12}
FILTER_CASES = [
    ("bcftools", {}, {}, "PASS"),
    ("bcftools", {"QUAL": 29}, {}, "low_quality"),
    ("bcftools", {"MQ": 39}, {}, "low_mapping_quality"),
    # With QUAL 100 and DP 100 the limit of z is 3.5 + 4.
    ("bcftools", {"MQBZ": -7.4, "RPBZ": 7.4, "BQBZ": -7.4, "SCBZ": 7.4}, {}, "PASS"),
    ("bcftools", {"MQBZ": -7.6}, {}, "mapping_quality_bias"),
    ("bcftools", {"MQBZ": 9}, {}, "PASS"),
    ("bcftools", {"BQBZ": -7.6}, {}, "base_quality_bias"),
    ("bcftools", {"RPBZ": -7.6}, {}, "read_position_bias"),
    ("bcftools", {"RPBZ": 7.6}, {}, "read_position_bias"),
    ("bcftools", {"SCBZ": 7.6}, {}, "soft_clip_bias"),
    ("bcftools", {"INDEL": True, "SCBZ": 99, "RPBZ": 99}, {}, "PASS"),
    ("bcftools", {"INDEL": True, "IDV": 1}, {}, "low_indel_support"),
    ("bcftools", {"INDEL": True, "IMF": 0.09}, {}, "low_indel_support"),
    ("bcftools", {"IMF": 0.01}, {}, "PASS"),
    ("bcftools", {"SP": [61, 0]}, {}, "PASS"),  # one of two carriers
    ("bcftools", {"SP": [61, 61]}, {}, "strand_bias"),
    ("bcftools", {"SP": [60, 60]}, {}, "PASS"),
    ("bcftools", {"SP": [61, 61]}, {"maximum_strand_bias": 70}, "PASS"),
    ("bcftools", {"QUAL": 5, "MQ": 1}, {}, "low_quality;low_mapping_quality"),
    ("bcftools", {"MQBZ": -7.6}, {"maximum_bias": 4}, "PASS"),
    ("freebayes", {}, {}, "PASS"),
    ("freebayes", {"QUAL": 29}, {}, "low_quality;low_quality_per_read"),
    ("freebayes", {"AO": 10.5}, {}, "PASS"),
    ("freebayes", {"QUAL": 199}, {}, "low_quality_per_read"),
    ("freebayes", {"MQM": 39.5}, {}, "low_mapping_quality"),
    ("freebayes", {"SAF": 0}, {}, "strand_bias"),
    ("freebayes", {"SAR": 0}, {}, "strand_bias"),
    ("freebayes", {"SAR": 0}, {"minimum_strand_reads": 0}, "PASS"),
    ("freebayes", {"RPL": 1}, {}, "read_position_bias"),
    ("freebayes", {"RPR": 1}, {}, "read_position_bias"),
]  # fmt: skip


@need_bcftools
@pytest.mark.parametrize(("caller", "values", "limits", "expected"), FILTER_CASES)
def test_hard_filters_say_why(tmp_path, caller, values, limits, expected):
    """The pipe of the rule on one record whose numbers are all good but those named."""
    settings = GermlineFilters(caller=caller, **limits)
    numbers = {**(BCFTOOLS_GOOD if caller == "bcftools" else FREEBAYES_GOOD), **values}
    quality = numbers.pop("QUAL", 100 if caller == "bcftools" else 1000)
    bias = numbers.pop("SP", [0, 0])
    indel = numbers.pop("INDEL", False)
    header = "".join(
        f'##INFO=<ID={name},Number=1,Type=Float,Description="x">\n' for name in numbers
    )
    information = ";".join(f"{name}={value}" for name, value in numbers.items())
    path = tmp_path / "one.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=100>\n"
        f"{header}"
        '##INFO=<ID=INDEL,Number=0,Type=Flag,Description="x">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n'
        '##FORMAT=<ID=SP,Number=1,Type=Integer,Description="x">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\n"
        f"1\t5\t.\t{'AT' if indel else 'A'}\t{'A' if indel else 'G'}\t{quality}\t.\t"
        f"{information}{';INDEL' if indel else ''}\tGT:SP\t0/1:{bias[0]}\t1/1:{bias[1]}\t0/0:99\n"
    )
    answer = subprocess.run(
        f"bcftools view -Ou {path} | {filter_command(settings)} | bcftools query -f '%FILTER\n'",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip() == expected


def test_each_caller_has_its_filters():
    assert set(hard_filters(GermlineFilters())) > {"low_quality", "strand_bias"}
    assert "INFO/AO" in filter_command(GermlineFilters(caller="freebayes"))
    assert pl.DataFrame(schema=GENOTYPE_SCHEMA).is_empty()
