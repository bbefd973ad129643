import gzip
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.simulate.demo_study import simulate_demo_study
from ihdsi.simulate.genome import COMPLEMENT
from ihdsi.simulate.reads import (
    build_haplotype,
    dna_fragments,
    rna_fragments,
    simulate_sample_reads,
)

SEED = 20260401
PROJECT = Path(__file__).parents[3]
REFERENCE = np.frombuffer(b"ACGTACGTACGTACGTACGT", dtype=np.uint8)


def variants(*rows):
    schema = {
        "global_position": pl.Int64,
        "reference_allele": pl.String,
        "alternate_allele": pl.String,
    }
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def test_haplotype_holds_substitutions_insertions_and_deletions():
    haplotype = build_haplotype(
        REFERENCE, variants((12, "ACG", "A"), (1, "C", "T"), (5, "C", "CGGG"))
    )
    assert haplotype.sequence.tobytes() == b"ATGTACGGGGTACGTATACGT"
    #                                        ACGTAC---GTACGTACGTACGT without variants
    assert haplotype.lift(np.array([0, 5, 6, 12, 15, 20])).tolist() == [0, 5, 9, 15, 16, 21]
    assert haplotype.sequence[haplotype.lift(np.array([16]))[0]] == REFERENCE[16]


def test_haplotype_without_variants_is_the_reference():
    haplotype = build_haplotype(REFERENCE, variants())
    assert np.array_equal(haplotype.sequence, REFERENCE)
    assert haplotype.lift(np.array([3])).tolist() == [3]


def test_dna_fragments_give_depth_duplicates_and_allele_share():
    rng = np.random.default_rng(1)
    sequence = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, 20_000)]
    other = sequence.copy()
    other[5_000] = ord("A") if sequence[5_000] != ord("A") else ord("C")
    haplotypes = [
        (build_haplotype(sequence, variants()), np.full(3, 0.7)),
        (build_haplotype(other, variants()), np.full(3, 0.3)),
    ]
    starts, ends = np.array([2_000, 4_900, 5_400]), np.array([2_600, 5_100, 6_400])
    fragments = dna_fragments(rng, haplotypes, (starts, ends), depth=400.0)
    place = fragments.start % len(sequence)
    assert fragments.length.min() >= 100
    overlapping = (place[:, None] < ends) & ((place + fragments.length)[:, None] > starts)
    assert overlapping.any(axis=1).all()

    coverage = np.zeros(len(sequence) + 400)
    for start in (place, place + fragments.length - 100):
        np.add.at(coverage, start, 1)
        np.add.at(coverage, start + 100, -1)
    depth = np.cumsum(coverage)
    mask = np.zeros(len(depth), dtype=bool)
    for start, end in zip(starts, ends, strict=True):
        mask[start:end] = True
    assert depth[mask].mean() == pytest.approx(400, rel=0.03)
    assert depth[7_000:].max() == 0

    keys = np.stack([fragments.start, fragments.length, fragments.reverse])
    duplicated = 1 - np.unique(keys, axis=1).shape[1] / keys.shape[1]
    assert 0.08 <= duplicated < 0.13  # plus a few that coincide by chance at this depth
    covers = (place <= 5_000) & (place + fragments.length > 5_000)
    from_other = fragments.start[covers] >= len(sequence)
    assert from_other.mean() == pytest.approx(0.3, abs=0.05)


def test_dna_fragments_follow_the_copies_of_each_target():
    rng = np.random.default_rng(4)
    sequence = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, 30_000)]
    starts = np.arange(5) * 5_000 + 1_000
    ends = starts + 800
    first, second = np.array([0.5, 0.5, 0.5, 0.0, 0.0]), np.array([0.5, 3.0, 0.0, 0.0, 0.5])
    haplotype = build_haplotype(sequence, variants())
    fragments = dna_fragments(
        rng, [(haplotype, first), (haplotype, second)], (starts, ends), depth=200.0
    )
    place = fragments.start % len(sequence)
    per_target = np.histogram(place, bins=np.append(starts - 400, 30_000))[0]
    assert per_target[3] == 0
    assert per_target / per_target[0] == pytest.approx([1, 3.5, 0.5, 0, 0.5], rel=0.08)
    from_second = np.bincount(
        np.searchsorted(starts - 400, place, side="right") - 1,
        weights=fragments.start >= len(sequence),
        minlength=5,
    )
    assert from_second[1] / per_target[1] == pytest.approx(3 / 3.5, abs=0.03)
    assert from_second[2] == 0


def test_rna_fragments_are_as_many_as_asked_and_inside_transcripts():
    rng = np.random.default_rng(2)
    reference = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, 5_000)]
    transcripts = pl.DataFrame(
        {
            "transcript_id": ["a-201", "a-202", "b-201", "c-201"],
            "gene_id": ["a", "a", "b", "c"],
            "share": [0.75, 0.25, 1.0, 1.0],
            "exon_start": [[0, 700], [0], [1500], [3000]],
            "exon_end": [[500, 1200], [500], [2100], [3150]],
        }
    )
    fragments = rna_fragments(
        rng,
        reference,
        transcripts,
        pl.DataFrame({"gene_id": ["a", "b", "c"], "true_fragments": [9_000, 0, 300]}),
    )
    assert len(fragments) == 9_300
    bounds = np.array([0, 1000, 1500, 2100, 2250])
    transcript = np.searchsorted(bounds, fragments.start, side="right") - 1
    assert ((fragments.start + fragments.length) <= bounds[transcript + 1]).all()
    assert np.bincount(transcript, minlength=4).tolist()[2:] == [0, 300]
    expected = 0.75 * (1000 - 219) / (0.75 * (1000 - 219) + 0.25 * (500 - 219))
    assert (transcript == 0).sum() / 9_000 == pytest.approx(expected, abs=0.02)
    assert 0.45 < fragments.reverse.mean() < 0.55


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    resources = PROJECT / "resources"
    simulate_demo_study(
        SEED, resources / "bladder_gene_panel.tsv", resources / "cell_type_markers.tsv", folder
    )
    return folder


def run(root, folder, sample, lane, lanes):
    outputs = [folder / f"{sample}_{lane}_R{mate}.fastq.gz" for mate in (1, 2)]
    simulate_sample_reads(
        SEED,
        sample,
        lane,
        lanes,
        genome=root / "reference/genome.fa",
        targets=root / "reference/targets.bed",
        truth=root / "truth",
        fastq_1=outputs[0],
        fastq_2=outputs[1],
    )
    return outputs


def test_unknown_sample_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="LIH-9999-T"):
        run(root, tmp_path, "LIH-9999-T", "L001", ("L001",))


@pytest.mark.skipif(shutil.which("art_illumina") is None, reason="ART is not installed")
def test_rna_reads_of_two_lanes(root, tmp_path):
    lanes = ("L001", "L002")
    pairs, names = 0, set()
    for lane in lanes:
        texts = []
        for path in run(root, tmp_path, "NCCK-0001-R", lane, lanes):
            with gzip.open(path, "rt") as stream:
                texts.append(stream.read().splitlines())
        first, second = texts
        assert first[0].endswith(" 1:N:0:1")
        assert second[0].endswith(" 2:N:0:1")
        assert [n.split()[0] for n in first[::4]] == [n.split()[0] for n in second[::4]]
        assert "NCCK" not in "".join(first[::4])
        assert {len(line) for line in first[1::4] + second[3::4]} == {100}
        pairs += len(first) // 4
        names |= set(first[::4])
    assert pairs == len(names) == 60_000

    # Reads 1 come from both strands of the transcripts.
    genome = b"".join(
        line.encode()
        for line in (root / "reference/genome.fa").read_text().splitlines()
        if not line.startswith(">")
    )
    reads = [read[:30].encode() for read in first[1:8001:4]]
    forward = sum(read in genome for read in reads)
    flipped = [COMPLEMENT[np.frombuffer(r, np.uint8)[::-1]].tobytes() for r in reads]
    backward = sum(read in genome for read in flipped)
    assert 0.7 < forward / backward < 1.4


@pytest.mark.skipif(shutil.which("art_illumina") is None, reason="ART is not installed")
def test_same_seed_same_bytes(root, tmp_path):
    one = run(root, tmp_path / "one", "LIH-0001-R", "L001", ("L001",))
    two = run(root, tmp_path / "two", "LIH-0001-R", "L001", ("L001",))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
