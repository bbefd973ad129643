"""Counting the normals that show an allele."""

import gzip

import polars as pl
import pysam
import pytest

from ihdsi.quality_control import DECISIONS_SCHEMA
from ihdsi.variants.panel_of_normals import (
    needed_normals,
    panel_members,
    read_alleles,
    write_panel_of_normals,
)


def listed(tmp_path, name, *alleles):
    path = tmp_path / f"{name}.tsv.gz"
    path.write_bytes(gzip.compress("".join("\t".join(a.split()) + "\n" for a in alleles).encode()))
    return path


@pytest.fixture
def index(tmp_path):
    path = tmp_path / "genome.fa.fai"
    path.write_text("chr2\t5000\t6\t60\t61\nchr10\t4000\t6\t60\t61\n")
    return path


def test_normals_are_counted_by_allele(tmp_path, index):
    first = [
        listed(tmp_path, "a1", "chr2 100 A G", "chr2 100 A T", "chr2 900 AC A"),
        # The same allele twice in one normal, from two complex alleles, counts once.
        listed(tmp_path, "b1", "chr2 100 A G", "chr2 100 A G", "chr2 20 C T"),
        listed(tmp_path, "c1", "chr2 100 A G", "chr2 20 C T"),
    ]
    second = [
        listed(tmp_path, "a2", "chr10 5 A G", "chr2 4000 G C"),
        listed(tmp_path, "b2", "chr10 5 A G", "chr2 4000 G C"),
        listed(tmp_path, "c2"),
    ]
    output = tmp_path / "panel.vcf.gz"
    write_panel_of_normals([first, second], index, output, 2)
    with pysam.VariantFile(str(output)) as panel:
        assert [(r.contig, r.pos, r.ref, r.alts[0], r.info["N"]) for r in panel] == [
            ("chr2", 20, "C", "T", 2),
            ("chr2", 100, "A", "G", 3),
            ("chr2", 4000, "G", "C", 2),
            ("chr10", 5, "A", "G", 2),
        ]
        assert [r.pos for r in panel.fetch("chr10")] == [5]
    assert not list(tmp_path.glob(".partial*"))


def test_a_panel_without_alleles(tmp_path, index):
    output = tmp_path / "panel.vcf.gz"
    write_panel_of_normals([[listed(tmp_path, "a")]], index, output, 2)
    with pysam.VariantFile(str(output)) as panel:
        assert list(panel) == []
    assert read_alleles(listed(tmp_path, "b")).is_empty()


@pytest.mark.parametrize(
    ("n_others", "needed"), [(1, 2), (5, 2), (40, 2), (41, 3), (100, 5), (1000, 50)]
)
def test_a_large_panel_demands_a_share(n_others, needed):
    assert needed_normals(n_others, 2, 0.05) == needed


def test_failed_normals_are_not_in_the_panel(caplog):
    decisions = pl.DataFrame(
        [
            ("P1", "P1-N", "normal_dna", "fail", "fail: contamination 9 %"),
            ("P1", "P1-T", "tumour_dna", "pass", ""),
            # A tumour that fails, and a normal that only warns, keep the normal.
            ("P2", "P2-T", "tumour_dna", "fail", "fail: mean coverage 3"),
            ("P2", "P2-N", "normal_dna", "pass", ""),
            ("P3", "P3-N", "normal_dna", "warn", "warn: duplicates 40 %"),
        ],
        schema=DECISIONS_SCHEMA,
        orient="row",
    )
    with caplog.at_level("INFO"):
        assert panel_members(["P4", "P3", "P1", "P2"], decisions) == ["P4", "P3", "P2"]
    assert "1 of 4 normals failed quality control and are not in the panel: P1" in caplog.text
    assert panel_members(["P1"], decisions) == []


def test_a_panel_whose_normals_all_failed_holds_nothing(tmp_path, index):
    output = tmp_path / "panel.vcf.gz"
    write_panel_of_normals([[], []], index, output, 2)
    with pysam.VariantFile(str(output)) as panel:
        assert list(panel) == []
        assert "Normals=0" in str(panel.header)
