"""Oxidation and deamination, planted into reads of known orientation."""

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.alignment.artefacts import SUBSTITUTIONS_SCHEMA, artefact_rates, count_substitutions
from ihdsi.study import SampleChecks

LENGTH, READ = 20_000, 100
COMPLEMENT = str.maketrans("ACGT", "TGCA")
SETTINGS = SampleChecks()


def reverse_complement(bases):
    return bases.translate(COMPLEMENT)[::-1]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    rng = np.random.default_rng(3)
    text = "".join(rng.choice(list("ACGT"), LENGTH))
    path.write_text(f">chr1\n{text}\n")
    pysam.faidx(str(path))
    return path, text


def damaged_pairs(text, n, substitution, rate, seed=5, true_rate=0.0):
    """Read pairs of both strands whose template strand is damaged before the adapters are added.

    `true_rate` of the bases are changed in both strands, as a variant is.
    """
    rng = np.random.default_rng(seed)
    source, damage = substitution
    for number in range(n):
        start = int(rng.integers(0, LENGTH - 250))
        fragment = list(text[start : start + 250])
        for place in np.flatnonzero(rng.random(250) < true_rate):
            changed = {source: damage, source.translate(COMPLEMENT): damage.translate(COMPLEMENT)}
            fragment[place] = changed.get(fragment[place], fragment[place])
        is_reverse = bool(rng.random() < 0.5)
        # The template is one of the two strands, read from its 5' end.
        template = reverse_complement("".join(fragment)) if is_reverse else "".join(fragment)
        hits = rng.random(250) < rate
        template = "".join(
            damage if hit and base == source else base
            for base, hit in zip(template, hits, strict=True)
        )
        first, second = template[:READ], reverse_complement(template)[:READ]
        left, right = start, start + 250 - READ
        for mate, bases in ((1, first), (2, second)):
            backwards = is_reverse == (mate == 1)
            read = pysam.AlignedSegment()
            read.query_name = f"r{number}"
            read.flag = 1 | 2 | (64 if mate == 1 else 128) | (16 if backwards else 32)
            read.query_sequence = reverse_complement(bases) if backwards else bases
            read.query_qualities = pysam.qualitystring_to_array("I" * READ)
            read.reference_id = read.next_reference_id = 0
            read.reference_start = right if backwards else left
            read.next_reference_start = left if backwards else right
            read.mapping_quality = 60
            read.cigartuples = [(0, READ)]
            yield read


def written(path, reads):
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": LENGTH}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as bam:
        for read in sorted(reads, key=lambda read: read.reference_start):
            bam.write(read)
    pysam.index(str(path))
    return path


@pytest.mark.parametrize(
    ("substitution", "found", "other"),
    [("GT", "oxidation_artefact_rate", "deamination_artefact_rate"),
     ("CT", "deamination_artefact_rate", "oxidation_artefact_rate")],
)  # fmt: skip
def test_planted_damage_is_found_and_named(tmp_path, genome, substitution, found, other):
    path, text = genome
    rate = 0.004
    bam = written(tmp_path / "a.bam", damaged_pairs(text, 3000, substitution, rate))
    rates = artefact_rates(count_substitutions(bam, path, SETTINGS))
    # Half of the C and G of a template are of the kind that was damaged.
    assert rates[found] == pytest.approx(1e6 * rate / 2, rel=0.15)
    assert rates[other] < 20


@pytest.mark.parametrize("substitution", ["GT", "CT"])
def test_variants_are_no_damage(tmp_path, genome, substitution):
    path, text = genome
    bam = written(tmp_path / "a.bam", damaged_pairs(text, 2000, substitution, 0, true_rate=0.004))
    substitutions = count_substitutions(bam, path, SETTINGS)
    changed = substitutions.filter(pl.col("template_base") != pl.col("read_base"))["n"].sum()
    assert changed > 500
    assert max(artefact_rates(substitutions).values()) < 400


def test_a_variant_seen_in_one_orientation_is_no_damage(tmp_path, genome):
    path, text = genome
    place = text.index("C", 1050)
    changed = text[:place] + "T" + text[place + 1 :]
    reads = []
    for number, sequence in enumerate([changed] * 20 + [text] * 20):
        read = next(damaged_pairs(text, 1, "CT", 0))
        read.flag, read.query_name = 99, f"one_way{number}"
        read.reference_start = 1000 + number % 20
        read.query_sequence = sequence[read.reference_start : read.reference_start + READ]
        read.query_qualities = pysam.qualitystring_to_array("I" * READ)
        reads.append(read)
    substitutions = count_substitutions(written(tmp_path / "a.bam", reads), path, SETTINGS)
    # The site goes, and nothing else.
    assert substitutions["n"].sum() == 40 * (READ - 1)
    assert artefact_rates(substitutions)["deamination_artefact_rate"] == 0


def test_reads_are_bounded_and_the_sample_is_spread(tmp_path, genome):
    path, text = genome
    bam = written(tmp_path / "a.bam", damaged_pairs(text, 1000, "GT", 0))
    everything = count_substitutions(bam, path, SampleChecks(artefact_reads=10**7))["n"].sum()
    # All reads begin in a window, because the windows of a small genome leave no gap.
    assert everything == 2000 * READ
    few = count_substitutions(bam, path, SampleChecks(artefact_reads=400))["n"].sum()
    assert 200 * READ < few <= 400 * READ
    bed = tmp_path / "targets.bed"
    bed.write_text("chr1\t1000\t2000\nchr1\t1500\t3000\nchr9\t0\t100\n")
    inside = count_substitutions(bam, path, SampleChecks(artefact_reads=10**7), bed)["n"].sum()
    with pysam.AlignmentFile(str(bam)) as reads:
        n_inside = sum(1000 <= read.reference_start < 3000 for read in reads)
    assert inside == n_inside * READ


def test_what_is_left_out(tmp_path, genome):
    path, text = genome

    def changed(**attributes):
        read = next(damaged_pairs(text, 1, "GT", 0))
        for name, value in attributes.items():
            setattr(read, name, value)
        return read

    reads = [
        changed(flag=1024 | 65),
        changed(flag=256 | 65),
        changed(flag=2048 | 65),
        changed(mapping_quality=19),
        changed(query_qualities=pysam.qualitystring_to_array("0" * READ)),
        changed(cigartuples=[(0, 50), (1, 2), (0, 48)]),
        changed(cigartuples=[(4, 10), (0, 80), (4, 10)]),
    ]
    substitutions = count_substitutions(written(tmp_path / "a.bam", reads), path, SETTINGS)
    assert substitutions["n"].sum() == 80


def test_rate_by_hand():
    counts = {("G", "T"): 30, ("C", "A"): 10, ("G", "G"): 4000, ("C", "C"): 5960}
    counts |= {("C", "T"): 3, ("G", "A"): 7}
    frame = pl.DataFrame(
        [(*pair, n) for pair, n in counts.items()], schema=SUBSTITUTIONS_SCHEMA, orient="row"
    )
    assert artefact_rates(frame) == {
        "oxidation_artefact_rate": pytest.approx(1e6 * 20 / 10_000),
        "deamination_artefact_rate": 0.0,
    }


def test_nothing_counted_is_no_rate(tmp_path, genome):
    path, _ = genome
    substitutions = count_substitutions(written(tmp_path / "a.bam", []), path, SETTINGS)
    assert substitutions.height == 16
    assert artefact_rates(substitutions) == {}
    assert artefact_rates(pl.DataFrame(schema=SUBSTITUTIONS_SCHEMA)) == {}
