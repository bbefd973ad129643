"""Which sites are compared, and how reads are counted there."""

import shutil
import subprocess

import polars as pl
import pysam
import pytest

from ihdsi.alignment.common_sites import (
    ALLELE_COUNTS_SCHEMA,
    SITES_SCHEMA,
    choose_common_sites,
    count_alleles,
)
from ihdsi.errors import InputError
from ihdsi.study import SampleChecks

SETTINGS = SampleChecks()
HEADER = """##fileformat=VCFv4.2
##FILTER=<ID=bad,Description="Bad">
##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">
##INFO=<ID=AC,Number=A,Type=Integer,Description="Count">
##INFO=<ID=AN,Number=1,Type=Integer,Description="Number">
##contig=<ID=chr1,length=100000>
##contig=<ID=chr2,length=100000>
##contig=<ID=chrX,length=100000>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""


def vcf(folder, *rows, header=HEADER):
    path = folder / "sites.vcf"
    path.write_text(header + "".join("\t".join(row.split()) + "\n" for row in rows))
    return path


def test_only_common_biallelic_snvs_of_autosomes(tmp_path):
    path = vcf(
        tmp_path,
        "chr1 100 . A G . PASS AF=0.5",
        "chr1 200 . A G . . AF=0.1",
        "chr1 300 . A G . PASS AF=0.05",
        "chr1 400 . A G . bad AF=0.5",
        "chr1 500 . A G,T . PASS AF=0.3,0.3",
        "chr1 600 . AC A . PASS AF=0.5",
        "chr1 700 . A C . PASS AF=0.3",
        "chr1 700 . A T . PASS AF=0.3",
        "chr1 800 . A G . PASS AC=3",
        "chr1 900 . N G . PASS AF=0.5",
        "chr2 100 . C T . PASS AF=0.9",
        "chr2 101 . C T . PASS AF=0.95",
        "chrX 100 . A G . PASS AF=0.5",
    )
    sites = choose_common_sites(path, SETTINGS)
    assert sites.schema == SITES_SCHEMA
    assert sites.select("chromosome", "position").rows() == [
        ("chr1", 100),
        ("chr1", 200),
        ("chr2", 100),
    ]
    assert sites["allele_frequency"].to_list() == pytest.approx([0.5, 0.1, 0.9])
    assert sites["allele_number"].null_count() == 3


def test_frequencies_of_the_sites_own_patients(tmp_path):
    path = vcf(
        tmp_path,
        "chr1 100 . A G . PASS AC=4;AN=10",
        "chr1 200 . A G . PASS AC=0;AN=0",
        "chr1 300 . A G . PASS AC=10;AN=10",
    )
    sites = choose_common_sites(path, SETTINGS, counted_here=True)
    assert sites.select("position", "allele_frequency", "allele_number").rows() == [(100, 0.4, 10)]


def test_sites_lie_in_the_targets_and_are_evenly_spread(tmp_path):
    bed = tmp_path / "targets.bed"
    # Half-open, 0-based, overlapping and in another order than the sites.
    bed.write_text("chr2\t0\t50\nchr1\t1000\t1100\nchr1\t1050\t2000\n")
    path = vcf(
        tmp_path,
        *(f"chr1 {position} . A G . PASS AF=0.5" for position in range(991, 2020, 10)),
        "chr2 50 . A G . PASS AF=0.5",
        "chr2 51 . A G . PASS AF=0.5",
    )
    sites = choose_common_sites(path, SETTINGS, bed)
    positions = sites.filter(chromosome="chr1")["position"]
    assert (positions.min(), positions.max(), positions.len()) == (1001, 1991, 100)
    assert sites.filter(chromosome="chr2")["position"].to_list() == [50]
    few = choose_common_sites(path, SampleChecks(maximum_sites=11), bed)
    assert few.height == 11
    assert few["position"][0] == 1001
    assert few.filter(chromosome="chr2").height == 1
    gaps = few.filter(chromosome="chr1")["position"].diff().drop_nulls()
    assert set(gaps) == {100}


def test_no_sites(tmp_path):
    assert choose_common_sites(None, SETTINGS).schema == SITES_SCHEMA
    assert choose_common_sites(vcf(tmp_path), SETTINGS).is_empty()
    bed = tmp_path / "targets.bed"
    bed.write_text("chr2\t0\t50\n")
    path = vcf(tmp_path, "chr1 100 . A G . PASS AF=0.5")
    assert choose_common_sites(path, SETTINGS, bed).is_empty()


def test_frequencies_must_be_declared(tmp_path):
    header = "".join(line + "\n" for line in HEADER.splitlines() if "ID=AF" not in line)
    with pytest.raises(InputError, match="INFO/AF"):
        choose_common_sites(vcf(tmp_path, header=header), SETTINGS)


def segment(name, start, bases, flag=0, quality=40, mapping=60, mate=None):
    read = pysam.AlignedSegment()
    read.query_name, read.flag = name, flag
    read.query_sequence = bases
    read.query_qualities = pysam.qualitystring_to_array(chr(33 + quality) * len(bases))
    read.reference_id, read.reference_start = 0, start
    read.mapping_quality = mapping
    read.cigartuples = [(0, len(bases))]
    if mate is not None:
        read.next_reference_id, read.next_reference_start = 0, mate
    return read


@pytest.fixture
def alignment(tmp_path):
    """Reads over chr1:100 (0-based 99)."""
    reads = [segment(f"a{i}", 95, "CCCCACCCCC", flag=16 * (i % 2)) for i in range(6)]
    reads += [segment(f"g{i}", 95, "CCCCGCCCCC") for i in range(3)]
    reads += [segment("t", 95, "CCCCTCCCCC")]
    reads += [
        segment("low", 95, "CCCCGCCCCC", quality=19),
        segment("unsure", 95, "CCCCGCCCCC", mapping=19),
        segment("copy", 95, "CCCCGCCCCC", flag=1024),
        segment("second", 95, "CCCCGCCCCC", flag=256),
        # Two mates over the site are one molecule.
        segment("pair", 95, "CCCCGCCCCC", flag=99, mate=98),
        segment("pair", 98, "CGCCCCCCCC", flag=147, mate=95),
    ]
    path = tmp_path / "a.bam"
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": 100000}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as bam:
        for read in sorted(reads, key=lambda r: r.reference_start):
            bam.write(read)
    pysam.index(str(path))
    return path


def sites_at(*places):
    return pl.DataFrame(
        [(chromosome, position, "A", "G", 0.3, None) for chromosome, position in places],
        schema=SITES_SCHEMA,
        orient="row",
    )


def test_alleles_are_counted_by_hand(alignment):
    counts = count_alleles(
        alignment, sites_at(("chr1", 100), ("chr1", 5000), ("chr7", 100)), SETTINGS
    )
    assert counts.schema == ALLELE_COUNTS_SCHEMA
    assert counts.select("reference_count", "alternate_count", "other_count").rows() == [
        (6, 4, 1),
        (0, 0, 0),
        (0, 0, 0),
    ]


@pytest.mark.skipif(shutil.which("samtools") is None, reason="not installed: samtools")
def test_depth_is_that_of_samtools(alignment):
    command = "samtools depth -q 20 -Q 20 -s -r chr1:100-100"
    text = subprocess.run(
        [*command.split(), alignment], capture_output=True, check=True, text=True
    ).stdout
    counts = count_alleles(alignment, sites_at(("chr1", 100)), SETTINGS)
    total = counts.select("reference_count", "alternate_count", "other_count").sum_horizontal()
    assert total.item() == int(text.split()[2])


def test_counts_without_sites(alignment):
    assert count_alleles(alignment, sites_at(), SETTINGS).schema == ALLELE_COUNTS_SCHEMA
