"""Germline genotypes: what is called, what is reference, what stays unknown."""

import polars as pl
import pysam
import pytest

from ihdsi.study import GermlineFilters
from ihdsi.variants.germline import (
    GERMLINE_SCHEMA,
    complete_genotypes,
    gather_germline,
    read_germline_calls,
)

SETTINGS = GermlineFilters()  # DP at least 10, GQ at least 20, callable from 20
CALLABLE = {"chromosome": pl.String, "start": pl.Int64, "end": pl.Int64}


def call_set(tmp_path, *lines, samples=("N1",), name="germline.bcf", bcsq=True):
    header = (
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=10000>\n##contig=<ID=X,length=10000>\n"
        '##FILTER=<ID=low,Description="Low">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Genotype quality">\n'
    )
    if bcsq:
        header += '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Consequence">\n'
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples)
    plain = tmp_path / "plain.vcf"
    plain.write_text(header + "\n".join([columns, *lines]) + "\n")
    path = tmp_path / name
    with (
        pysam.VariantFile(str(plain)) as source,
        pysam.VariantFile(str(path), "wb", header=source.header) as target,
    ):
        for record in source:
            target.write(record)
    plain.unlink()
    return path


def record(position, *samples, chromosome="1", alleles="A\tG", status="PASS", info=".", keys="GT"):
    fields = (chromosome, position, ".", alleles, "50", status, info, keys, *samples)
    return "\t".join(map(str, fields))


@pytest.mark.parametrize(
    ("keys", "sample", "dosage"),
    [
        ("GT:DP:GQ", "0/0:30:99", 0),
        ("GT:DP:GQ", "0/1:30:99", 1),
        ("GT:DP:GQ", "1|0:30:99", 1),
        ("GT:DP:GQ", "1/1:30:99", 2),
        ("GT:DP:GQ", "1:30:99", 1),
        ("GT:DP:GQ", "0:30:99", 0),
        ("GT:DP:GQ", "./.:30:99", None),
        ("GT:DP:GQ", "./1:30:99", None),
        ("GT:DP:GQ", ".:30:99", None),
        ("GT:DP:GQ", "0/1:9:99", None),
        ("GT:DP:GQ", "0/1:10:20", 1),
        ("GT:DP:GQ", "0/1:10:19", None),
        ("GT:DP:GQ", "0/0:0:0", None),
        # What the file does not give cannot fail.
        ("GT", "0/1", 1),
        ("GT:DP:GQ", "0/1:.:.", 1),
        ("GT:DP", "1/1:9", None),
        ("DP", "30", None),
    ],
)
def test_dosage(tmp_path, keys, sample, dosage):
    calls = read_germline_calls(
        call_set(tmp_path, record(5, sample, keys=keys)), {"N1": "a"}, SETTINGS
    )
    assert calls.schema == GERMLINE_SCHEMA
    assert calls["allele_dosage"].to_list() == [dosage]


def test_limits_come_from_the_study(tmp_path):
    path = call_set(tmp_path, record(5, "0/1:30:50", keys="GT:DP:GQ"))
    for limits, expected in (
        (GermlineFilters(minimum_depth=31), None),
        (GermlineFilters(minimum_genotype_quality=51), None),
        (GermlineFilters(minimum_depth=30, minimum_genotype_quality=50), 1),
    ):
        calls = read_germline_calls(path, {"N1": "a"}, limits)
        assert calls["allele_dosage"].to_list() == [expected]


def test_records_that_pass_of_the_patients_asked_for(tmp_path):
    path = call_set(
        tmp_path,
        record(5, "0/1", "0/0", "1/1", info="BCSQ=missense|BRCA2|ENST1|protein_coding"),
        record(6, "0/1", "0/0", "1/1", status="low"),
        record(7, "0/0", "0/1", "0/0", status=".", alleles="AC\tA"),
        samples=("N1", "N2", "N3"),
    )
    calls = read_germline_calls(path, {"N3": "c", "N1": "a"}, SETTINGS)
    assert calls.rows() == [
        ("c", "1", 5, "A", "G", None, "BRCA2", "missense", 2),
        ("a", "1", 5, "A", "G", None, "BRCA2", "missense", 1),
        ("c", "1", 7, "AC", "A", None, None, None, 0),
        ("a", "1", 7, "AC", "A", None, None, None, 0),
    ]


@pytest.mark.parametrize(
    ("bcsq", "expected"),
    [
        ("intron|AAA|T1|,missense|ZZZ|T2|", ("ZZZ", "missense")),
        ("synonymous|G|T1|,stop_gained|G|T2|", ("G", "stop_gained")),
        ("@9", (None, None)),
    ],
)
def test_a_variant_carries_its_most_severe_consequence(tmp_path, bcsq, expected):
    path = call_set(tmp_path, record(5, "0/1", info=f"BCSQ={bcsq}"))
    calls = read_germline_calls(path, {"N1": "a"}, SETTINGS)
    assert calls.select("gene_name", "consequence").rows() == [expected]


def test_call_set_without_annotation(tmp_path):
    path = call_set(tmp_path, record(5, "0/1"), bcsq=False)
    calls = read_germline_calls(path, {"N1": "a"}, SETTINGS)
    assert calls["consequence"].to_list() == [None]


def genotype(patient, position, dosage, chromosome="1", gene=None):
    return (
        *(patient, chromosome, position, "A", "G", None),
        *(gene, "missense" if gene else None, dosage),
    )


def genotypes(*rows):
    return pl.DataFrame(rows, schema=GERMLINE_SCHEMA, orient="row")


def regions(*rows):
    return pl.DataFrame(rows, schema=CALLABLE, orient="row")


def test_reference_only_where_callable():
    called = genotypes(
        genotype("a", 100, 1, gene="G"),
        genotype("a", 101, 1),
        genotype("a", 200, 2),
        genotype("a", 201, 1),
        genotype("a", 100, 1, chromosome="X"),
        genotype("b", 150, 1),
        genotype("b", 151, None),
    )
    # 0-based and half-open: positions 101 to 200 of chromosome 1.
    covered = {"a": regions(("1", 0, 150)), "b": regions(("1", 100, 200), ("2", 0, 500))}
    complete = complete_genotypes(called, covered)
    assert complete.schema == GERMLINE_SCHEMA
    added = complete.join(called, on=["patient", "chromosome", "position"], how="anti")
    assert added.select("patient", "chromosome", "position", "allele_dosage").rows() == [
        ("b", "1", 101, 0),
        ("a", "1", 150, 0),
        ("b", "1", 200, 0),
    ]
    assert complete.height == called.height + 3
    # A genotype that was tried and not called is not turned into a reference.
    uncalled = complete.filter(patient="b", position=151)
    assert uncalled["allele_dosage"].to_list() == [None]
    order = ["chromosome", "position", "reference_allele", "alternate_allele", "patient"]
    assert complete.equals(complete.sort(order))


def test_patients_of_a_cohorts_own_call_set_stay_unknown():
    called = genotypes(genotype("reads", 10, 1), genotype("vcf", 20, 1))
    complete = complete_genotypes(called, {"reads": regions(("1", 0, 100))})
    assert complete.select("patient", "position", "allele_dosage").rows() == [
        ("reads", 10, 1),
        ("reads", 20, 0),
        ("vcf", 20, 1),
    ]


def test_another_allele_at_the_same_place_is_another_variant():
    other = genotype("b", 10, 1)
    called = genotypes(genotype("a", 10, 1), (*other[:4], "T", *other[5:]))
    complete = complete_genotypes(called, {"a": regions(("1", 0, 100))})
    found = complete.select("patient", "alternate_allele", "allele_dosage").rows()
    assert found == [("a", "G", 1), ("a", "T", 0), ("b", "T", 1)]


def test_added_genotypes_carry_the_annotation_of_the_variant():
    called = genotypes(genotype("a", 10, 1), genotype("b", 10, 1, gene="G"))
    complete = complete_genotypes(called, {"c": regions(("1", 0, 100))})
    (added,) = complete.filter(patient="c").rows(named=True)
    assert (added["gene_name"], added["consequence"], added["allele_dosage"]) == (
        "G",
        "missense",
        0,
    )


@pytest.mark.parametrize(
    "called", [genotypes(), genotypes(genotype("b", 10, 1), genotype("b", 99, 1))]
)
def test_nothing_callable_or_nothing_called_adds_nothing(called):
    assert complete_genotypes(called, {"a": regions()}).equals(called)
    assert complete_genotypes(called, {}).equals(called)


def test_gather_germline(tmp_path):
    first = call_set(
        tmp_path,
        record(100, "0/1:30:99", keys="GT:DP:GQ", info="BCSQ=missense|BRCA2|T|"),
        record(700, "0/1:5:99", keys="GT:DP:GQ"),
        name="a.bcf",
    )
    second = call_set(tmp_path, record(500, "1/1:30:99", keys="GT:DP:GQ"), name="b.bcf")
    cohort = call_set(
        tmp_path,
        record(900, "0/1", "0/0"),
        samples=("N1", "N2"),
        name="cohort.bcf",
    )
    quantized = tmp_path / "q.bed"
    quantized.write_text("1\t0\t550\t20:inf\n1\t550\t1000\t0:20\nX\t0\t10000\t20:inf\n")
    catalogue = tmp_path / "genes.parquet"
    pl.DataFrame({"gene_id": ["ENSG00000139618"], "gene_name": ["BRCA2"]}).write_parquet(catalogue)
    call_sets = [(first, {"N1": "a"}), (second, {"N1": "b"}), (cohort, {"N1": "c", "N2": "d"})]
    table = gather_germline(call_sets, {"a": quantized, "b": quantized}, SETTINGS, catalogue)
    assert table.schema == GERMLINE_SCHEMA
    assert table.select("patient", "position", "gene_id", "allele_dosage").rows() == [
        ("a", 100, "ENSG00000139618", 1),
        ("b", 100, "ENSG00000139618", 0),
        ("a", 500, None, 0),
        ("b", 500, None, 2),
        ("a", 700, None, None),
        ("c", 900, None, 1),
        ("d", 900, None, 0),
    ]
    deeper = gather_germline(
        call_sets, {"a": quantized, "b": quantized}, GermlineFilters(callable_depth=50)
    )
    assert deeper.height == 5
    assert deeper["gene_id"].null_count() == 5


def test_gather_germline_of_a_site_without_any():
    assert gather_germline([], {}, SETTINGS).schema == GERMLINE_SCHEMA
