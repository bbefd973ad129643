"""The somatic filter: its odds, each reason to fail, and what it writes."""

import gzip

import numpy as np
import pysam
import pytest
from scipy.stats import fisher_exact, multinomial

from ihdsi.study import SomaticFilters
from ihdsi.variants import somatic_filters
from ihdsi.variants.panel_of_normals import write_panel_of_normals
from ihdsi.variants.somatic_filters import (
    FILTERS,
    SomaticEvidence,
    filter_somatic_calls,
    log_odds,
)
from ihdsi.variants.tumour_only import germline_log_odds

SETTINGS = SomaticFilters()

# --- log odds -----------------------------------------------------------------------------------

READS = [
    (70, 30, 1e-3, 0.3, 0.0),
    (126, 4, 1e-2, 4 / 130, 0.0),
    (60, 0, 1e-4, 0.0, 0.5),
    (13, 2, 10**-3.5, 0.0, 0.5),
    (0, 20, 1e-3, 1.0, 0.0),
    (0, 0, 1e-3, 0.3, 0.0),
]


@pytest.mark.parametrize(("reference", "alternate", "error", "fraction", "against"), READS)
def test_log_odds_is_a_multinomial_likelihood_ratio(reference, alternate, error, fraction, against):
    def log10_likelihood(f):
        # A read shows the reference, the alternate, or one of the two other bases.
        p_reference = (1 - f) * (1 - error) + f * error / 3
        p_alternate = f * (1 - error) + (1 - f) * error / 3
        p = [p_reference, p_alternate, 2 * error / 3]
        n = reference + alternate
        return multinomial.logpmf([reference, alternate, 0], n, p) / np.log(10)

    expected = log10_likelihood(fraction) - log10_likelihood(against)
    odds = log_odds(reference, alternate, error, error, fraction, against)
    assert odds == pytest.approx(expected)
    assert log_odds(reference, alternate, error, error, against, fraction) == pytest.approx(-odds)


def test_log_odds_of_arrays_are_those_of_numbers():
    reference, alternate, error, fraction, against = np.array(READS).T
    odds = log_odds(reference, alternate, error, error, fraction, against)
    one_by_one = [log_odds(r, a, e, e, f, g) for r, a, e, f, g in READS]
    np.testing.assert_allclose(odds, one_by_one)


def test_log_odds_by_hand_with_errors_of_their_own():
    # One reference read at e = 0.03, one alternate read at e = 0.3, f = 1/2 against 0.
    expected = np.log10((0.485 + 0.005) * (0.35 + 0.05) / (0.97 * 0.1))
    assert log_odds(1, 1, 0.03, 0.3, 0.5, 0.0) == pytest.approx(expected)


def test_log_odds_of_impossible_reads_is_finite():
    assert 1000 < log_odds(10, 10, 0.0, 0.0, 0.5, 0.0) < np.inf


# --- files --------------------------------------------------------------------------------------

HEADER = """##fileformat=VCFv4.2
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
##FORMAT=<ID=QR,Number=1,Type=Integer,Description="Sum of the quality of reference bases">
##FORMAT=<ID=AO,Number=A,Type=Integer,Description="Alternate reads">
##FORMAT=<ID=QA,Number=A,Type=Integer,Description="Sum of the quality of alternate bases">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"""
GOOD = {
    "tumour": (70, 30),
    "normal": (60, 0),
    "other": 0,
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

    def sample(reads, quality, other=0):
        return (
            f"0/1:{sum(reads) + other}:{reads[0]}:{reads[0] * 35}:{reads[1]}:"
            f"{round(reads[1] * quality)}"
        )

    samples = [] if it["normal"] is None else [sample(it["normal"], 30)]
    samples.append(sample(it["tumour"], it["quality"], it["other"]))
    return (
        f"{chromosome}\t{position}\t.\t{reference}\t{alternate}\t50\t.\tMQM={it['mapping']};{strands}"
        "\tGT:DP:RO:QR:AO:QA\t" + "\t".join(samples)
    )


def freebayes(tmp_path, *lines, samples=("N1", "T1")):
    path = tmp_path / "raw.vcf"
    path.write_text("\n".join(["\t".join([HEADER, *samples]), *lines]) + "\n")
    return path


def judge(tmp_path, *lines, settings=SETTINGS, normal="N1", **evidence):
    output = tmp_path / "filtered.vcf.gz"
    calls = freebayes(tmp_path, *lines, samples=("N1", "T1") if normal else ("T1",))
    filter_somatic_calls(calls, output, "T1", normal, settings, SomaticEvidence(**evidence))
    with pysam.VariantFile(str(output)) as judged:
        return list(judged)


def known(tmp_path, *alleles, name="known"):
    """Indexed VCF of alleles: position, reference, alternate, INFO."""
    path = tmp_path / f"{name}.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=10000>\n"
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        + "".join(f"1\t{p}\t.\t{r}\t{a}\t.\t.\t{info}\n" for p, r, a, info in alleles)
    )
    pysam.tabix_compress(str(path), f"{path}.gz", force=True)
    pysam.tabix_index(f"{path}.gz", preset="vcf", force=True)
    return f"{path}.gz"


def alignment(tmp_path, *reads):
    """Reads of 60 bases as (start from 1, {position: base}); the reference is all A."""
    path = tmp_path / "tumour.bam"
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": name, "LN": 10000} for name in "1X"],
    }
    with pysam.AlignmentFile(str(path), "wb", header=header) as target:
        for number, (start, bases) in enumerate(sorted(reads, key=lambda read: read[0])):
            read = pysam.AlignedSegment(target.header)
            read.query_name, read.flag = f"r{number}", 0
            read.reference_id, read.reference_start = 0, start - 1
            read.mapping_quality, read.cigarstring = 60, "60M"
            read.query_sequence = "".join(bases.get(start + i, "A") for i in range(60))
            read.query_qualities = [35] * 60
            target.write(read)
    pysam.index(str(path))
    return path


def panel(tmp_path, *normals):
    """Panel of normals, each a list of (position, reference, alternate)."""
    index = tmp_path / "g.fai"
    index.write_text("1\t10000\t3\t60\t61\nX\t5000\t3\t60\t61\n")
    files = [own_alleles(tmp_path, f"normal{i}", *alleles) for i, alleles in enumerate(normals)]
    write_panel_of_normals([files], index, tmp_path / "panel.vcf.gz", 2)
    return {"site_panel": tmp_path / "panel.vcf.gz", "n_normals": len(normals)}


def own_alleles(tmp_path, name, *alleles):
    path = tmp_path / f"{name}.tsv.gz"
    path.write_bytes(gzip.compress("".join(f"1\t{p}\t{r}\t{a}\n" for p, r, a in alleles).encode()))
    return path


# --- each filter --------------------------------------------------------------------------------

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
WITH_EVIDENCE = {"known_germline", "position", "slippage", "panel_of_normals", "likely_germline"}


def test_every_filter_is_tested():
    assert set(FAILING) | WITH_EVIDENCE == set(FILTERS)


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
        # 5 % at 100 reads.
        {"tumour": (95, 5), "strands": (80, 75, 2, 3)},
    ],
)
def test_pass(tmp_path, changes):
    (record,) = judge(tmp_path, call(**changes))
    assert list(record.filter) == ["PASS"]


def test_all_failed_filters_are_listed(tmp_path):
    (record,) = judge(tmp_path, call(tumour=(10, 3), mapping=10.0, strands=(5, 50, 30, 0)))
    assert list(record.filter) == ["depth", "alternate_depth", "mapping_quality", "strand_bias"]


def test_limits_come_from_the_study(tmp_path):
    strict = SomaticFilters(minimum_allele_fraction=0.31, minimum_tumour_lod=1000)
    (record,) = judge(tmp_path, call(), settings=strict)
    assert list(record.filter) == ["tumour_lod", "allele_fraction"]


def test_strand_bias_is_fishers_exact_test(tmp_path):
    p_value = fisher_exact([[60, 40], [14, 2]]).pvalue
    line = call(strands=(60, 40, 14, 2))
    for limit, expected in ((p_value * 0.99, "PASS"), (p_value * 1.01, "strand_bias")):
        (record,) = judge(tmp_path, line, settings=SomaticFilters(minimum_strand_p_value=limit))
        assert list(record.filter) == [expected]
        assert record.info["SBP"] == pytest.approx(p_value, rel=1e-4)


def test_known_germline_alleles_demand_a_clearer_normal(tmp_path):
    resource = known(
        tmp_path,
        (100, "A", "G", "AF=0.01"),
        (200, "A", "G", "AF=0.0001"),
        (300, "A", "C", "AF=0.3"),
        (400, "A", "G", "AF=0.01"),
    )
    # 15 reads without the allele: odds of 4.5.
    records = judge(
        tmp_path,
        *(call(position=position, normal=(15, 0)) for position in (100, 200, 300)),
        call(position=400, normal=(40, 0)),
        germline_resource=resource,
    )
    assert [list(r.filter) for r in records] == [["known_germline"], ["PASS"], ["PASS"], ["PASS"]]
    assert records[0].info["POPAF"] == pytest.approx(0.01)
    assert "POPAF" not in records[2].info


def test_alleles_at_the_ends_of_their_reads(tmp_path):
    inside = [(start, {100: "G"}) for start in (45, 60, 70, 80, 90)]
    at_ends = [(start, {300: "G"}) for start in (299, 300, 297, 242, 241)]
    reads = alignment(tmp_path, *inside, *at_ends)
    records = judge(
        tmp_path,
        call(),
        call(position=300),
        # Fails anyway: not looked up.
        call(position=300, alternate="T", mapping=1),
        # No read shows it at its place: not judged.
        call(position=500),
        alignment=reads,
    )
    assert [list(r.filter) for r in records] == [
        ["PASS"],
        ["position"],
        ["mapping_quality"],
        ["PASS"],
    ]
    assert [r.info.get("MPOS") for r in records] == [19, 1, None, None]


def test_indels_of_repeat_units_need_more_than_slippage(tmp_path):
    genome = tmp_path / "g.fa"
    genome.write_text(">1\n" + "C" * 99 + "GAAAAAAAATGTTTTTTTC" + "C" * 99 + "\n")
    pysam.faidx(str(genome))
    records = judge(
        tmp_path,
        call(reference="GA", alternate="G", tumour=(90, 10)),
        call(reference="G", alternate="GA", tumour=(60, 40)),
        call(reference="G", alternate="GC", tumour=(90, 10)),
        # Seven units only.
        call(position=110, reference="GT", alternate="G", tumour=(90, 10)),
        genome=genome,
    )
    assert [list(r.filter) for r in records] == [["slippage"], ["PASS"], ["PASS"], ["PASS"]]
    assert [r.info["RPU"] for r in records] == [8, 8, 0, 7]


def test_the_patients_own_normal_is_no_part_of_its_panel(tmp_path):
    allele, rare = (100, "A", "G"), (200, "A", "G")
    others = panel(tmp_path, [allele, rare], [allele], [allele, rare], [])
    own = [own_alleles(tmp_path, "own", allele, rare)]
    lines = [call(), call(position=200), call(position=200, alternate="C")]
    # Seen in 3 and 2 of 4 normals; without the own one, in 2 and 1 of 3.
    records = judge(tmp_path, *lines, **others, own_alleles=own)
    assert [list(r.filter) for r in records] == [["panel_of_normals"], ["PASS"], ["PASS"]]
    assert [r.info["PON"] for r in records] == [2, 1, 0]
    # A patient whose normal is not in the panel.
    records = judge(tmp_path, *lines, **others)
    assert [r.info["PON"] for r in records] == [3, 2, 0]
    assert [list(r.filter) for r in records[:2]] == [["panel_of_normals"]] * 2


def test_a_large_panel_demands_a_share(tmp_path):
    others = panel(tmp_path, *[[(100, "A", "G")]] * 2, *[[]] * 58)
    (record,) = judge(tmp_path, call(), **others)
    assert list(record.filter) == ["PASS"]
    (record,) = judge(tmp_path, call(), settings=SomaticFilters(minimum_panel_share=0.03), **others)
    assert list(record.filter) == ["panel_of_normals"]


def test_alleles_of_a_given_panel_fail(tmp_path):
    given = known(tmp_path, (100, "A", "G", "."), name="given")
    records = judge(tmp_path, call(), call(alternate="T"), panel_of_normals=given)
    assert [list(r.filter) for r in records] == [["panel_of_normals"], ["PASS"]]


# --- without a normal ---------------------------------------------------------------------------


def test_a_tumour_without_normal(tmp_path):
    records = judge(
        tmp_path,
        call(position=100, normal=None, tumour=(75, 75)),
        call(position=200, normal=None, tumour=(0, 150)),
        call(position=300, normal=None, tumour=(120, 30)),
        call(position=400, normal=None, tumour=(7, 7)),
        normal=None,
    )
    assert [list(r.filter) for r in records] == [
        ["likely_germline"],
        ["likely_germline"],
        ["PASS"],
        ["depth", "likely_germline"],
    ]
    assert list(records[0].samples) == ["T1"]
    assert "NLOD" not in records[0].info
    expected = germline_log_odds(120, 30, 10**-3.5, 0.0005, 3e-6)
    assert records[2].info["GLOD"] == pytest.approx(float(expected), rel=1e-4)


def test_a_resource_says_what_is_germline(tmp_path):
    resource = known(tmp_path, (100, "A", "G", "AF=0.0005"), (200, "A", "G", "AF=0.05"))
    settings = SomaticFilters(unlisted_population_frequency=1e-7)
    records = judge(
        tmp_path,
        call(position=100, normal=None, tumour=(75, 75)),
        # A common allele, whatever its fraction: copy-number changes shift it.
        call(position=200, normal=None, tumour=(120, 30)),
        # Not in the resource, which holds nearly all germline alleles.
        call(position=300, normal=None, tumour=(70, 80)),
        normal=None,
        germline_resource=resource,
        settings=settings,
    )
    assert [list(r.filter) for r in records] == [
        ["likely_germline"],
        ["likely_germline"],
        ["PASS"],
    ]


# --- several alleles, several substitutions -----------------------------------------------------


def test_reads_of_other_alleles_are_in_the_depth_only(tmp_path):
    one, other = judge(
        tmp_path,
        call(alternate="C", tumour=(60, 30), other=10),
        call(alternate="G", tumour=(60, 10), other=30),
    )
    for record, alternate in ((one, 30), (other, 10)):
        tumour = record.samples["T1"]
        assert (tumour["DP"], tumour["AD"]) == (100, (60, alternate))
        assert list(record.filter) == ["PASS"]
    (diluted,) = judge(tmp_path, call(tumour=(60, 6), other=200))
    assert list(diluted.filter) == ["allele_fraction"]


def test_one_allele_of_several_complex_ones_is_added_up(tmp_path):
    (record,) = judge(
        tmp_path,
        call(tumour=(60, 10), other=30, strands=(60, 60, 5, 5), mapping=60.0),
        call(tumour=(60, 30), other=10, strands=(60, 60, 10, 20), mapping=40.0),
    )
    assert (record.samples["T1"]["DP"], record.samples["T1"]["AD"]) == (100, (60, 40))
    assert record.info["MMQ"] == pytest.approx(45)
    assert record.info["SBP"] == pytest.approx(fisher_exact([[60, 60], [15, 25]]).pvalue, rel=1e-4)


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text(">1\n" + "A" * 10000 + "\n")
    pysam.faidx(str(path))
    return path


def coding(tmp_path, start):
    path = tmp_path / "a.gff3"
    path.write_text(f"1\t.\tCDS\t{start}\t{start + 29}\t.\t+\t0\tParent=transcript:T\n")
    return path


def pair_of_reads(first, second, together, apart):
    both = [(first - 20 - i, {first: "G", second: "C"}) for i in range(together)]
    single = [(first - 20 - i, {first: "G"}) for i in range(apart)]
    single += [(first - 20 - i, {second: "C"}) for i in range(apart)]
    return [*both, *single]


@pytest.mark.parametrize(
    ("second", "start", "together", "apart", "joined"),
    [
        (101, 200, 20, 0, True),
        (101, 200, 20, 2, True),
        (101, 200, 20, 4, True),
        (101, 200, 20, 5, False),
        (101, 200, 0, 20, False),
        # One base between: joined in one codon only.
        (102, 100, 20, 0, True),
        (102, 101, 20, 0, False),
        (102, 200, 20, 0, False),
        (103, 100, 20, 0, False),
    ],
)
def test_substitutions_on_the_same_reads(tmp_path, genome, second, start, together, apart, joined):
    reads = alignment(tmp_path, *pair_of_reads(100, second, together, apart))
    records = judge(
        tmp_path,
        call(tumour=(70, 30)),
        call(position=second, alternate="C", tumour=(72, 28)),
        alignment=reads,
        genome=genome,
        annotation=coding(tmp_path, start),
    )
    if joined:
        (record,) = records
        length = second - 99
        assert (record.pos, record.ref) == (100, "A" * length)
        assert record.alts == ("G" + "A" * (length - 2) + "C",)
        assert list(record.filter) == ["PASS"]
        assert record.info["MNV"] == ("100:A>G", f"{second}:A>C")
        assert record.samples["T1"]["AD"] == (72, 28)
    else:
        assert [(r.pos, r.ref) for r in records] == [(100, "A"), (second, "A")]
        assert all("MNV" not in r.info for r in records)


def test_only_passing_substitutions_are_joined_and_records_stay_sorted(tmp_path, genome):
    reads = alignment(tmp_path, *pair_of_reads(100, 101, 20, 0))
    records = judge(
        tmp_path,
        call(position=99, alternate="C", mapping=1),
        call(),
        call(alternate="T", mapping=1),
        call(position=101, alternate="C"),
        call(position=102, alternate="C", mapping=1),
        call(position=5, chromosome="X"),
        alignment=reads,
        genome=genome,
    )
    assert [(r.contig, r.pos, r.ref, r.alts[0]) for r in records] == [
        ("1", 99, "A", "C"),
        ("1", 100, "AA", "GC"),
        ("1", 100, "A", "T"),
        ("1", 102, "A", "C"),
        ("X", 5, "A", "G"),
    ]


def test_blocks_do_not_change_the_result(tmp_path, genome, monkeypatch):
    reads = alignment(tmp_path, *pair_of_reads(100, 101, 20, 0))
    lines = [
        call(position=50),
        call(tumour=(60, 10), other=20),
        call(tumour=(60, 20), other=10),
        call(position=101, alternate="C"),
        call(position=7, chromosome="X"),
    ]
    whole = list(map(str, judge(tmp_path, *lines, alignment=reads, genome=genome)))
    assert len(whole) == 3
    for size in (1, 2, 3):
        monkeypatch.setattr(somatic_filters, "BLOCK", size)
        parts = judge(tmp_path, *lines, alignment=reads, genome=genome)
        assert list(map(str, parts)) == whole


# --- the file -----------------------------------------------------------------------------------


def test_output_is_plain_and_indexed(tmp_path):
    records = judge(
        tmp_path,
        call(),
        call(position=200, reference="ACG", alternate="A", tumour=(50, 50), normal=(40, 0)),
        call(position=300, alternate="."),
        call(position=301, alternate="*"),
        call(position=302, alternate="A,G"),
        call(position=7, chromosome="X", reference="a", alternate="g"),
    )
    assert [(r.contig, r.pos, r.ref, r.alts, r.qual) for r in records] == [
        ("1", 100, "A", ("G",), None),
        ("1", 200, "ACG", ("A",), None),
        ("X", 7, "A", ("G",), None),
    ]
    first = records[0]
    assert list(first.samples) == ["T1", "N1"]
    assert list(first.format) == ["GT", "DP", "AD"]
    tumour, normal = first.samples["T1"], first.samples["N1"]
    assert (tumour["GT"], tumour["DP"], tumour["AD"]) == ((0, 1), 100, (70, 30))
    assert (normal["GT"], normal["DP"], normal["AD"]) == ((0, 0), 60, (60, 0))
    e = 10**-3.5
    assert first.info["TLOD"] == pytest.approx(float(log_odds(70, 30, e, e, 0.3, 0)), rel=1e-4)
    assert first.info["NLOD"] == pytest.approx(float(log_odds(60, 0, e, e, 0, 0.5)), rel=1e-4)
    with pysam.VariantFile(str(tmp_path / "filtered.vcf.gz")) as indexed:
        assert [r.pos for r in indexed.fetch("1", 150, 250)] == [200]
        assert indexed.header.contigs["X"].length == 5000
        assert set(indexed.header.filters) == {"PASS", *FILTERS}
    assert (tmp_path / "filtered.vcf.gz.tbi").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_base_quality_is_believed_only_between_2_and_40(tmp_path):
    high, none = judge(tmp_path, call(quality=70.0), call(position=200, tumour=(100, 0)))
    expected = float(log_odds(70, 30, 10**-3.5, 1e-4, 0.3, 0))
    assert high.info["TLOD"] == pytest.approx(expected, rel=1e-4)
    assert none.info["TLOD"] == 0
    assert "base_quality" in none.filter


@pytest.mark.parametrize("normal", ["N1", None])
def test_calls_without_variants_give_an_empty_indexed_file(tmp_path, genome, normal):
    reads = alignment(tmp_path)
    assert judge(tmp_path, normal=normal, alignment=reads, genome=genome) == []
    assert (tmp_path / "filtered.vcf.gz.tbi").exists()


@pytest.mark.parametrize(
    ("samples", "tumour", "normal"),
    [
        (("N1", "T1"), "other", "N1"),
        (("N1", "T1"), "T1", "T1"),
        (("N1", "T1"), "T1", None),
        (("N1", "T1", "S3"), "T1", "N1"),
    ],
)
def test_other_samples_are_refused(tmp_path, refused, samples, tumour, normal):
    line = call() + "\t0/1:9:9:0:0:0" * (len(samples) - 2)
    calls = freebayes(tmp_path, line, samples=samples)
    refused(
        lambda: filter_somatic_calls(calls, tmp_path / "out.vcf.gz", tumour, normal, SETTINGS),
        file=calls,
        row=None,
        column=None,
        text="found N1, T1",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["raw.vcf"]


def test_a_failure_midway_leaves_the_earlier_output(tmp_path, monkeypatch):
    output = tmp_path / "filtered.vcf.gz"
    judge(tmp_path, call())
    before = {path: path.read_bytes() for path in (output, tmp_path / "filtered.vcf.gz.tbi")}
    write = somatic_filters._lines
    monkeypatch.setattr(somatic_filters, "BLOCK", 1)

    def fail_at_the_second(judged, paired):
        if judged["position"][0] == 200:
            raise RuntimeError("disk full")
        return write(judged, paired)

    monkeypatch.setattr(somatic_filters, "_lines", fail_at_the_second)
    with pytest.raises(RuntimeError, match="disk full"):
        judge(tmp_path, call(tumour=(1, 1)), call(position=200))
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob(".partial*"))
