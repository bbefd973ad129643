"""Genotype matrices: what is called, what is missing, and that blocks change nothing."""

import numpy as np
import pytest

from germline_files import SETTINGS, call_set, record
from ihdsi.errors import InputError
from ihdsi.study import GermlineFilters
from ihdsi.variants import genotypes
from ihdsi.variants.genotypes import read_blocks


def only(path, patients=("N1",), settings=SETTINGS):
    (block,) = read_blocks(path, patients, settings)
    return block


@pytest.mark.parametrize(
    ("keys", "sample", "dosage", "ploidy"),
    [
        ("GT:DP:GQ", "0/0:30:99", 0, 2),
        ("GT:DP:GQ", "0/1:30:99", 1, 2),
        ("GT:DP:GQ", "1|0:30:99", 1, 2),
        ("GT:DP:GQ", "1/1:30:99", 2, 2),
        ("GT:DP:GQ", "1:30:99", 1, 1),
        ("GT:DP:GQ", "0:30:99", 0, 1),
        ("GT:DP:GQ", "./.:30:99", 0, 0),
        ("GT:DP:GQ", "./1:30:99", 0, 0),
        ("GT:DP:GQ", "1/.:30:99", 0, 0),
        ("GT:DP:GQ", ".:30:99", 0, 0),
        ("GT:DP:GQ", "0/1:9:99", 0, 0),
        ("GT:DP:GQ", "0/1:10:20", 1, 2),
        ("GT:DP:GQ", "0/1:10:19", 0, 0),
        ("GT:DP:GQ", "0/0:0:0", 0, 0),
        # What the file does not give cannot fail.
        ("GT", "0/1", 1, 2),
        ("GT:DP:GQ", "0/1:.:.", 1, 2),
        ("GT:DP", "1/1:9", 0, 0),
    ],
)
@pytest.mark.parametrize("beside", ["0/1", "1"])
def test_genotypes_one_by_one(tmp_path, keys, sample, dosage, ploidy, beside):
    """Beside a diploid and beside a haploid sample, because the record's width depends on it."""
    tail = ":30:99" if keys.endswith("GQ") else ":30" if keys.endswith("DP") else ""
    path = call_set(tmp_path, record(5, sample, beside + tail, keys=keys), samples=("N1", "N2"))
    block = only(path, ("N1", "N2"))
    assert (block.dosage[0, 0], block.ploidy[0, 0]) == (dosage, ploidy)
    assert (block.dosage[0, 1], block.ploidy[0, 1]) == (1, 1 if beside == "1" else 2)
    assert block.dosage.dtype == block.ploidy.dtype == np.int8


def test_decimals_of_genotype_quality(tmp_path):
    path = call_set(
        tmp_path,
        record(5, "0/1:30:20.4", "0/1:30:19.9", "0/1:30:.", keys="GT:DP:GQ"),
        samples=("N1", "N2", "N3"),
        quality="Float",
    )
    assert only(path, ("N1", "N2", "N3")).ploidy.tolist() == [[2, 0, 2]]


def test_limits_come_from_the_study(tmp_path):
    path = call_set(tmp_path, record(5, "0/1:30:50", keys="GT:DP:GQ"))
    for limits, ploidy in (
        (GermlineFilters(minimum_depth=31), 0),
        (GermlineFilters(minimum_genotype_quality=51), 0),
        (GermlineFilters(minimum_depth=30, minimum_genotype_quality=50), 2),
    ):
        assert only(path, settings=limits).ploidy.tolist() == [[ploidy]]


def test_only_what_passes_and_is_spelled_out(tmp_path):
    path = call_set(
        tmp_path,
        record(5, "0/1", info="BCSQ=missense|BRCA2|T|;population_AF=0.25;CLNSIG=Benign"),
        record(6, "0/1", status="low"),
        record(7, "0/1", status=".", alleles="AC\tA"),
        record(8, "0/1", alleles="A\t*"),
        record(9, "0/1", alleles="A\t<DEL>"),
        record(10, "0/0", alleles="A\t."),
    )
    block = only(path)
    assert block.position.tolist() == [5, 7]
    assert block.reference_alleles == ["A", "AC"]
    assert block.consequences == ["missense|BRCA2|T|", None]
    assert block.population_frequency == pytest.approx([0.25, np.nan], nan_ok=True)
    assert block.clinical_significance == ["Benign", None]


def test_the_patients_asked_for_in_the_files_order(tmp_path):
    path = call_set(tmp_path, record(5, "0/0", "0/1", "1/1"), samples=("N1", "N2", "N3"))
    block = only(path, ("N3", "N1"))
    assert block.patients == ("N1", "N3")
    assert block.dosage.tolist() == [[0, 2]]
    assert list(read_blocks(path, (), SETTINGS)) == []


def test_absent_is_neither_genotype_nor_depth(tmp_path):
    path = call_set(
        tmp_path,
        record(5, "./.:.:.", "./.:12:.", "0/1:.:.", keys="GT:DP:GQ"),
        samples=("N1", "N2", "N3"),
    )
    assert only(path, ("N1", "N2", "N3")).absent.tolist() == [[True, False, False]]


def test_a_call_set_without_records(tmp_path):
    assert list(read_blocks(call_set(tmp_path), ("N1",), SETTINGS)) == []


def test_blocks_end_at_chromosomes_and_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    alleles = rng.integers(0, 3, (50, 4))
    lines = [
        record(row + 1, *(["0/0", "0/1", "1/1"][g] for g in genotype), chromosome=chromosome)
        for chromosome, part in (("1", alleles[:30]), ("X", alleles[30:]))
        for row, genotype in enumerate(part)
    ]
    names = ("N1", "N2", "N3", "N4")
    path = call_set(tmp_path, *lines, samples=names)
    whole = list(read_blocks(path, names, SETTINGS))
    assert [block.chromosome for block in whole] == ["1", "X"]
    monkeypatch.setattr(genotypes, "CELLS_OF_A_BLOCK", 28)
    small = list(read_blocks(path, names, SETTINGS))
    assert [len(block.position) for block in small] == [7, 7, 7, 7, 2, 7, 7, 6]
    for blocks in (whole, small):
        assert np.concatenate([block.dosage for block in blocks]).tolist() == alleles.tolist()


@pytest.mark.parametrize(
    ("lines", "patients", "message"),
    [
        ([record(5, "0/1")], ("N1", "N9"), "N9"),
        ([record(5, "1/2", alleles="A\tC,G")], ("N1",), "1:5 has several alternate alleles"),
        ([record(5, "0/1/1")], ("N1",), "more than two alleles"),
        ([record(5, "30", keys="DP")], ("N1",), "no genotypes"),
    ],
)
def test_refusals(tmp_path, lines, patients, message):
    with pytest.raises(InputError, match=message):
        list(read_blocks(call_set(tmp_path, *lines), patients, SETTINGS))
