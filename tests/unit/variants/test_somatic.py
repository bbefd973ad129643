"""The tumour–normal filter, and the somatic variants and territory of a site."""

import gzip

import numpy as np
import polars as pl
import pysam
import pytest
from scipy.stats import fisher_exact, multinomial

from ihdsi.errors import InputError
from ihdsi.study import SomaticFilters
from ihdsi.variants import somatic
from ihdsi.variants.somatic import (
    SOMATIC_SCHEMA,
    filter_somatic_calls,
    gather_somatic,
    log_odds,
    read_group_sample,
    read_maf,
    read_somatic_calls,
    read_targets,
    with_gene_ids,
)

SETTINGS = SomaticFilters()
TUMOUR, NORMAL = ("SM_T", "tumour-1"), ("SM_N", "normal-1")


# --- log odds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "alternate", "error", "fraction", "against"),
    [
        (70, 30, 1e-3, 0.3, 0.0),
        (126, 4, 1e-2, 4 / 130, 0.0),
        (60, 0, 1e-4, 0.0, 0.5),
        (13, 2, 10**-3.5, 0.0, 0.5),
        (0, 20, 1e-3, 1.0, 0.0),
        (0, 0, 1e-3, 0.3, 0.0),
    ],
)
def test_log_odds_is_a_multinomial_likelihood_ratio(reference, alternate, error, fraction, against):
    def log10_likelihood(f):
        # A read shows the reference, the alternate, or one of the two other bases.
        p_reference = (1 - f) * (1 - error) + f * error / 3
        p_alternate = f * (1 - error) + (1 - f) * error / 3
        p = [p_reference, p_alternate, 2 * error / 3]
        n = reference + alternate
        return multinomial.logpmf([reference, alternate, 0], n, p) / np.log(10)

    expected = log10_likelihood(fraction) - log10_likelihood(against)
    assert log_odds(reference, alternate, error, fraction, against) == pytest.approx(expected)
    assert log_odds(reference, alternate, error, against, fraction) == pytest.approx(-expected)


def test_log_odds_by_hand():
    # One reference and one alternate read at e = 0.03: f = 1/2 gives (0.485 + 0.005)^2,
    # f = 0 gives 0.97 * 0.01.
    expected = np.log10(0.49**2 / (0.97 * 0.01))
    assert log_odds(1, 1, 0.03, 0.5, 0.0) == pytest.approx(expected)


def test_log_odds_of_impossible_reads_is_finite():
    assert np.isfinite(log_odds(10, 10, 0.0, 0.5, 0.0))
    assert log_odds(10, 10, 0.0, 0.5, 0.0) > 1000


# --- the filter ---------------------------------------------------------------------------------

FREEBAYES_HEADER = """##fileformat=VCFv4.2
##contig=<ID=1,length=10000>
##contig=<ID=X,length=5000>
##INFO=<ID=MQM,Number=A,Type=Float,Description="Mean mapping quality of alternate reads">
##INFO=<ID=SRF,Number=1,Type=Integer,Description="Reference reads on the forward strand">
##INFO=<ID=SRR,Number=1,Type=Integer,Description="Reference reads on the reverse strand">
##INFO=<ID=SAF,Number=A,Type=Integer,Description="Alternate reads on the forward strand">
##INFO=<ID=SAR,Number=A,Type=Integer,Description="Alternate reads on the reverse strand">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">
##FORMAT=<ID=RO,Number=1,Type=Integer,Description="Reference reads">
##FORMAT=<ID=AO,Number=A,Type=Integer,Description="Alternate reads">
##FORMAT=<ID=QA,Number=A,Type=Integer,Description="Sum of the quality of alternate bases">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"""
GOOD = {
    "tumour": (70, 30),
    "normal": (60, 0),
    "quality": 35.0,
    "mapping": 60.0,
    "strands": (65, 65, 15, 15),
}


def call(position=100, reference="A", alternate="G", chromosome="1", **changes):
    """One line of freebayes; the samples are the normal, then the tumour."""
    it = GOOD | changes
    strands = ";".join(
        f"{k}={v}" for k, v in zip(("SRF", "SRR", "SAF", "SAR"), it["strands"], strict=True)
    )

    def sample(reads, quality):
        return f"0/1:{sum(reads) + 1}:{reads[0]}:{reads[1]}:{round(reads[1] * quality)}"

    return (
        f"{chromosome}\t{position}\t.\t{reference}\t{alternate}\t50\t.\tMQM={it['mapping']};{strands}"
        f"\tGT:DP:RO:AO:QA\t{sample(it['normal'], 30)}\t{sample(it['tumour'], it['quality'])}"
    )


def freebayes(tmp_path, *lines, samples=("SM_N", "SM_T")):
    path = tmp_path / "raw.vcf"
    path.write_text("\n".join(["\t".join([FREEBAYES_HEADER, *samples]), *lines]) + "\n")
    return path


def judge(tmp_path, *lines, settings=SETTINGS):
    output = tmp_path / "filtered.vcf.gz"
    filter_somatic_calls(freebayes(tmp_path, *lines), output, TUMOUR, NORMAL, settings)
    with pysam.VariantFile(str(output)) as judged:
        return list(judged)


FAILING = {
    # 4 of 130 reads at base quality 20 could well be errors.
    "tumour_lod": {"tumour": (126, 4), "quality": 20.0},
    # 1 of 15 normal reads is below a tenth of the tumour's fraction, but may well be a het.
    "normal_lod": {"tumour": (0, 100), "normal": (14, 1)},
    "normal_fraction": {"normal": (96, 4)},
    "depth": {"normal": (14, 0)},
    "alternate_depth": {"tumour": (12, 3)},
    "allele_fraction": {"tumour": (294, 6)},
    "base_quality": {"quality": 19.0},
    "mapping_quality": {"mapping": 29.9},
    "strand_bias": {"strands": (65, 65, 30, 0)},
}


def test_every_filter_is_tested():
    assert list(FAILING) == list(somatic._FILTER_TEXT)


@pytest.mark.parametrize(
    ("name", "changes"), [*FAILING.items(), ("depth", {"tumour": (7, 7)})], ids=str
)
def test_a_record_that_fails_one_filter_says_so(tmp_path, name, changes):
    (record,) = judge(tmp_path, call(**changes))
    assert list(record.filter) == [name]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # Exactly at a limit is good enough.
        {"normal": (15, 0)},
        {"tumour": (11, 4)},
        {"tumour": (291, 9)},
        {"quality": 20.0},
        {"mapping": 30.0},
        {"normal": (98, 2)},
        # A tumour at 60 % allows 6 % in the normal.
        {"tumour": (40, 60), "normal": (94, 6)},
        # No reference read on one strand either: nothing to compare with.
        {"strands": (70, 0, 30, 0)},
    ],
)
def test_pass(tmp_path, changes):
    (record,) = judge(tmp_path, call(**changes))
    assert list(record.filter) == ["PASS"]


def test_all_failed_filters_are_listed(tmp_path):
    (record,) = judge(tmp_path, call(tumour=(10, 3), mapping=10.0, strands=(5, 50, 30, 0)))
    assert set(record.filter) == {"depth", "alternate_depth", "mapping_quality", "strand_bias"}


def test_limits_come_from_the_study(tmp_path):
    strict = SomaticFilters(minimum_allele_fraction=0.31, minimum_tumour_lod=1000)
    (record,) = judge(tmp_path, call(), settings=strict)
    assert set(record.filter) == {"tumour_lod", "allele_fraction"}


def test_output_is_plain_indexed_and_under_the_sheets_names(tmp_path):
    records = judge(
        tmp_path,
        call(),
        call(position=200, reference="ACG", alternate="A", tumour=(50, 50), normal=(40, 0)),
        call(position=300, alternate="."),
        call(position=7, chromosome="X"),
    )
    assert [(r.contig, r.pos, r.ref, r.alts) for r in records] == [
        ("1", 100, "A", ("G",)),
        ("1", 200, "ACG", ("A",)),
        ("X", 7, "A", ("G",)),
    ]
    first = records[0]
    assert set(first.samples) == {"tumour-1", "normal-1"}
    assert list(first.format) == ["GT", "DP", "AD"]
    tumour, normal = first.samples["tumour-1"], first.samples["normal-1"]
    assert (tumour["GT"], tumour["DP"], tumour["AD"]) == ((0, 1), 100, (70, 30))
    assert (normal["GT"], normal["DP"], normal["AD"]) == ((0, 0), 60, (60, 0))
    error = 10**-3.5
    assert first.info["TLOD"] == pytest.approx(log_odds(70, 30, error, 0.3, 0), abs=1e-3)
    assert first.info["NLOD"] == pytest.approx(log_odds(60, 0, error, 0, 0.5), abs=1e-3)
    with pysam.VariantFile(str(tmp_path / "filtered.vcf.gz")) as indexed:
        assert [r.pos for r in indexed.fetch("1", 150, 250)] == [200]
        assert indexed.header.contigs["X"].length == 5000
    assert (tmp_path / "filtered.vcf.gz.tbi").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_base_quality_is_believed_only_between_2_and_40(tmp_path):
    high, none = judge(tmp_path, call(quality=70.0), call(position=200, tumour=(100, 0)))
    assert high.info["TLOD"] == pytest.approx(log_odds(70, 30, 1e-4, 0.3, 0), abs=1e-3)
    assert none.info["TLOD"] == 0
    assert "base_quality" in none.filter


def test_strand_bias_is_fishers_exact_test(tmp_path):
    p_value = fisher_exact([[60, 40], [14, 2]]).pvalue
    line = call(strands=(60, 40, 14, 2))
    for limit, expected in ((p_value * 0.99, "PASS"), (p_value * 1.01, "strand_bias")):
        (record,) = judge(tmp_path, line, settings=SomaticFilters(minimum_strand_p_value=limit))
        assert list(record.filter) == [expected]


def test_calls_without_variants_give_an_empty_indexed_file(tmp_path):
    assert judge(tmp_path) == []
    assert (tmp_path / "filtered.vcf.gz.tbi").exists()


@pytest.mark.parametrize(
    ("samples", "tumour", "normal"),
    [
        (("SM_N", "SM_T"), ("other", "tumour-1"), NORMAL),
        (("SM_N", "SM_T"), ("SM_T", "tumour-1"), ("SM_T", "normal-1")),
        (("SM_N", "SM_T", "SM_3"), TUMOUR, NORMAL),
    ],
)
def test_wrong_read_group_names_are_refused(tmp_path, samples, tumour, normal):
    line = call() + "\t0/1:9:9:0:0" * (len(samples) - 2)
    calls = freebayes(tmp_path, line, samples=samples)
    with pytest.raises(InputError, match=r"SM_N, SM_T.* for tumour-1 and normal-1") as caught:
        filter_somatic_calls(calls, tmp_path / "out.vcf.gz", tumour, normal, SETTINGS)
    assert caught.value.problems[0].file == calls
    assert [path.name for path in tmp_path.iterdir()] == ["raw.vcf"]


def test_a_failure_midway_leaves_the_earlier_output(tmp_path, monkeypatch):
    output = tmp_path / "filtered.vcf.gz"
    judge(tmp_path, call())
    before = {path: path.read_bytes() for path in (output, tmp_path / "filtered.vcf.gz.tbi")}
    judged = somatic._judged

    def fail_at_the_second(record, *rest):
        if record.pos == 200:
            raise RuntimeError("disk full")
        return judged(record, *rest)

    monkeypatch.setattr(somatic, "_judged", fail_at_the_second)
    with pytest.raises(RuntimeError, match="disk full"):
        judge(tmp_path, call(tumour=(1, 1)), call(position=200))
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob(".partial*"))


# --- read groups --------------------------------------------------------------------------------


def alignment(tmp_path, groups):
    path = tmp_path / "a.bam"
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": "1", "LN": 100}], "RG": groups}
    with pysam.AlignmentFile(str(path), "wb", header=header):
        pass
    return path


def test_read_group_sample(tmp_path):
    path = alignment(tmp_path, [{"ID": "lane1", "SM": "S1"}, {"ID": "lane2", "SM": "S1"}])
    assert read_group_sample(path) == "S1"


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([], r"0 samples \(none\)"),
        ([{"ID": "lane1"}], r"0 samples \(none\)"),
        ([{"ID": "1", "SM": "S2"}, {"ID": "2", "SM": "S1"}], r"2 samples \(S1, S2\)"),
    ],
)
def test_read_groups_must_name_one_sample(tmp_path, groups, text):
    path = alignment(tmp_path, groups)
    with pytest.raises(InputError, match=text) as caught:
        read_group_sample(path)
    assert caught.value.problems[0].file == path


# --- given call sets ----------------------------------------------------------------------------

#: Columns that the tests further down look at.
LATER = ("protein_change", "population_frequency", "clinical_significance", "tier")
BCSQ = '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Consequence">\n'


def annotated(tmp_path, *lines, samples=("T1", "N1"), bcsq=True, name="calls.bcf"):
    text = (
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=10000>\n"
        '##FILTER=<ID=weak,Description="Weak">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Depths">\n'
        + (BCSQ if bcsq else "")
        + "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
        + "\t".join(samples)
        + "\n"
        + "".join(f"{line}\n" for line in lines)
    )
    plain = tmp_path / "calls.vcf"
    plain.write_text(text)
    path = tmp_path / name
    with (
        pysam.VariantFile(str(plain)) as source,
        pysam.VariantFile(str(path), "wb", header=source.header) as target,
    ):
        for record in source:
            target.write(record)
    plain.unlink()
    return path


def test_passing_carried_variants_one_row_a_gene(tmp_path):
    path = annotated(
        tmp_path,
        "1\t10\t.\tA\tG\t.\tPASS\tBCSQ=missense|TP53|ENST1|protein_coding\tGT:DP:AD"
        "\t0/1:100:75,25\t0/0:50:50,0",
        "1\t20\t.\tA\tG\t.\tweak\tBCSQ=missense|TP53|ENST1|\tGT:DP:AD\t0/1:100:75,25\t0/0:50:50,0",
        # Carried by the normal only.
        "1\t30\t.\tA\tG\t.\tPASS\tBCSQ=missense|TP53|ENST1|\tGT:DP:AD\t0/0:9:9,0\t0/1:50:25,25",
        "1\t40\t.\tAC\tA\t.\tPASS\tBCSQ=frameshift|RB1|T1|,stop_gained&splice_region|LPAR6|T2|,"
        "intron|RB1|T3|\tGT:DP:AD\t1|0:40:30,10\t0/0:50:50,0",
        "1\t50\t.\tA\tG\t.\tPASS\tBCSQ=@40\tGT:DP:AD\t0/1:.:.\t0/0:50:50,0",
        "1\t60\t.\tA\tG\t.\tPASS\t.\tGT:DP:AD\t1:0:0,0\t0/0:50:50,0",
        "1\t70\t.\tA\tG\t.\tPASS\t.\tGT:DP:AD\t./.:9:9,0\t0/0:50:50,0",
    )
    variants = read_somatic_calls(path, {"T1": "patient-a"})
    assert variants.schema == SOMATIC_SCHEMA
    assert variants.drop("gene_id", *LATER).rows() == [
        ("patient-a", "1", 10, "A", "G", "TP53", "missense", "missense", 100, 25, 0.25),
        (
            *("patient-a", "1", 40, "AC", "A", "LPAR6", "stop_gained&splice_region"),
            *("truncating", 40, 10, 0.25),
        ),
        ("patient-a", "1", 40, "AC", "A", "RB1", "frameshift", "truncating", 40, 10, 0.25),
        ("patient-a", "1", 50, "A", "G", None, None, "noncoding", None, None, None),
        ("patient-a", "1", 60, "A", "G", None, None, "noncoding", 0, 0, None),
    ]
    assert variants["gene_id"].null_count() == variants.height


def test_several_tumours_of_one_file(tmp_path):
    path = annotated(
        tmp_path,
        "1\t10\t.\tA\tG\t.\tPASS\t.\tGT:DP:AD\t0/1:10:5,5\t0/1:10:6,4",
        "1\t20\t.\tA\tG\t.\t.\t.\tGT:DP:AD\t0/0:10:10,0\t1/1:10:0,10",
        samples=("T1", "T2"),
        bcsq=False,
    )
    variants = read_somatic_calls(path, {"T1": "a", "T2": "b"})
    assert variants.select("patient", "position", "allele_fraction").rows() == [
        ("a", 10, 0.5),
        ("b", 10, 0.4),
        ("b", 20, 1.0),
    ]
    assert variants["consequence"].null_count() == 3
    assert variants["alteration_class"].unique().to_list() == ["noncoding"]


def test_call_set_without_variants(tmp_path):
    variants = read_somatic_calls(annotated(tmp_path), {"T1": "a"})
    assert variants.is_empty()
    assert variants.schema == SOMATIC_SCHEMA


# --- MAF ----------------------------------------------------------------------------------------

MAF_HEADER = (
    "Hugo_Symbol\tEntrez_Gene_Id\tChromosome\tStart_Position\tReference_Allele\t"
    "Tumor_Seq_Allele2\tVariant_Classification\tTumor_Sample_Barcode"
)


def maf(tmp_path, *rows, header=MAF_HEADER, compress=False):
    text = "#version gdc-1.0.0\n# another comment\n" + "\n".join([header, *rows]) + "\n"
    path = tmp_path / ("a.maf.gz" if compress else "a.maf")
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    return path


ROWS = (
    "TP53\t7157\tchr17\t7675088\tC\tT\tMissense_Mutation\tTCGA-1",
    'RB1\t5925\tchr13\t48342714\tAG\t-\tFrame_Shift_Del\tTCGA-"2',
    "TTN\t7273\tchr2\t178527000\tC\tA\tIntron\tTCGA-1",
    "FGFR3\t2261\tchr4\t1801841\tC\tG\tMissense_Mutation\tTCGA-9",
)


@pytest.mark.parametrize("compress", [False, True])
def test_read_maf(tmp_path, compress):
    mutations = read_maf(maf(tmp_path, *ROWS, compress=compress), {"TCGA-1": "a", 'TCGA-"2': "b"})
    assert mutations.schema == SOMATIC_SCHEMA
    assert mutations["protein_change"].null_count() == mutations.height
    assert mutations.drop("gene_id", *LATER).rows() == [
        (
            *("a", "chr17", 7675088, "C", "T", "TP53", "Missense_Mutation", "missense"),
            *(None, None, None),
        ),
        (
            *("b", "chr13", 48342714, "AG", "-", "RB1", "Frame_Shift_Del", "truncating"),
            *(None, None, None),
        ),
        ("a", "chr2", 178527000, "C", "A", "TTN", "Intron", "noncoding", None, None, None),
    ]


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        (("t_depth", "t_alt_count"), ("80", "20"), (80, 20, 0.25)),
        (("t_depth", "t_alt_count", "t_vaf"), ("80", "20", "0.31"), (80, 20, 0.31)),
        (("t_vaf",), ("0.31",), (None, None, 0.31)),
        (("t_alt_count",), ("20",), (None, 20, None)),
        (("t_depth", "t_alt_count"), ("", "NA"), (None, None, None)),
        (("t_depth", "t_alt_count"), ("80.0", "20.0"), (80, 20, 0.25)),
        # What a row leaves empty comes from its counts.
        (("t_depth", "t_alt_count", "t_vaf"), ("80", "20", ""), (80, 20, 0.25)),
        (("t_ref_count", "t_alt_count", "t_vaf"), ("60", "20", "NA"), (80, 20, 0.25)),
        (("t_depth", "t_alt_count"), ("0", "0"), (0, 0, None)),
    ],
)
def test_depths_of_a_maf(tmp_path, columns, values, expected):
    path = maf(tmp_path, "\t".join([ROWS[0], *values]), header="\t".join([MAF_HEADER, *columns]))
    mutations = read_maf(path, {"TCGA-1": "a"})
    depths = mutations.select("tumour_depth", "tumour_alternate_depth", "allele_fraction")
    assert depths.row(0) == expected


def test_missing_columns_of_a_maf_are_named(tmp_path):
    header = MAF_HEADER.replace("Chromosome", "Chrom").replace("Tumor_Seq_Allele2", "Allele")
    path = maf(tmp_path, *ROWS, header=header)
    with pytest.raises(InputError) as caught:
        read_maf(path, {"TCGA-1": "a"})
    assert [(p.file, p.column) for p in caught.value.problems] == [
        (path, "Chromosome"),
        (path, "Tumor_Seq_Allele2"),
    ]


def test_maf_of_other_tumours_is_refused(tmp_path):
    path = maf(tmp_path, *ROWS)
    with pytest.raises(InputError, match="none of the 2 tumours") as caught:
        read_maf(path, {"TCGA-5": "a", "TCGA-6": "b"})
    assert caught.value.problems[0].column == "Tumor_Sample_Barcode"


# --- genes --------------------------------------------------------------------------------------


def test_gene_ids_come_from_unambiguous_names():
    catalogue = pl.DataFrame(
        {
            "gene_id": ["ENSG1", "ENSG2", "ENSG3", "ENSG4"],
            "gene_name": ["TP53", "DOUBLE", "DOUBLE", None],
        }
    )
    variants = pl.DataFrame(
        {
            "gene_name": ["DOUBLE", "TP53", None, "ABSENT", "TP53"],
            "gene_id": [None, None, None, None, "ENSG9"],
        },
        schema_overrides={"gene_id": pl.String},
    )
    named = with_gene_ids(variants, catalogue)
    assert named.columns == variants.columns
    assert named["gene_name"].equals(variants["gene_name"])
    assert named["gene_id"].to_list() == [None, "ENSG1", None, None, "ENSG9"]


# --- territory ----------------------------------------------------------------------------------

CATALOGUE = pl.DataFrame(
    {"gene_id": ["ENSG00000141510", "ENSG00000139687"], "gene_name": ["TP53", "RB1"]}
)


def bed(tmp_path, name, *rows):
    path = tmp_path / name
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def coverage(tmp_path):
    return bed(
        tmp_path,
        "patient.quantized.bed",
        ("1", 0, 100, "0:20"),
        ("1", 100, 300, "20:inf"),
        ("1", 300, 350, "0:20"),
        ("1", 350, 900, "20:inf"),
        ("2", 0, 50, "20:inf"),
        ("2", 50, 900, "0:20"),
        ("X", 10, 60, "20:inf"),
    )


def assessed(tmp_path, targets, in_coverage=True, **more):
    calls = annotated(tmp_path)
    covered = {"a": coverage(tmp_path)} if in_coverage else {}
    _, table = gather_somatic([(calls, {"T1": "a"})], [], covered, CATALOGUE, targets, 20, **more)
    assert table.schema == {"patient": pl.String, "callable_megabases": pl.Float64}
    return table.row(0)


@pytest.mark.parametrize(
    ("targets", "bases"),
    [
        ([("1", 0, 1000), ("2", 0, 1000), ("X", 0, 1000)], 200 + 550 + 50 + 50),
        ([("1", 250, 400)], 50 + 50),
        ([("1", 0, 100), ("1", 300, 350)], 0),
        ([("1", 100, 300)], 200),
        ([("1", 99, 101), ("1", 299, 301)], 2),
        # On another chromosome, at the same coordinates.
        ([("2", 100, 300), ("X", 50, 300)], 10),
        # Neighbours touch; overlapping and repeated targets are still the same bases.
        ([("1", 100, 200), ("1", 200, 300)], 200),
        ([("1", 100, 250), ("1", 150, 300), ("1", 150, 160), ("1", 150, 160)], 200),
        ([("1", 850, 2000), ("1", 0, 110)], 50 + 10),
    ],
)
def test_callable_megabases_within_targets(tmp_path, targets, bases):
    path = bed(tmp_path, "targets.bed", *targets)
    assert assessed(tmp_path, path) == ("a", pytest.approx(bases / 1e6))


def test_callable_megabases_without_targets(tmp_path):
    assert assessed(tmp_path, None) == ("a", pytest.approx(850 / 1e6))


def test_given_call_sets_cover_all_targets(tmp_path):
    path = bed(
        tmp_path, "targets.bed", ("1", 0, 1000, "x"), ("1", 500, 1200, "y"), ("2", 5, 10, "")
    )
    assert assessed(tmp_path, path, in_coverage=False) == ("a", pytest.approx(1205 / 1e6))
    assert assessed(tmp_path, None, in_coverage=False) == ("a", None)


def test_callable_megabases_of_random_regions(tmp_path):
    rng = np.random.default_rng(1)
    covered = np.zeros((2, 5000), dtype=bool)
    target = np.zeros((2, 5000), dtype=bool)
    quantized, targets = [], []
    for chromosome in range(2):
        edges = np.sort(rng.choice(np.arange(1, 5000), 200, replace=False)).tolist()
        for n, (start, end) in enumerate(zip([0, *edges], [*edges, 5000], strict=True)):
            quantized.append((f"c{chromosome}", start, end, "20:inf" if n % 2 else "0:20"))
            covered[chromosome, start:end] = n % 2
        for start in rng.integers(0, 4900, 60).tolist():
            end = start + int(rng.integers(1, 100))
            targets.append((f"c{chromosome}", start, end))
            target[chromosome, start:end] = True
    calls = annotated(tmp_path)
    files = bed(tmp_path, "q.bed", *quantized), bed(tmp_path, "t.bed", *targets)
    _, table = gather_somatic([(calls, {"T1": "a"})], [], {"a": files[0]}, CATALOGUE, files[1], 20)
    assert table.row(0) == ("a", pytest.approx((covered & target).sum() / 1e6))


def test_targets_of_many_numbered_chromosomes_then_x(tmp_path):
    path = tmp_path / "targets.bed"
    path.write_text(
        "# made by hand\n"
        + "".join(f"1\t{n}\t{n + 5}\tname\n" for n in range(2000))
        + "X\t1\t9\tx\n"
    )
    targets = read_targets(path)
    assert targets.columns == ["chromosome", "start", "end"]
    assert targets.height == 2001
    assert targets.row(-1) == ("X", 1, 9)


def test_gather_somatic(tmp_path):
    calls = annotated(
        tmp_path,
        "1\t10\t.\tA\tG\t.\tPASS\tBCSQ=missense|TP53|ENST1|\tGT:DP:AD\t0/1:10:5,5\t0/0:9:9,0",
        name="one.bcf",
    )
    given = annotated(tmp_path, samples=("T2", "N2"), name="two.bcf")
    mutations = maf(tmp_path, *ROWS)
    targets = bed(tmp_path, "targets.bed", ("1", 0, 1000))
    variants, table = gather_somatic(
        [(calls, {"T1": "d"}), (given, {"T2": "c"})],
        # TCGA-8 has no row in the MAF: no mutation, but assessed.
        [(mutations, {"TCGA-1": "b", "TCGA-8": "a"})],
        {"d": coverage(tmp_path)},
        CATALOGUE,
        targets,
        20,
    )
    assert variants.schema == SOMATIC_SCHEMA
    found = variants.select("patient", "chromosome", "gene_name", "gene_id")
    assert found.rows() == [
        ("b", "chr17", "TP53", "ENSG00000141510"),
        ("b", "chr2", "TTN", None),
        ("d", "1", "TP53", "ENSG00000141510"),
    ]
    assert table.rows() == [("a", 0.001), ("b", 0.001), ("c", 0.001), ("d", 0.00075)]


def test_gather_somatic_of_a_site_without_any(tmp_path):
    variants, table = gather_somatic([], [], {}, CATALOGUE, None, 20)
    assert variants.schema == SOMATIC_SCHEMA
    assert variants.is_empty()
    assert table.is_empty()
