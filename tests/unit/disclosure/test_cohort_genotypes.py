"""Genotypes for the membership judgement are those that build_variant_frequencies counts."""

import numpy as np
import polars as pl
import pytest

from germline_files import call_set, record
from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.cohort_genotypes import CohortGenotypes
from ihdsi.errors import InputError
from ihdsi.study import DisclosureSettings, GermlineFilters
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.variant_frequencies import build_variant_frequencies
from ihdsi.variants.cohort_genotypes import cohort_blocks, genotypes_of_variants

N = 60
NAMES = tuple(f"patient{number:02d}" for number in range(N))
OPEN = GermlineFilters(minimum_call_rate=0.5, minimum_hardy_weinberg_p_value=0)
SEXES = {name: "male" if number % 2 else "female" for number, name in enumerate(NAMES)}
CLINICAL = pl.DataFrame({"patient": list(NAMES), "stage": ["low", "high"] * (N // 2)})
NO_GENES = pl.DataFrame(schema={"gene_id": pl.String, "gene_name": pl.String})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Calls of sixty patients with missing, shallow and X-chromosomal genotypes."""
    rng = np.random.default_rng(4)
    lines = []
    for chromosome, first in (("1", 100), ("2", 200), ("X", 300)):
        for position in range(first, first + 8):
            samples = []
            for copies in rng.binomial(2, rng.uniform(0.2, 0.6), N):
                genotype = ("0/0", "0/1", "1/1")[copies] if rng.random() > 0.1 else "./."
                samples.append(f"{genotype}:{rng.choice([5, 30], p=[0.1, 0.9])}")
            lines.append(record(position, *samples, chromosome=chromosome, keys="GT:DP"))
    # The file's columns are in another order than the patients.
    return call_set(tmp_path_factory.mktemp("calls"), *lines, samples=NAMES[::-1])


def source(path, patients=NAMES, sexes=SEXES):
    strata = stratify(pl.Series("patient", patients), CLINICAL, ["stage"])
    return CohortGenotypes(path, tuple(patients), OPEN, strata, NO_GENES, sexes=sexes)


def counted(path, excluded=()):
    return build_variant_frequencies(
        path, NAMES, OPEN, CLINICAL, ["stage"], excluded=excluded, sexes=SEXES
    )


def test_genotypes_add_up_to_the_table(path):
    excluded = NAMES[:7]
    table = counted(path, excluded)
    kept = source(path, [name for name in NAMES if name not in excluded])
    for stratum in ("all", "low", "high"):
        part = table.filter(stratum=stratum).sample(fraction=1, shuffle=True, seed=1)
        dosage, ploidy = kept.read(part)
        inside = set(kept.strata.filter(stratum=stratum)["patient"])
        columns = [name in inside for name in kept.patients]
        assert dosage[:, columns].sum(axis=1).tolist() == part["allele_count"].to_list()
        assert ploidy[:, columns].sum(axis=1).tolist() == part["allele_number"].to_list()
    assert part.filter(chromosome="X").height == 8


def test_what_is_released_needs_the_same_patients_and_sexes(path):
    settings = DisclosureSettings(maximum_membership_power=0.5)
    tables = {"variant_frequencies": counted(path)}
    cleared, _ = apply_disclosure_control(tables, settings, [], {}, genotypes=source(path))
    assert 0 < cleared["variant_frequencies"].height <= 24
    for wrong in (source(path, NAMES[1:]), source(path, sexes=None)):
        with pytest.raises(InputError, match="are not those that were counted"):
            apply_disclosure_control(tables, settings, [], {}, genotypes=wrong)


def test_no_variants_and_variants_of_another_call_set(path):
    table = counted(path)
    dosage, ploidy = source(path).read(table.clear())
    assert dosage.shape == ploidy.shape == (0, N)
    moved = table.head(1).with_columns(position=pl.lit(1))
    with pytest.raises(InputError, match="not at all, the first at 1:1"):
        source(path).read(moved)
    twice = [*cohort_blocks(path, NAMES, OPEN), *cohort_blocks(path, NAMES, OPEN)]
    with pytest.raises(InputError, match="more than once"):
        genotypes_of_variants(twice, NAMES, table.filter(stratum="all").head(1))
