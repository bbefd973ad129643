"""The notation of molecular barcodes, and what the tools are told of it."""

import re

import pytest

from ihdsi.umi import BARCODE_IN_NAME, LOCATIONS, Umi, parse_umi


@pytest.mark.parametrize(
    ("text", "umi", "options"),
    [
        ("read1:8", Umi("read1", 8), "--umi --umi_loc read1 --umi_len 8 --umi_skip 0"),
        ("read2:12:3", Umi("read2", 12, 3), "--umi --umi_loc read2 --umi_len 12 --umi_skip 3"),
        (
            "per_read:5:2",
            Umi("per_read", 5, 2),
            "--umi --umi_loc per_read --umi_len 5 --umi_skip 2",
        ),
        ("index1", Umi("index1"), "--umi --umi_loc index1"),
        ("index2", Umi("index2"), "--umi --umi_loc index2"),
        ("per_index", Umi("per_index"), "--umi --umi_loc per_index"),
    ],
)
def test_notation(text, umi, options):
    assert parse_umi(text) == umi
    assert umi.fastp_options == options
    assert str(umi) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "8", "read1", "read1:", "read1:0", "read1:101", "read1:x", "read1:8:", "read1:8:2:1"),
        *("READ1:8", "read3:8", "index1:8", "per_index:8:2", "read1 :8", "read1:-8", "read1:8;rm"),
    ],
)
def test_what_is_no_notation(text):
    with pytest.raises(ValueError, match=re.escape(f"'{text}'")):
        parse_umi(text)


def test_single_reads_have_their_start_and_the_first_index():
    assert [place for place in LOCATIONS if not Umi(place).needs_pairs] == ["read1", "index1"]


@pytest.mark.parametrize(
    ("name", "barcode"),
    [
        ("A00:1:FC:1:1101:10:20:ACGTN", "ACGTN"),
        ("A00:1:FC:1:1101:10:20:ACG_TTG", "ACG_TTG"),
        ("SRR1.17:ACGT", "ACGT"),
        ("A00:1:FC:1:1101:10:20", None),
    ],
)
def test_the_barcode_in_a_name(name, barcode):
    found = re.search(BARCODE_IN_NAME, name)
    assert (found and found.group(1)) == barcode
