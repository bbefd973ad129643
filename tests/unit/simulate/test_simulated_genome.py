import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ihdsi.simulate.copy_number import ALTERED_GENES
from ihdsi.simulate.genome import (
    AMINO_ACIDS,
    COMPLEMENT,
    base_codes,
    gene_list,
    read_gene_panel,
    read_targets,
    simulate_genome,
    target_intervals,
    write_annotation,
    write_genome_fasta,
    write_targets,
)

PROJECT = Path(__file__).parents[3]
PANEL = PROJECT / "resources/bladder_gene_panel.tsv"
SEED = 7


@pytest.fixture(scope="module")
def genome():
    return simulate_genome(SEED, gene_list(read_gene_panel(PANEL)))


def spliced(genome, transcript_id, kind):
    parts = genome.features.filter(
        (pl.col("transcript_id") == transcript_id) & (pl.col("kind") == kind)
    ).sort("start")
    sequence = genome.sequences[parts["chromosome"][0]]
    pieces = [sequence[s:e] for s, e in parts.select("start", "end").iter_rows()]
    bases = np.concatenate(pieces)
    return bases if parts["strand"][0] == "+" else COMPLEMENT[bases[::-1]]


def test_panel_ids_and_roles():
    panel = read_gene_panel(PANEL)
    assert panel.columns == ["gene_name", "gene_id", "role", "source"]
    assert panel["gene_id"].str.contains(r"^ENSG\d{11}$").all()
    assert panel["gene_name"].is_unique().all()
    assert panel["gene_id"].is_unique().all()
    roles = {"oncogene", "tumour_suppressor", "expression_marker", "passenger_control"}
    assert set(panel["role"]) == roles
    assert panel["source"].str.contains(r"(19|20)\d\d, .+ \d+:").all()
    ids = dict(panel.select("gene_name", "gene_id").iter_rows())
    assert ids["TP53"] == "ENSG00000141510"
    assert ids["FGFR3"] == "ENSG00000068078"


def test_gene_ids_fit_the_contract(genome):
    assert genome.genes.height == 300
    assert genome.genes["gene_id"].str.contains(r"^ENS[A-Z]*G\d{11}$").all()
    assert genome.genes["gene_name"].is_unique().all()
    assert genome.genes["strand"].n_unique() == 2


def test_every_coding_sequence_is_open(genome):
    for transcript in genome.transcripts["transcript_id"]:
        coding = spliced(genome, transcript, "CDS")
        assert len(coding) % 3 == 0
        assert coding[:3].tobytes() == b"ATG"
        protein = AMINO_ACIDS[base_codes(coding).reshape(-1, 3) @ np.array([16, 4, 1])].tobytes()
        assert protein.index(b"*") == len(protein) - 1


def test_introns_are_canonical(genome):
    primary = genome.primary_transcripts.select("transcript_id")
    exons = genome.features.filter(pl.col("kind") == "exon").join(primary, on="transcript_id")
    counts = exons.group_by("transcript_id").len()["len"]
    assert counts.min() >= 2
    assert counts.max() <= 6
    for parts in exons.partition_by("transcript_id", as_dict=True).values():
        sequence = genome.sequences[parts["chromosome"][0]]
        for end, start in zip(parts["end"][:-1], parts["start"][1:], strict=True):
            intron = sequence[end:start]
            intron = intron if parts["strand"][0] == "+" else COMPLEMENT[intron[::-1]]
            assert intron[:2].tobytes() + intron[-2:].tobytes() == b"GTAG"


def test_appending_genes_keeps_the_others(genome):
    panel = read_gene_panel(PANEL)
    longer = simulate_genome(SEED, gene_list(panel, 306))
    columns = ["gene_id", "chromosome", "strand", "start", "end", "coding_length"]
    assert longer.genes.head(300).select(columns).equals(genome.genes.select(columns))
    for name, sequence in genome.sequences.items():
        body = len(sequence) - 1500
        assert np.array_equal(longer.sequences[name][:body], sequence[:body])


def test_sex_chromosomes_hold_targeted_genes(genome):
    on = dict(genome.genes.select("gene_name", "chromosome").iter_rows())
    assert {name for name in ("KDM6A", "STAG2", "RBM10") if on[name] == "chrX"} == {
        "KDM6A", "STAG2", "RBM10"
    }  # fmt: skip
    targeted = genome.genes.filter("is_targeted")["chromosome"].value_counts()
    counts = dict(targeted.iter_rows())
    assert counts["chrX"] >= 6
    assert counts["chrY"] == 1
    assert min(counts[f"chr{number}"] for number in range(1, 7)) >= 10
    altered = genome.genes.filter(pl.col("gene_name").is_in(list(ALTERED_GENES)))
    assert altered["is_targeted"].all()
    assert not altered["chromosome"].is_in(["chrX", "chrY"]).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_promoter_of_tert_is_targeted_and_has_its_base(seed):
    # Some of these seeds put the gene on the reverse strand.
    genome = simulate_genome(seed, gene_list(read_gene_panel(PANEL)).head(60))
    promoter = genome.promoters.row(0, named=True)
    transcript = genome.features.filter(pl.col("transcript_id") == "TERT-201")
    coding = transcript.filter(pl.col("kind") == "CDS")
    forward = promoter["strand"] == "+"
    first = coding["start"].min() if forward else coding["end"].max() - 1
    assert abs(promoter["site"] - first) == 124
    assert (promoter["site"] < first) == forward
    base = genome.sequences[promoter["chromosome"]][promoter["site"]]
    assert chr(base if forward else COMPLEMENT[base]) == "C"
    assert promoter["start"] <= promoter["site"] < promoter["end"]  # outside the transcript
    own = target_intervals(genome).filter(pl.col("gene_name") == "TERT")
    inside = own.filter((pl.col("start") <= promoter["start"]) & (pl.col("end") >= promoter["end"]))
    assert inside.height == 1


def test_the_seeds_of_that_test_put_the_promoter_on_both_strands():
    panel = gene_list(read_gene_panel(PANEL)).head(60)
    assert {simulate_genome(seed, panel).promoters["strand"][0] for seed in range(4)} == {"+", "-"}


def test_targets_are_disjoint_and_of_panel_size(genome, tmp_path):
    targets = target_intervals(genome)
    total = (targets["end"] - targets["start"]).sum()
    assert 100_000 <= total <= 130_000
    by_chromosome = targets.with_columns(last=pl.col("end").shift(1).over("chromosome"))
    assert (by_chromosome["start"] > by_chromosome["last"]).drop_nulls().all()
    write_targets(genome, tmp_path / "targets.bed")
    assert read_targets(tmp_path / "targets.bed").equals(targets)


@pytest.mark.skipif(shutil.which("gffread") is None, reason="gffread is not installed")
def test_gffread_extracts_the_same_transcripts(genome, tmp_path):
    write_genome_fasta(genome, tmp_path / "genome.fa")
    write_annotation(genome, tmp_path / "a.gff3")
    subprocess.run(
        ["gffread", "a.gff3", "-g", "genome.fa", "-w", "tx.fa", "-x", "cds.fa"],
        cwd=tmp_path,
        check=True,
    )
    for name, kind in (("tx.fa", "exon"), ("cds.fa", "CDS")):
        records = (tmp_path / name).read_text().split(">")[1:]
        assert len(records) == genome.transcripts.height
        for record in records[::20]:
            header, *lines = record.splitlines()
            transcript = header.split()[0].removeprefix("transcript:")
            expected = spliced(genome, transcript, kind).tobytes().decode()
            assert "".join(lines) == expected
