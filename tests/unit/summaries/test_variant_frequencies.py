"""Allele counts against counts by hand and against bcftools, and the filters before them."""

import logging
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest

from germline_files import SETTINGS, call_set, record
from ihdsi.study import GermlineFilters
from ihdsi.summaries import validate_table
from ihdsi.summaries.variant_frequencies import SPEC, build_variant_frequencies
from ihdsi.variants import genotypes

NAMES = ("a", "b", "c", "d", "e")
CLINICAL = pl.DataFrame({"patient": list(NAMES), "stage": ["low", "low", "high", "high", None]})
#: No variant is left out for its call rate or its proportions.
OPEN = GermlineFilters(minimum_call_rate=0, minimum_hardy_weinberg_p_value=0)
COUNTS = ("n_samples_called", "allele_count", "allele_number", "n_carriers", "n_homozygous")


def build(path, patients=NAMES, settings=OPEN, **keys):
    table = build_variant_frequencies(path, patients, settings, CLINICAL, ["stage"], **keys)
    validate_table(table, "variant_frequencies")
    assert table.equals(table.sort(SPEC.keys))
    return table


def counts(table, position, stratum="all"):
    return table.filter(position=position, stratum=stratum).select(COUNTS).row(0)


def test_by_hand(tmp_path):
    path = call_set(
        tmp_path,
        record(7, "0/0", "0/1", "1/1", "./.", "0/1", info="BCSQ=missense|G1|T|;CLNSIG=Benign"),
        record(8, "0/0", "0/0", "0/0", "0/0", "0/0"),
        record(9, "0/1", "0/0", "0/0", "0/0", "1/1", info="population_AF=0.5"),
        samples=NAMES,
    )
    catalogue = pl.DataFrame({"gene_id": ["ENSG00000000001"], "gene_name": ["G1"]})
    table = build(path, catalogue=catalogue)
    assert counts(table, 7) == (4, 4, 8, 3, 1)
    assert counts(table, 7, "low") == (2, 1, 4, 1, 0)
    assert counts(table, 7, "high") == (1, 2, 2, 1, 1)
    assert counts(table, 9, "high") == (2, 0, 4, 0, 0)
    assert 8 not in table["position"]  # nobody carries it
    labels = table.filter(stratum="all").select(
        "gene_id", "gene_name", "consequence", "population_frequency", "clinical_significance"
    )
    assert labels.rows() == [
        ("ENSG00000000001", "G1", "missense", None, "Benign"),
        (None, None, None, 0.5, None),
    ]
    # A name of two genes names none; without a catalogue there is no identifier.
    twice = pl.concat([catalogue, catalogue.with_columns(gene_id=pl.lit("ENSG00000000002"))])
    assert build(path, catalogue=twice)["gene_id"].null_count() == table.height
    assert build(path)["gene_id"].null_count() == table.height


def test_a_stratum_without_a_genotype_has_no_row(tmp_path):
    path = call_set(tmp_path, record(7, "0/1", "0/0", "./.", "./.", "0/0"), samples=NAMES)
    assert build(path)["stratum"].to_list() == ["all", "low"]


def test_haploid_genotypes_count_one_allele(tmp_path):
    path = call_set(
        tmp_path,
        record(7, "0/1", "1/1", "1", "0", "."),
        record(8, "0/1", "1/1", "1", "0", ".", chromosome="X"),
        record(9, "1", "0", "1", "0", ".", chromosome="MT"),
        samples=NAMES,
    )
    table = build(path, settings=SETTINGS.model_copy(update={"minimum_call_rate": 0.5}))
    for position in (7, 8):
        assert counts(table, position) == (4, 4, 6, 3, 1)
        assert counts(table, position, "high") == (2, 1, 2, 1, 0)
    assert counts(table, 9) == (4, 2, 4, 2, 0)


def test_excluded_patients_and_empty_cohorts(tmp_path):
    path = call_set(
        tmp_path,
        record(7, "0/1", "0/0", "0/0", "0/0", "0/0"),
        record(9, "0/1", "0/1", "0/0", "0/0", "0/0"),
        samples=NAMES,
    )
    table = build(path, excluded=["a"])
    assert table["position"].unique().to_list() == [9]
    assert counts(table, 9) == (4, 1, 8, 1, 0)
    assert counts(table, 9, "low") == (1, 1, 2, 1, 0)
    assert build(path, excluded=NAMES).is_empty()
    assert build(path, patients=()).is_empty()
    assert build(call_set(tmp_path, samples=NAMES, name="empty.bcf")).is_empty()
    assert counts(build(path, patients=("b",)), 9) == (1, 1, 2, 1, 0)


def test_multi_allelic_sites_are_variants_of_their_own(tmp_path):
    path = call_set(
        tmp_path,
        record(7, "0/1", "1/0", "0/0", "0/0", "0/0", alleles="A\tT"),
        record(7, "0/0", "0/1", "1/1", "0/0", "0/0", alleles="A\tC"),
        samples=NAMES,
    )
    table = build(path).filter(stratum="all")
    assert table.select("alternate_allele", "allele_count").rows() == [("C", 3), ("T", 2)]


def test_call_rate_is_of_the_patients_who_remain(tmp_path, caplog):
    path = call_set(
        tmp_path,
        record(7, "0/1", "0/0", "0/0", "0/0", "./."),
        record(9, "0/1", "0/0", "0/0", "0/0", "0/0"),
        samples=NAMES,
    )
    settings = OPEN.model_copy(update={"minimum_call_rate": 0.81})
    with caplog.at_level(logging.INFO):
        assert build(path, settings=settings)["position"].unique().to_list() == [9]
    assert "2 variants are carried; 1 are left out for a call rate below 0.81" in caplog.text
    assert build(path, settings=settings, excluded=["e"])["position"].n_unique() == 2
    exact = OPEN.model_copy(update={"minimum_call_rate": 0.8})
    assert build(path, settings=exact)["position"].n_unique() == 2


def test_hardy_weinberg_on_autosomes_only(tmp_path, caplog):
    names = tuple(f"p{number:02d}" for number in range(40))
    every = ["0/1"] * 40  # p about 1e-11
    fair = ["0/0"] * 10 + ["0/1"] * 20 + ["1/1"] * 10
    # Without the haploid genotypes the proportions hold; with them they would not.
    mixed = ["0/0"] * 5 + ["0/1"] * 10 + ["1/1"] * 5 + ["1"] * 20
    path = call_set(
        tmp_path,
        record(1, *every),
        record(2, *fair),
        record(3, *mixed),
        record(1, *every, chromosome="X"),
        record(1, *every, chromosome="MT"),
        samples=names,
    )
    with caplog.at_level(logging.INFO):
        table = build_variant_frequencies(path, names, SETTINGS, None, [])
    kept = table.select("chromosome", "position").rows()
    assert kept == [("1", 2), ("1", 3), ("MT", 1), ("X", 1)]
    assert "5 variants are carried" in caplog.text
    assert "and 1 for a Hardy-Weinberg p-value below 1e-06" in caplog.text


def simulated(tmp_path, n_variants=300, n_patients=23):
    rng = np.random.default_rng(8)
    names = tuple(f"p{number:02d}" for number in range(n_patients))
    lines = []
    for row, frequency in enumerate(rng.beta(0.4, 1, n_variants)):
        genotype = np.where(rng.random(n_patients) < 0.1, 3, rng.binomial(2, frequency, n_patients))
        lines.append(record(row + 1, *(["0/0", "0/1", "1/1", "./."][g] for g in genotype)))
    return call_set(tmp_path, *lines, samples=names), names


def test_blocks_do_not_matter(tmp_path, monkeypatch):
    path, names = simulated(tmp_path)
    strata = pl.DataFrame({"patient": names, "stage": ["x", "y", None] * 7 + ["x", "y"]})
    whole = build_variant_frequencies(path, names, SETTINGS, strata, ["stage"])
    monkeypatch.setattr(genotypes, "VARIANTS_OF_A_BLOCK", 17)
    assert build_variant_frequencies(path, names, SETTINGS, strata, ["stage"]).equals(whole)
    assert 0 < whole["position"].n_unique() < 300


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_bcftools_counts_the_same(tmp_path):
    path, names = simulated(tmp_path)
    tags = "AC,AN,AC_Hom,AC_Het,NS"
    answer = subprocess.run(
        f"bcftools +fill-tags {path} -- -t {tags} | bcftools query -i 'AC>0'"
        " -f '%POS\t%NS\t%AC\t%AN\t%AC_Het\t%AC_Hom\n'",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
    )
    theirs = [tuple(map(int, line.split("\t"))) for line in answer.stdout.splitlines()]
    ours = build_variant_frequencies(path, names, OPEN, None, [])
    assert (
        ours.select(
            "position",
            "n_samples_called",
            "allele_count",
            "allele_number",
            pl.col("n_carriers") - pl.col("n_homozygous"),
            2 * pl.col("n_homozygous"),
        ).rows()
        == theirs
    )
