"""Targets and chromosomes are split so that every base is called exactly once."""

import gzip

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.variants.regions import (
    check_targets,
    covered_bases,
    merge_regions,
    read_targets,
    split_regions,
    within_targets,
    write_regions,
)


def regions(*rows):
    return pl.DataFrame(rows, schema=["chromosome", "start", "end"], orient="row")


def bases(*tables):
    """Every base of the tables, with how often it occurs."""
    return [
        (chromosome, base)
        for table in tables
        for chromosome, start, end in table.iter_rows()
        for base in range(start, end)
    ]


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_every_base_is_in_exactly_one_part(parts):
    generator = np.random.default_rng(parts)
    edges = np.sort(generator.choice(5000, size=80, replace=False)).reshape(-1, 2)
    table = regions(
        *(("chr1", *pair) for pair in edges[:25].tolist()),
        *(("chr2", *pair) for pair in edges[25:].tolist()),
    )
    split = split_regions(table, parts)
    assert len(split) == parts
    assert bases(*split) == bases(table)
    sizes = [len(bases(part)) for part in split]
    assert max(sizes) <= 1.3 * len(bases(table)) / parts


def test_short_targets_stay_whole_and_a_chromosome_is_cut():
    targets = regions(*(("chr1", 1000 * n, 1000 * n + 97) for n in range(60)))
    assert sum(part.height for part in split_regions(targets, 4)) == 60
    parts = split_regions(regions(("chr1", 0, 1001)), 2)
    assert [part.rows() for part in parts] == [[("chr1", 0, 500)], [("chr1", 500, 1001)]]


def test_overlapping_targets_are_merged():
    table = regions(
        ("chr2", 5, 20), ("chr2", 0, 10), ("chr2", 20, 30), ("chr10", 3, 4), ("chr2", 40, 41)
    )
    assert merge_regions(table).rows() == [
        ("chr2", 0, 30),
        ("chr2", 40, 41),
        ("chr10", 3, 4),
    ]


def test_the_parts_of_a_genome_are_written(tmp_path):
    index = tmp_path / "genome.fa.fai"
    index.write_text("chr1\t60\t6\t60\t61\nchr2\t40\t80\t60\t61\n")
    outputs = [tmp_path / "1.bed", tmp_path / "2.bed"]
    write_regions(index, None, outputs)
    assert bases(*map(read_targets, outputs)) == bases(regions(("chr1", 0, 60), ("chr2", 0, 40)))


def test_within_targets_uses_bed_coordinates():
    targets = regions(("chr1", 99, 200), ("chr1", 150, 200), ("chr1", 499, 600), ("chr2", 0, 50))
    positions = pl.DataFrame(
        {
            "chromosome": ["chr1", "chr1", "chr1", "chr1", "chr2", "chr3"],
            "position": [99, 100, 200, 201, 1, 100],
        }
    )
    assert within_targets(positions, targets).rows() == [("chr1", 100), ("chr1", 200), ("chr2", 1)]


def test_a_deletion_belongs_to_the_target_whose_bases_it_removes():
    targets = regions(("chr1", 99, 200), ("chr1", 499, 600))
    variants = pl.DataFrame(
        {
            "chromosome": "chr1",
            # Anchored on the base before the target; ends before it; begins on its last base; an
            # insertion before it; spans both targets.
            "position": [99, 90, 200, 99, 50],
            "reference_allele": ["ACG", "ACG", "ACG", "A", "A" * 600],
            "alternate_allele": ["A", "A", "A", "ACG", "A"],
        }
    )
    assert within_targets(variants, targets)["position"].to_list() == [99, 200, 50]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("chr1\t1\n", "row 1"),
        ("# comment\ntrack name=x\nchr1 1 5\n", "row 3"),
        ("chr1\t1\t5\nchr1\tx\t9\n", "row 2, column 'start'"),
        ("chr1\t1\t5\n\nchr1\t9\t9\n", "row 3, column 'end'"),
        ("chr1\t-1\t5\n", "row 1, column 'start'"),
        ("track name=x\n", "names no region"),
        ("", "names no region"),
    ],
)
@pytest.mark.parametrize("name", ["targets.bed", "targets.bed.gz"])
def test_a_bed_that_names_no_regions(tmp_path, text, place, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    with pytest.raises(InputError, match=place) as caught:
        check_targets(path)
    assert name in str(caught.value)
    good = b"browser position chr1\ntrack name=panel\n#c\nchr1\t0\t5\tname\nchr2\t7\t9\n\n"
    path.write_bytes(gzip.compress(good) if name.endswith("gz") else good)
    check_targets(path)


def test_covered_bases_are_those_of_a_count_base_by_base():
    generator = np.random.default_rng(4)

    def some(n):
        starts = generator.integers(0, 300, size=n)
        ends = starts + generator.integers(1, 40, size=n)
        names = generator.choice(["chr1", "chr2"], size=n)
        return regions(*zip(names.tolist(), starts.tolist(), ends.tolist(), strict=True))

    targets, intervals = some(12), some(200)
    inside = set(bases(targets))
    expected = [sum(base in inside for base in bases(regions(row))) for row in intervals.rows()]
    assert covered_bases(intervals, targets).to_list() == expected
    elsewhere = regions(("chr9", 5, 9))
    assert covered_bases(elsewhere, targets).to_list() == [0]
    assert covered_bases(intervals.clear(), targets).to_list() == []
