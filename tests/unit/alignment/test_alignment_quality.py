"""Alignment metrics against numbers by hand, from the files of the real tools."""

import gzip
import os
import shutil
import subprocess

import polars as pl
import pysam
import pytest

from ihdsi.alignment.quality import alignment_metrics, callable_intervals

TARGETS = "1\t100\t200\tpanel_a\n1\t300\t400\tpanel_b\n2\t0\t50\tpanel_c\n"


def runs(tool):
    """Whether a tool is installed and starts (mosdepth loads its library only when it starts)."""
    if shutil.which(tool) is None:
        return False
    return subprocess.run([tool, "--version"], capture_output=True, check=False).returncode == 0


def needs(*tools):
    missing = [tool for tool in tools if not runs(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"does not start here: {', '.join(missing)}")


def read(name, flag, chromosome=0, start=0, mate=0, insert=0, length=100):
    segment = pysam.AlignedSegment()
    segment.query_name = name
    segment.flag = flag
    segment.query_sequence = "A" * length
    segment.query_qualities = pysam.qualitystring_to_array("I" * length)
    if flag & 4:
        segment.reference_id = segment.next_reference_id = -1
        return segment
    segment.reference_id, segment.reference_start = chromosome, start
    segment.mapping_quality = 60
    segment.cigartuples = [(0, length)]
    if flag & 1:
        segment.next_reference_id, segment.next_reference_start = chromosome, mate
        segment.template_length = insert
    return segment


def write_alignment(path, reads):
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": "1", "LN": 2000}, {"SN": "2", "LN": 500}],
        "RG": [{"ID": "lane", "SM": "sample"}],
    }
    placed = sorted(reads, key=lambda r: (r.is_unmapped, r.reference_id, r.reference_start))
    with pysam.AlignmentFile(str(path), "wb", header=header) as bam:
        for segment in placed:
            bam.write(segment)
    pysam.index(str(path))


def pairs(prefix, n, more_flags=0):
    """n pairs that cover 1:100-200 and 1:250-350, 250 bases from end to end."""
    for i in range(n):
        yield read(f"{prefix}{i}", 99 | more_flags, 0, 100, 250, 250)
        yield read(f"{prefix}{i}", 147 | more_flags, 0, 250, 100, -250)


def known_reads():
    reads = [*pairs("pair", 25), *pairs("copy", 5, 1024)]
    for i in range(5):
        reads += [read(f"lost{i}", 77), read(f"lost{i}", 141)]
    reads += [read(f"single{i}", 0, 1, 0, length=50) for i in range(120)]
    # Supplementary and secondary alignments are no further reads.
    reads += [read("pair0", 2048 | 99, 0, 1500, 250, 250), read("single0", 256, 0, 1500)]
    return reads


def measured(folder, reads, by=TARGETS):
    """Run the tools as the workflow does."""
    bam = folder / "a.bam"
    write_alignment(bam, reads)
    stats = subprocess.run(["samtools", "stats", bam], capture_output=True, check=True).stdout
    (folder / "a.stats").write_bytes(stats)
    if isinstance(by, str):
        (folder / "targets.bed").write_text(by)
        by = folder / "targets.bed"
    options = f"--no-per-base --by {by} --thresholds 20,100 --quantize 0:20:".split()
    precise = os.environ | {"MOSDEPTH_PRECISION": "6"}
    subprocess.run(["mosdepth", *options, folder / "a", bam], check=True, env=precise)
    return folder / "a.stats", folder / "a.thresholds.bed.gz", folder / "a.quantized.bed.gz"


@needs("samtools", "mosdepth")
def test_metrics_of_a_known_alignment(tmp_path):
    stats, thresholds, quantized = measured(tmp_path, known_reads())
    # 25 pairs, 5 duplicate pairs, 5 unmapped pairs and 120 single reads; without the duplicates,
    # the targets are covered 25 times (100 bases), 25 times (50 bases), not at all (50 bases) and
    # 120 times (50 bases).
    assert alignment_metrics(stats, thresholds) == {
        "mapped_percent": pytest.approx(100 * 180 / 190),
        "duplicate_percent": pytest.approx(100 * 10 / 190),
        "insert_size_mean": 250.0,
        "mean_target_coverage": pytest.approx((25 * 150 + 120 * 50) / 250),
        "target_20x_percent": pytest.approx(100 * 200 / 250),
        "target_100x_percent": pytest.approx(100 * 50 / 250),
        # The mean is 39: what is covered 25 times is covered 0.2 times the mean.
        "coverage_uniformity_percent": pytest.approx(100 * 200 / 250),
    }
    assert callable_intervals(quantized).rows() == [
        ("1", 100, 200),
        ("1", 250, 350),
        ("2", 0, 50),
    ]


@needs("samtools", "mosdepth")
def test_windows_stand_for_targets(tmp_path):
    stats, thresholds, _ = measured(tmp_path, known_reads(), by=500)
    metrics = alignment_metrics(stats, thresholds)
    # Five windows make up the genome of 2500 bases; the supplementary alignment counts as depth,
    # the secondary does not.
    covered = 25 * 200 + 100 + 120 * 50
    assert metrics["mean_target_coverage"] == pytest.approx(covered / 2500, abs=0.005)
    assert metrics["target_20x_percent"] == pytest.approx(100 * 250 / 2500)
    assert metrics["target_100x_percent"] == pytest.approx(100 * 50 / 2500)


@needs("samtools", "mosdepth")
@pytest.mark.parametrize("by", [TARGETS, 500])
def test_empty_alignment_is_zero_everywhere(tmp_path, by):
    stats, thresholds, quantized = measured(tmp_path, [], by)
    metrics = alignment_metrics(stats, thresholds)
    assert len(metrics) == 7
    assert set(metrics.values()) == {0.0}
    assert callable_intervals(quantized).is_empty()


# Files in the form of the tools, so that the arithmetic is tested where a tool is absent.

STATS = """# This file was produced by samtools stats (1.16.1)
SN\traw total sequences:\t200\t# excluding supplementary and secondary reads
SN\treads mapped:\t150
SN\treads duplicated:\t30\t# PCR or optical duplicate bit set
SN\tinsert size average:\t312.5
SN\terror rate:\t1.2e-03\t# mismatches / bases mapped (cigar)
COV\t[1-1]\t1\t100
"""


def written(folder, thresholds, regions, stats=STATS, distribution="total\t0\t1.00\n"):
    (folder / "a.stats").write_text(stats)
    (folder / "a.mosdepth.region.dist.txt").write_text(distribution)
    for name, text in (("thresholds", thresholds), ("regions", regions)):
        (folder / f"a.{name}.bed.gz").write_bytes(gzip.compress(text.encode()))
    return alignment_metrics(folder / "a.stats", folder / "a.thresholds.bed.gz")


@pytest.mark.parametrize("named", [True, False])
def test_metrics_by_hand(tmp_path, named):
    name = "\texon" if named else ""
    metrics = written(
        tmp_path,
        "#chrom\tstart\tend\tregion\t20X\t100X\n1\t0\t100\tunknown\t100\t25\nX\t50\t350\tunknown\t60\t0\n",
        f"1\t0\t100{name}\t80.00\nX\t50\t350{name}\t10.50\n",
        # A fifth of the mean of 27.875 is 5.575, so that six reads are enough.
        distribution="1\t6\t0.9\ntotal\t7\t0.30\ntotal\t6\t0.625\ntotal\t5\t0.75\n",
    )
    assert metrics == {
        "mapped_percent": 75.0,
        "duplicate_percent": 15.0,
        "insert_size_mean": 312.5,
        "mean_target_coverage": pytest.approx((100 * 80 + 300 * 10.5) / 400),
        "target_20x_percent": pytest.approx(40.0),
        "target_100x_percent": pytest.approx(6.25),
        "coverage_uniformity_percent": pytest.approx(62.5),
    }


def test_targets_named_by_number_first_and_by_letter_late(tmp_path):
    places = [*(("1", n, n + 1, n) for n in range(2000)), ("X", 5, 7, "exon")]
    metrics = written(
        tmp_path,
        "#chrom\tstart\tend\tregion\t20X\t100X\n"
        + "".join(f"{c}\t{s}\t{e}\t{n}\t1\t0\n" for c, s, e, n in places),
        "".join(f"{c}\t{s}\t{e}\t{n}\t3.00\n" for c, s, e, n in places),
    )
    assert metrics["mean_target_coverage"] == 3.0
    assert metrics["target_20x_percent"] == pytest.approx(100 * 2001 / 2002)


def test_shares_of_nothing_are_zero(tmp_path):
    stats = "SN\traw total sequences:\t0\nSN\treads mapped:\t0\nSN\treads duplicated:\t0\n"
    row = "1\t7\t7\tempty\t0"
    metrics = written(tmp_path, f"{row}\t0\n", f"{row}.00\n", stats)
    assert set(metrics.values()) == {0.0}


def test_single_end_reads_have_no_insert_size(tmp_path):
    arguments = ("1\t0\t9\tx\t9\t9\n", "1\t0\t9\tx\t200.00\n")
    single = STATS + "SN\treads paired:\t0\t# paired-end technology bit set\n"
    assert "insert_size_mean" not in written(tmp_path, *arguments, stats=single)
    paired = STATS + "SN\treads paired:\t2\t# paired-end technology bit set\n"
    assert written(tmp_path, *arguments, stats=paired)["insert_size_mean"] == 312.5


def test_callable_intervals_by_depth(tmp_path):
    quantized = tmp_path / "a.quantized.bed"
    quantized.write_text("1\t0\t10\t0:30\n1\t10\t20\t30:inf\n2\t5\t9\t30:inf\n")
    intervals = callable_intervals(quantized, 30)
    assert intervals.rows() == [("1", 10, 20), ("2", 5, 9)]
    assert intervals.schema == {"chromosome": pl.String, "start": pl.Int64, "end": pl.Int64}
    # Another depth than that of the file: nothing is known to be covered.
    assert callable_intervals(quantized, 20).is_empty()


def test_callable_intervals_of_several_compressed_blocks(tmp_path):
    plain = tmp_path / "a.bed"
    plain.write_text(
        "".join(f"1\t{n}\t{n + 1}\t{'20:inf' if n % 2 else '0:20'}\n" for n in range(20000))
        + "X\t3\t5\t20:inf\n"
    )
    assert plain.stat().st_size > 2 * 65536
    pysam.tabix_compress(str(plain), str(tmp_path / "a.quantized.bed.gz"))
    intervals = callable_intervals(tmp_path / "a.quantized.bed.gz")
    assert intervals.height == 10001
    assert intervals.row(-1) == ("X", 3, 5)
