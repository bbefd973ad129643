"""Alleles seen in the reads themselves."""

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.variants.panel_of_normals import ALLELE
from ihdsi.variants.read_support import end_distances, read_support

#                 1         2         3         4
#        1234567890123456789012345678901234567890
REFERENCE = "ACGTACGTTGCAACGGTACCATAGGCATCGATCGATTACG"


def alignment(tmp_path, *reads):
    """Reads as (start from 1, cigar, bases) with flag, quality and mapping quality if given."""
    path = tmp_path / "reads.bam"
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "1", "LN": 1000}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as target:
        for number, (start, cigar, bases, *changes) in enumerate(
            sorted(reads, key=lambda read: read[0])
        ):
            given = {"flag": 0, "quality": 30, "mapping": 60, "name": f"r{number}"}
            given |= dict(*changes)
            read = pysam.AlignedSegment(target.header)
            read.query_name, read.flag = given["name"], given["flag"]
            read.reference_id, read.reference_start = 0, start - 1
            read.mapping_quality, read.cigarstring = given["mapping"], cigar
            read.query_sequence = bases
            quality = given["quality"]
            read.query_qualities = quality if isinstance(quality, list) else [quality] * len(bases)
            target.write(read)
    pysam.index(str(path))
    return path


def looked_up(path, *variants):
    frame = pl.DataFrame(variants, schema=list(ALLELE), orient="row")
    return list(read_support(path, frame, 20, 15))


def changed(start, length, **bases):
    """Reference bases from `start`, some changed: p12="T"."""
    text = list(REFERENCE[start - 1 : start - 1 + length])
    for place, base in bases.items():
        text[int(place[1:]) - start] = base
    return "".join(text)


def test_substitutions_and_their_distance_from_the_ends(tmp_path):
    path = alignment(
        tmp_path,
        (1, "30M", changed(1, 30, p12="T")),
        (11, "20M", changed(11, 20, p12="T")),
        (5, "8M", changed(5, 8, p12="T")),
        # Clipped bases are no part of the aligned read.
        (10, "5S20M", "AAAAA" + changed(10, 20, p12="T")),
        (1, "30M", changed(1, 30)),
        (1, "30M", changed(1, 30, p12="G")),
        # The base is deleted or skipped here.
        (1, "11M2D10M", changed(1, 11) + changed(14, 10)),
        (1, "11M5N10M", changed(1, 11) + changed(17, 10)),
    )
    (support,) = looked_up(path, ("1", 12, "A", "T"))
    assert (len(support.covering), len(support.carrying)) == (6, 4)
    assert sorted(support.distances.tolist()) == [0, 1, 2, 11]
    assert end_distances(iter([support]), 1)[0] == 1.5


def test_insertions_and_deletions(tmp_path):
    path = alignment(
        tmp_path,
        (1, "12M2I10M", changed(1, 12) + "GG" + changed(13, 10)),
        (1, "12M1I10M", changed(1, 12) + "G" + changed(13, 10)),
        (1, "12M3D10M", changed(1, 12) + changed(16, 10)),
        (1, "20M", changed(1, 20)),
    )
    inserted, deleted, none = looked_up(
        path, ("1", 12, "A", "AGG"), ("1", 12, "AACG", "A"), ("1", 20, "C", "CTT")
    )
    assert (len(inserted.carrying), inserted.distances.tolist()) == (1, [10])
    assert (len(deleted.carrying), deleted.distances.tolist()) == (1, [10])
    assert not none.carrying
    assert np.isnan(end_distances(iter([none]), 1)[0])


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, 1),
        ({"flag": 0x400}, 0),
        ({"flag": 0x100}, 0),
        ({"flag": 0x800}, 0),
        ({"flag": 0x200}, 0),
        ({"mapping": 19}, 0),
        ({"quality": [30] * 11 + [14] + [30] * 18}, 0),
        ({"quality": [2] * 11 + [15] + [2] * 18}, 1),
    ],
)
def test_reads_that_the_caller_leaves_out_do_not_count(tmp_path, changes, counts):
    path = alignment(tmp_path, (1, "30M", changed(1, 30, p12="T"), changes))
    (support,) = looked_up(path, ("1", 12, "A", "T"))
    assert len(support.covering) == len(support.carrying) == counts


def test_mates_are_two_reads(tmp_path):
    path = alignment(
        tmp_path,
        (1, "30M", changed(1, 30, p12="T"), {"name": "f", "flag": 0x43}),
        (5, "30M", changed(5, 30, p12="T"), {"name": "f", "flag": 0x93}),
    )
    (support,) = looked_up(path, ("1", 12, "A", "T"))
    assert support.carrying == {"f/1", "f/2"}
