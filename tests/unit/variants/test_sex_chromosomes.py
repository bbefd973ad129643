"""Copies of X and Y, on genotypes whose truth is known."""

import numpy as np
import polars as pl
import pytest

from cohort_in_memory import Cohort
from ihdsi.disclosure import apply_disclosure_control
from ihdsi.study import DisclosureSettings, GermlineFilters, SexCheck
from ihdsi.summaries.variant_frequencies import count_alleles
from ihdsi.variants.genotypes import GenotypeBlock
from ihdsi.variants.sex_chromosomes import (
    PSEUDOAUTOSOMAL,
    build_of_call_set,
    recorded_sexes,
    with_copies_of_sex,
)

PATIENTS = ("man", "boy", "woman", "unknown")
SEXES = {"man": "male", "boy": "male", "woman": "female"}
HG38 = "GRCh38 (hg38)"
OPEN = GermlineFilters(minimum_call_rate=0.0)


def block(chromosome, genotypes, position=5_000_000, patients=PATIENTS):
    """`genotypes`: a text such as "1/1 0/1 . 0" for each variant."""
    rows = [text.split() for text in genotypes]
    alleles = [[[a for a in g.split("/") if a != "."] for g in row] for row in rows]
    n = len(rows)
    return GenotypeBlock(
        patients=patients,
        chromosome=chromosome,
        position=np.arange(position, position + n, dtype=np.int64),
        reference_alleles=["A"] * n,
        alternate_alleles=["G"] * n,
        consequences=[None] * n,
        population_frequency=np.full(n, np.nan),
        clinical_significance=[None] * n,
        dosage=np.array([[g.count("1") for g in row] for row in alleles], dtype=np.int8),
        ploidy=np.array([[len(g) for g in row] for row in alleles], dtype=np.int8),
        absent=np.zeros((n, len(patients)), dtype=bool),
    )


def converted(chromosome, genotypes, sexes=SEXES, build=HG38, position=5_000_000):
    (found,) = with_copies_of_sex([block(chromosome, genotypes, position)], sexes, build)
    return [
        " ".join(f"{d}/{p}" for d, p in zip(*row, strict=True))
        for row in zip(found.dosage.tolist(), found.ploidy.tolist(), strict=True)
    ], found.n_possible


@pytest.mark.parametrize("chromosome", ["X", "chrX", "chrx"])
def test_men_have_one_allele_on_x(chromosome):
    # Dosage / ploidy of man, boy, woman, and the patient whose sex is not recorded.
    found, possible = converted(
        chromosome, ["1/1 0/1 0/1 1/1", "0/0 1 1/1 0/0", "./. 0 . 0", "1/1 1/1 0/0 ./."]
    )
    assert found == [
        "1/1 0/0 1/2 0/0",
        "0/1 1/1 2/2 0/0",
        "0/0 0/1 0/0 0/0",
        "1/1 1/1 0/2 0/0",
    ]
    assert possible.tolist() == [3, 3, 3, 3]


def test_women_have_none_on_y():
    found, possible = converted("chrY", ["1/1 0/0 0/0 1/1", "0/1 1 1/1 ."])
    assert found == ["1/1 0/1 0/0 0/0", "0/0 1/1 0/0 0/0"]
    assert possible.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("chromosome", "region"), [(name, region) for name in ("X", "Y") for region in (0, 1)]
)
@pytest.mark.parametrize("build", list(PSEUDOAUTOSOMAL))
def test_pseudoautosomal_regions_are_diploid_to_their_last_base(chromosome, region, build):
    first, last = PSEUDOAUTOSOMAL[build][chromosome][region]
    inside = converted(chromosome, ["0/1 1/1 0/1 1/1"], build=build, position=first)
    assert inside[0] == ["1/2 2/2 1/2 2/2"]
    assert inside[1].tolist() == [4]
    for position, single in ((first - 1, True), (last, False), (last + 1, True)):
        found, _ = converted(chromosome, ["0/1 1/1 0/1 1/1"], build=build, position=position)
        assert (found[0].split()[1] == "1/1") == single
    # Another genome, such as a simulated one, has none.
    other, _ = converted(chromosome, ["0/1 1/1 0/1 1/1"], build=None, position=first)
    assert other[0].startswith("0/0 1/1")


def test_other_chromosomes_and_unrecorded_sexes_stay_as_they_are():
    for chromosome, sexes in (("chr1", SEXES), ("MT", SEXES), ("X", None)):
        given = block(chromosome, ["0/1 1/1 0 ."])
        (found,) = with_copies_of_sex([given], sexes, HG38)
        assert found is given


def test_recorded_sexes():
    clinical = pl.DataFrame({"patient": ["a", "b", "c"], "sex": ["F", "M", None]})
    check = SexCheck(variable="sex", female="F", male="M")
    assert recorded_sexes(clinical, check) == {"a": "female", "b": "male"}
    assert recorded_sexes(None, check) is None
    assert recorded_sexes(clinical, None) is None


def test_build_of_a_call_set(tmp_path):
    def header(length):
        path = tmp_path / f"{length}.vcf"
        path.write_text(
            f"##fileformat=VCFv4.2\n##contig=<ID=chr1,length={length}>\n"
            "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        )
        return build_of_call_set(path)

    assert header(248_956_422) == HG38
    assert header(249_250_621) == "GRCh37 (hg19)"
    assert header(1000) is None


def test_call_rates_are_of_those_who_can_have_the_allele():
    # 2 of 2 men called on Y, 1 of 2 in the second variant; the women do not count.
    blocks = with_copies_of_sex([block("Y", ["1/1 0/0 . .", "1/1 ./. . ."])], SEXES, None)
    table = count_alleles(blocks, PATIENTS, GermlineFilters(minimum_call_rate=0.9), None, [])
    assert table["position"].to_list() == [5_000_000]
    assert table.select("n_samples_called", "allele_count", "allele_number").rows() == [(2, 1, 2)]


def test_frequencies_on_x_are_right_and_pass_disclosure_control():
    rng = np.random.default_rng(11)
    n, frequency = 400, 0.3
    patients = tuple(f"p{i}" for i in range(n))
    sexes = {name: ("male" if i % 2 else "female") for i, name in enumerate(patients)}
    male = np.array([sexes[name] == "male" for name in patients])
    copies = np.where(male, rng.binomial(1, frequency, n), rng.binomial(2, frequency, n))
    # As a diploid caller writes it: a man's one allele as a homozygote.
    written = np.where(male, 2 * copies, copies).astype(np.int8)
    texts = " ".join(("0/0", "0/1", "1/1")[dosage] for dosage in written)
    given = block("chrX", [texts], patients=patients)
    clinical = pl.DataFrame({"patient": patients, "sex": [sexes[name] for name in patients]})
    naive = count_alleles([given], patients, OPEN, clinical, ["sex"])
    table = count_alleles(
        with_copies_of_sex([given], sexes, HG38), patients, OPEN, clinical, ["sex"]
    )
    whole = table.filter(stratum="all").row(0, named=True)
    assert whole["allele_number"] == 600
    assert whole["allele_count"] == copies.sum()
    assert whole["n_homozygous"] == ((copies == 2) & ~male).sum()
    assert naive.filter(stratum="all")["allele_number"].item() == 800
    settings = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
    people = Cohort(clinical, tuple(with_copies_of_sex([given], sexes, HG38)))
    cleared, _ = apply_disclosure_control(
        {"variant_frequencies": table}, settings, [], {}, genotypes=people
    )
    released = cleared["variant_frequencies"]
    assert released.filter(stratum="all")["allele_number"].item() == 600
    assert (released["allele_count"] <= released["allele_number"]).all()
