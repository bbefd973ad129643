"""Alleles looked up in an indexed VCF."""

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.variants.known_alleles import KnownAlleles, trimmed
from ihdsi.variants.panel_of_normals import ALLELE

HEADER = """##fileformat=VCFv4.2
##contig=<ID=1,length=100000>
##contig=<ID=2,length=100000>
##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">
##INFO=<ID=N,Number=1,Type=Integer,Description="Normals">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""


def resource(tmp_path, *lines, header=HEADER, index=True):
    path = tmp_path / "resource.vcf"
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    packed = f"{path}.gz"
    pysam.tabix_compress(str(path), packed, force=True)
    if index:
        pysam.tabix_index(packed, preset="vcf", force=True)
    return packed


def variants(*rows):
    return pl.DataFrame(rows, schema=list(ALLELE), orient="row")


def test_alleles_of_one_record_and_of_several(tmp_path):
    path = resource(
        tmp_path,
        "1\t100\t.\tA\tG,T\t.\t.\tAF=0.1,0.2",
        "1\t200\t.\tCTT\tCT,C\t.\t.\tAF=0.3,0.4",
        "1\t300\t.\tA\tC\t.\t.\tAF=0.01",
        "1\t300\t.\tA\tC\t.\t.\tAF=0.02",
        "1\t400\t.\tA\tC\t.\t.\tN=3",
        "1\t90000\t.\tA\tC\t.\t.\tAF=0.5",
    )
    asked = variants(
        ("1", 100, "A", "T"),
        ("1", 100, "A", "C"),
        ("1", 200, "CT", "C"),
        ("1", 200, "CTT", "C"),
        ("1", 300, "A", "C"),
        ("1", 400, "A", "C"),
        ("1", 90000, "A", "C"),
        ("2", 100, "A", "G"),
        ("3", 100, "A", "G"),
    )
    with KnownAlleles(path, "AF", ["1", "2", "3"]) as known:
        np.testing.assert_allclose(
            known.values(asked),
            [0.2, np.nan, 0.3, 0.4, 0.02, np.nan, 0.5, np.nan, np.nan],
            rtol=1e-6,
        )
        assert known.values(asked.clear()).shape == (0,)
    with KnownAlleles(path, None, ["1"]) as known:
        np.testing.assert_array_equal(known.values(asked[[0, 1, 5]]), [1, np.nan, 1])
    with KnownAlleles(path, "N", ["1"]) as known:
        np.testing.assert_array_equal(known.values(asked[[0, 5]]), [np.nan, 3])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((5, "A", "G"), (5, "A", "G")),
        ((5, "CTT", "CT"), (5, "CT", "C")),
        ((5, "ACG", "ATG"), (6, "C", "T")),
        ((5, "ACCT", "ACT"), (5, "AC", "A")),
        ((5, "GAA", "GAAAA"), (5, "G", "GAA")),
    ],
)
def test_trimmed(before, after):
    assert trimmed(*before) == after


@pytest.mark.parametrize(
    ("changes", "field", "contigs", "text"),
    [
        ({"index": False}, "AF", ["1"], "no index"),
        ({}, "POPMAX", ["1"], "no INFO/POPMAX"),
        ({}, "AF", ["chr1", "chr2"], "none of the reference's chromosomes"),
    ],
)
def test_unusable_files_are_refused(tmp_path, refused, changes, field, contigs, text):
    path = resource(tmp_path, "1\t100\t.\tA\tG\t.\t.\tAF=0.1", **changes)
    refused(lambda: KnownAlleles(path, field, contigs), file=path, row=None, column=None, text=text)
