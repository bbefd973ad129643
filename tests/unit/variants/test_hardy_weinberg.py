"""The exact test against bcftools and against sums by hand."""

import math
import shutil
import subprocess

import numpy as np
import pytest

from ihdsi.variants.hardy_weinberg import hardy_weinberg_p_values, is_autosome


def by_hand(reference, heterozygous, homozygous):
    """Sum of probabilities, with whole numbers throughout."""
    n = reference + heterozygous + homozygous
    copies = 2 * homozygous + heterozygous
    first, last = copies % 2, min(copies, 2 * n - copies)
    # C(n, h) C(n - h, (copies - h)/2) 2^h; each from the one before, which divides exactly.
    ways = {first: math.comb(n, first) * math.comb(n - first, (copies - first) // 2) * 2**first}
    for h in range(first, last, 2):
        further = ways[h] * 4 * ((copies - h) // 2) * (n - (copies + h) // 2)
        ways[h + 2], rest = divmod(further, (h + 1) * (h + 2))
        assert not rest
    observed = ways[heterozygous]
    return sum(count for count in ways.values() if count <= observed) / sum(ways.values())


def test_whole_number_arithmetic():
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 40, (300, 3))
    p = hardy_weinberg_p_values(*counts.T)
    assert p == pytest.approx([by_hand(*map(int, row)) for row in counts], rel=1e-9)
    assert ((p > 0) & (p <= 1)).all()


def test_known_values_and_symmetry():
    # 57, 14, 50: the example in the help of R's HardyWeinberg::HWExact has heterozygote deficit.
    p = hardy_weinberg_p_values([5, 100, 0, 0, 25], [0, 0, 0, 10, 50], [5, 0, 0, 0, 25])
    assert p[1] == p[2] == 1.0
    assert p[0] == pytest.approx(by_hand(5, 0, 5))
    assert p[3] == pytest.approx(by_hand(0, 10, 0))
    assert p[4] == pytest.approx(1.0)
    assert hardy_weinberg_p_values(57, 14, 50) == hardy_weinberg_p_values(50, 14, 57)


def test_a_large_cohort_keeps_its_precision():
    p = hardy_weinberg_p_values([90_000, 99_800], [9_500, 150], [500, 50])
    assert p[0] == pytest.approx(by_hand(90_000, 9_500, 500), rel=1e-6)
    assert 0 < p[1] < 1e-60


def test_shapes_and_refusals():
    assert hardy_weinberg_p_values([], [], []).shape == (0,)
    assert hardy_weinberg_p_values(3, 2, 1).shape == (1,)
    with pytest.raises(ValueError, match="negative"):
        hardy_weinberg_p_values([1], [-1], [1])


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_bcftools_agrees(tmp_path):
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 30, (60, 3))
    n = int(counts.sum(axis=1).max())
    lines = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=1,length=1000>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
        + "\t".join(f"s{number}" for number in range(n)),
    ]
    for position, (reference, heterozygous, homozygous) in enumerate(counts, 1):
        genotypes = ["0/0"] * reference + ["0/1"] * heterozygous + ["1/1"] * homozygous
        genotypes += ["./."] * (n - len(genotypes))
        lines.append(f"1\t{position}\t.\tA\tG\t.\t.\t.\tGT\t" + "\t".join(genotypes))
    path = tmp_path / "cohort.vcf"
    path.write_text("\n".join(lines) + "\n")
    answer = subprocess.run(
        f"bcftools +fill-tags {path} -- -t HWE | bcftools query -f '%HWE\n'",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
    )
    theirs = [float(line) for line in answer.stdout.split()]
    # bcftools prints six digits.
    assert hardy_weinberg_p_values(*counts.T) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "autosome"),
    [("1", True), ("chr22", True), ("X", False), ("chrY", False), ("MT", False), ("chrM", False)],
)
def test_autosomes(name, autosome):
    assert is_autosome(name) is autosome
