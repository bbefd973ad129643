"""A small genome with protein-coding genes, in the form that csq, gffread and bwa expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.files import atomic_output, write_text
from ihdsi.simulate.streams import stream

__all__ = [
    "AMINO_ACIDS",
    "BASES",
    "COMPLEMENT",
    "PROMOTER_SITES",
    "SEX_CHROMOSOMES",
    "Genome",
    "base_codes",
    "gene_list",
    "read_gene_panel",
    "read_targets",
    "simulate_genome",
    "target_intervals",
    "write_annotation",
    "write_genome_fasta",
    "write_targets",
]

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

BASES: Bytes = np.frombuffer(b"ACGT", dtype=np.uint8)
COMPLEMENT: Bytes = np.arange(256, dtype=np.uint8)
COMPLEMENT[BASES] = BASES[::-1]

# Standard genetic code (NCBI translation table 1) with codons in the order AAA, AAC, AAG, ... TTT.
AMINO_ACIDS: Bytes = np.frombuffer(
    b"KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF", dtype=np.uint8
)

AUTOSOMES = tuple(f"chr{number}" for number in range(1, 7))
SEX_CHROMOSOMES = ("chrX", "chrY")
CHROMOSOMES = (*AUTOSOMES, *SEX_CHROMOSOMES)
# Panel genes that lie on the X chromosome in man; every seventh filler keeps them company, so that
# a sample's sex can be read from the coverage of several targeted genes.
X_GENES = ("KDM6A", "STAG2", "RBM10")
X_FILLER_INTERVAL = 7
Y_GENES = ("SIM0002",)
N_GENES = 300
N_TARGETED_GENES = 90
TARGET_FLANK = 20
SPACER_LENGTH = (1500, 2900)
INTRON_LENGTH = (80, 400)
CODONS = (190, 300)
MINIMUM_EXON = 60
TAIL_LENGTH = 1500
FILLER_ID = "ENSSIMG{:011d}"

# Recurrent promoter mutation, by gene: the position relative to the A of the start codon (+1; there
# is no 0) and its base on the coding strand. Horn et al. 2013, Science 339:959, chr5:1,295,228 C>T.
PROMOTER_SITES = {"TERT": (-124, "C")}
# Bases before the transcript that are targeted and count as the gene's promoter.
PROMOTER_LENGTH = 200
# TERT's promoter mutations lie upstream of the transcript (NM_198253.3), so its leader is short.
FIVE_PRIME_LENGTH = {"TERT": 79}

# Coding length relative to an ordinary gene of this genome. TTN is the control for methods that
# forget gene length: many mutations, no selection.
SIZE_FACTORS = {"TTN": 7.0, "KMT2D": 2.5, "KMT2C": 2.5, "FAT1": 2.0, "ATM": 1.8, "BRCA2": 1.8}

_CODE_OF_BASE = np.full(256, 255, dtype=np.uint8)
_CODE_OF_BASE[BASES] = np.arange(4, dtype=np.uint8)


def base_codes(bases: Bytes) -> Integers:
    """Map ASCII bases to 0..3 in the order A, C, G, T."""
    return _CODE_OF_BASE[bases].astype(np.int64)


@dataclass(frozen=True)
class Genome:
    """Sequences and gene models, all coordinates 0-based and half-open.

    Attributes
    ----------
    sequences
        ASCII bases by chromosome.
    genes
        One row a gene in the order of the gene list: gene_index, gene_id, gene_name, role?,
        is_panel, is_targeted, chromosome, strand, start, end, block_start, block_end,
        coding_length (bp, with the stop codon). A block is a gene with the spacer before it.
    transcripts
        transcript_id, gene_index, share (fraction of the gene's molecules), length (bp).
    features
        transcript_id, gene_index, kind (exon | CDS), chromosome, strand, start, end, phase?;
        in genomic order within a transcript.
    """

    sequences: dict[str, Bytes]
    genes: pl.DataFrame
    transcripts: pl.DataFrame
    features: pl.DataFrame

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Start of each chromosome in the concatenation of all of them."""
        lengths = [len(sequence) for sequence in self.sequences.values()]
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        return dict(zip(self.sequences, starts.tolist(), strict=True))

    @cached_property
    def bases(self) -> Bytes:
        """All chromosomes, concatenated."""
        return np.concatenate(list(self.sequences.values()))

    @cached_property
    def primary_transcripts(self) -> pl.DataFrame:
        """The first transcript of each gene, the one whose coding sequence defines the truth."""
        return self.transcripts.unique("gene_index", keep="first", maintain_order=True)

    @cached_property
    def promoters(self) -> pl.DataFrame:
        """Promoters that are targeted with their gene.

        Returns
        -------
        polars.DataFrame
            gene_index, gene_name, chromosome, strand, start, end (the `PROMOTER_LENGTH` bases
            before the transcript), site (0-based position of the recurrent mutation).
        """
        forward = pl.col("strand") == "+"
        first_codon = (
            self.features.filter(pl.col("kind") == "CDS")
            .join(self.primary_transcripts.select("transcript_id"), on="transcript_id", how="semi")
            .group_by("gene_index")
            .agg(coding_start=pl.col("start").min(), coding_end=pl.col("end").max())
        )
        offset = pl.col("gene_name").replace_strict(
            {name: position for name, (position, _) in PROMOTER_SITES.items()},
            return_dtype=pl.Int64,
        )
        return (
            self.genes.filter(pl.col("gene_name").is_in(list(PROMOTER_SITES)))
            .join(first_codon, on="gene_index", maintain_order="left")
            .select(
                "gene_index",
                "gene_name",
                "chromosome",
                "strand",
                start=pl.when(forward).then(pl.col("start") - PROMOTER_LENGTH).otherwise("end"),
                end=pl.when(forward).then("start").otherwise(pl.col("end") + PROMOTER_LENGTH),
                site=pl.when(forward)
                .then(pl.col("coding_start") + offset)
                .otherwise(pl.col("coding_end") - 1 - offset),
            )
        )

    def in_concatenation(self, frame: pl.DataFrame, column: str) -> Integers:
        """Coordinates of `column` in the concatenated genome."""
        offset = pl.col("chromosome").replace_strict(self.offsets, return_dtype=pl.Int64)
        return frame.select(offset + pl.col(column)).to_series().to_numpy()

    def chromosome_position(self, positions: Integers) -> tuple[NDArray[np.object_], Integers]:
        """Chromosome and 0-based position of coordinates in the concatenated genome."""
        names = np.array(list(self.offsets), dtype=object)
        starts = np.array(list(self.offsets.values()), dtype=np.int64)
        index = np.searchsorted(starts, positions, side="right") - 1
        return names[index], positions - starts[index]


def read_gene_panel(path: Path | str) -> pl.DataFrame:
    """Read the gene panel: gene_name, gene_id, role, source."""
    return pl.read_csv(path, separator="\t")


def gene_list(panel: pl.DataFrame, n_genes: int = N_GENES) -> pl.DataFrame:
    """Panel genes first, then fillers named SIM0001 onwards, up to `n_genes` rows.

    Returns
    -------
    polars.DataFrame
        gene_index, gene_id, gene_name, role (null for fillers), is_panel, is_targeted.
    """
    fillers = range(1, n_genes - panel.height + 1)
    filler_genes = pl.DataFrame(
        {
            "gene_id": [FILLER_ID.format(number) for number in fillers],
            "gene_name": [f"SIM{number:04d}" for number in fillers],
            "role": pl.Series([None] * len(fillers), dtype=pl.String),
        }
    )
    return (
        pl.concat([panel.select("gene_id", "gene_name", "role"), filler_genes])
        .with_row_index("gene_index")
        .with_columns(
            pl.col("gene_index").cast(pl.Int64),
            is_panel=pl.col("gene_index") < panel.height,
            is_targeted=pl.col("gene_index") < N_TARGETED_GENES,
        )
    )


@dataclass(frozen=True)
class _Block:
    """A spacer and the gene after it, in genomic orientation and block coordinates."""

    sequence: Bytes
    strand: str
    gene_start: int
    coding_length: int
    shares: tuple[float, ...]
    exons: tuple[Integers, ...]
    coding: tuple[Integers, ...]
    phases: tuple[Integers, ...]


def _random_bases(rng: np.random.Generator, length: int, gc: float) -> Bytes:
    weights = np.array([1 - gc, gc, gc, 1 - gc]) / 2
    return BASES[rng.choice(4, size=length, p=weights)]


def _coding_sequence(rng: np.random.Generator, n_codons: int, gc: float) -> Bytes:
    """ATG, random sense codons, TAA."""
    codons = np.array(np.unravel_index(np.arange(64), (4, 4, 4))).T
    is_gc = np.isin(codons, (1, 2)).sum(axis=1)
    weights = (gc**is_gc) * ((1 - gc) ** (3 - is_gc)) * (ord("*") != AMINO_ACIDS)
    body = codons[rng.choice(64, size=n_codons - 2, p=weights / weights.sum())]
    return np.concatenate([np.frombuffer(b"ATG", np.uint8), BASES[body].ravel(), BASES[[3, 0, 0]]])


def _has_stop(coding: Bytes) -> bool:
    codes = base_codes(coding).reshape(-1, 3) @ np.array([16, 4, 1])
    return bool((AMINO_ACIDS[codes[:-1]] == ord("*")).any())


def _exon_boundaries(
    rng: np.random.Generator, n_exons: int, coding_start: int, coding_end: int, length: int
) -> Integers:
    """Cut an mRNA into exons inside its coding part; internal exons may be skipped in frame."""
    low, high = coding_start + MINIMUM_EXON, coding_end - MINIMUM_EXON
    slack = high - low - (n_exons - 2) * MINIMUM_EXON
    cuts = np.sort(rng.integers(0, slack, size=n_exons - 1)) + low
    cuts += np.arange(n_exons - 1) * MINIMUM_EXON
    if n_exons > 2:
        cuts[1] -= (cuts[1] - cuts[0]) % 3
    return np.concatenate([[0], cuts, [length]])


def _phases(coding: Integers, strand: str) -> Integers:
    """GFF3 phase of each CDS part: bases to drop to reach the next codon."""
    lengths = coding[:, 1] - coding[:, 0]
    ordered = lengths if strand == "+" else lengths[::-1]
    before = np.concatenate([[0], np.cumsum(ordered)[:-1]])
    phases = (-before) % 3
    return phases if strand == "+" else phases[::-1]


def _simulate_block(seed: int, gene_id: str, gene_name: str) -> _Block:
    rng = stream(seed, "genome", gene_id)
    gc = float(rng.uniform(0.40, 0.60))
    strand = "+" if rng.random() < 0.5 else "-"
    n_exons = int(rng.integers(2, 7))
    n_codons = int(rng.integers(*CODONS) * SIZE_FACTORS.get(gene_name, 1.0))
    utr5, utr3 = int(rng.integers(60, 150)), int(rng.integers(100, 250))
    utr5 = FIVE_PRIME_LENGTH.get(gene_name, utr5)
    coding = _coding_sequence(rng, n_codons, gc)
    messenger = np.concatenate(
        [_random_bases(rng, utr5, gc), coding, _random_bases(rng, utr3, 0.42)]
    )
    bounds = _exon_boundaries(rng, n_exons, utr5, utr5 + len(coding), len(messenger))
    intron_lengths = rng.integers(*INTRON_LENGTH, size=n_exons - 1)
    share = float(rng.uniform(0.6, 0.85))
    spacer_length = int(rng.integers(*SPACER_LENGTH))

    pieces: list[Bytes] = []
    for exon in range(n_exons):
        pieces.append(messenger[bounds[exon] : bounds[exon + 1]])
        if exon < n_exons - 1:
            intron = _random_bases(rng, int(intron_lengths[exon]), gc - 0.05)
            intron[:2], intron[-2:] = BASES[[2, 3]], BASES[[0, 2]]
            pieces.append(intron)
    gene = np.concatenate(pieces)
    shift = np.concatenate([[0], np.cumsum(intron_lengths)])
    exons = np.column_stack([bounds[:-1] + shift, bounds[1:] + shift])
    coding_parts = np.column_stack(
        [
            np.clip(bounds[:-1], utr5, utr5 + len(coding)) + shift,
            np.clip(bounds[1:], utr5, utr5 + len(coding)) + shift,
        ]
    )

    keeps = [np.ones(n_exons, dtype=bool)]
    if n_exons > 2:
        skipped = coding[bounds[1] - utr5 : bounds[2] - utr5]
        rest = np.delete(coding, np.arange(bounds[1] - utr5, bounds[2] - utr5))
        if len(skipped) % 3 == 0 and not _has_stop(rest):
            keeps.append(np.arange(n_exons) != 1)

    if strand == "-":
        gene = COMPLEMENT[gene[::-1]]
        exons = len(gene) - exons[::-1, ::-1]
        coding_parts = len(gene) - coding_parts[::-1, ::-1]
        keeps = [keep[::-1] for keep in keeps]
    spacer = _random_bases(rng, spacer_length, float(rng.normal(0.41, 0.04)))
    exons, coding_parts = exons + spacer_length, coding_parts + spacer_length
    return _Block(
        sequence=np.concatenate([spacer, gene]),
        strand=strand,
        gene_start=spacer_length,
        coding_length=len(coding),
        shares=(1.0,) if len(keeps) == 1 else (share, 1 - share),
        exons=tuple(exons[keep] for keep in keeps),
        coding=tuple(coding_parts[keep] for keep in keeps),
        phases=tuple(_phases(coding_parts[keep], strand) for keep in keeps),
    )


def _chromosome_of(gene_name: str, number: int) -> int:
    """Index in `CHROMOSOMES` of the gene that is `number` in the list."""
    if gene_name in Y_GENES:
        return CHROMOSOMES.index("chrY")
    filler = gene_name.removeprefix("SIM")
    if gene_name in X_GENES or (filler.isdigit() and int(filler) % X_FILLER_INTERVAL == 1):
        return CHROMOSOMES.index("chrX")
    return number % len(AUTOSOMES)


def _set_promoter_sites(genome: Genome) -> None:
    """Put the base that recurrently mutates into the promoters, on the coding strand."""
    for name, chromosome, strand, site in genome.promoters.select(
        "gene_name", "chromosome", "strand", "site"
    ).iter_rows():
        base = np.uint8(ord(PROMOTER_SITES[name][1]))
        genome.sequences[chromosome][site] = base if strand == "+" else COMPLEMENT[base]


def simulate_genome(seed: int, genes: pl.DataFrame) -> Genome:
    """Simulate sequence and gene models.

    Each gene with the spacer before it is drawn from its own stream, and genes are dealt to the
    autosomes in turn (those of the sex chromosomes by name), so that appending a gene lengthens
    one chromosome and changes nothing else but its tail. Coding sequences begin with ATG, end
    with a stop codon and have no other; introns are GT..AG. A second transcript, where there is
    one, skips the second exon in frame.

    Parameters
    ----------
    seed
        The study's seed.
    genes
        Result of `gene_list`.
    """
    blocks = [
        _simulate_block(seed, gene_id, gene_name)
        for gene_id, gene_name in genes.select("gene_id", "gene_name").iter_rows()
    ]
    index = np.arange(len(blocks))
    names = genes["gene_name"].to_list()
    chromosome_index = np.array([_chromosome_of(name, i) for i, name in enumerate(names)])
    lengths = np.array([len(block.sequence) for block in blocks])
    starts = np.zeros(len(blocks), dtype=np.int64)
    sequences: dict[str, Bytes] = {}
    for number, name in enumerate(CHROMOSOMES):
        members = index[chromosome_index == number]
        starts[members] = np.concatenate([[0], np.cumsum(lengths[members])[:-1]])
        tail = _random_bases(stream(seed, "genome", "tail", name), TAIL_LENGTH, 0.41)
        sequences[name] = np.concatenate([*(blocks[i].sequence for i in members), tail])

    gene_table = genes.with_columns(
        chromosome=pl.Series([CHROMOSOMES[i] for i in chromosome_index]),
        strand=pl.Series([block.strand for block in blocks]),
        start=pl.Series(starts + [block.gene_start for block in blocks]),
        end=pl.Series(starts + lengths),
        block_start=pl.Series(starts),
        block_end=pl.Series(starts + lengths),
        coding_length=pl.Series([block.coding_length for block in blocks]),
    )
    transcripts: list[tuple[str, int, float, int]] = []
    parts: list[pl.DataFrame] = []
    for i, block in enumerate(blocks):
        for number, share in enumerate(block.shares):
            # Ensembl's transcript names. Real ENST numbers would claim real transcripts.
            name = f"{names[i]}-{201 + number}"
            exons = block.exons[number]
            transcripts.append((name, i, share, int((exons[:, 1] - exons[:, 0]).sum())))
            for kind, rows, phase in (
                ("exon", exons, None),
                ("CDS", block.coding[number], block.phases[number]),
            ):
                parts.append(
                    pl.DataFrame(
                        {
                            "transcript_id": [name] * len(rows),
                            "gene_index": [i] * len(rows),
                            "kind": [kind] * len(rows),
                            "chromosome": [CHROMOSOMES[chromosome_index[i]]] * len(rows),
                            "strand": [block.strand] * len(rows),
                            "start": rows[:, 0] + starts[i],
                            "end": rows[:, 1] + starts[i],
                            "phase": pl.Series(
                                [None] * len(rows) if phase is None else phase, dtype=pl.Int64
                            ),
                        }
                    )
                )
    genome = Genome(
        sequences=sequences,
        genes=gene_table,
        transcripts=pl.DataFrame(
            transcripts,
            schema={
                "transcript_id": pl.String,
                "gene_index": pl.Int64,
                "share": pl.Float64,
                "length": pl.Int64,
            },
            orient="row",
        ),
        features=pl.concat(parts),
    )
    _set_promoter_sites(genome)
    return genome


def target_intervals(genome: Genome) -> pl.DataFrame:
    """Merge the targeted genes' exons, flanks and promoters: chromosome, start, end, gene_name."""
    targeted = genome.genes.filter("is_targeted").select("gene_index", "gene_name")
    columns = ("chromosome", "start", "end", "gene_name")
    exons = genome.features.filter(pl.col("kind") == "exon").join(targeted, on="gene_index")
    promoters = genome.promoters.join(targeted, on=["gene_index", "gene_name"], how="semi")
    return (
        pl.concat([exons.select(columns), promoters.select(columns)])
        .with_columns(pl.col("start") - TARGET_FLANK, pl.col("end") + TARGET_FLANK)
        .sort("chromosome", "start", "end")
        .with_columns(
            new=(pl.col("start") > pl.col("end").cum_max().shift(1).over("chromosome")).fill_null(
                value=True
            )
        )
        .with_columns(group=pl.col("new").cum_sum())
        .group_by("group", maintain_order=True)
        .agg(pl.col("chromosome", "gene_name").first(), pl.col("start").min(), pl.col("end").max())
        .select("chromosome", "start", "end", "gene_name")
    )


def write_genome_fasta(genome: Genome, path: Path | str) -> None:
    """Write the genome as FASTA with lines of 60 bases, and its `.fai` index beside it."""
    width = 60
    with atomic_output(path) as temporary, temporary.open("wb") as stream_out:
        for name, sequence in genome.sequences.items():
            stream_out.write(f">{name}\n".encode())
            full = len(sequence) // width
            lines = np.full((full, width + 1), ord("\n"), dtype=np.uint8)
            lines[:, :width] = sequence[: full * width].reshape(full, width)
            stream_out.write(lines.tobytes())
            if len(sequence) % width:
                stream_out.write(sequence[full * width :].tobytes() + b"\n")
    pysam.faidx(str(path))


def _gff_lines(
    frame: pl.DataFrame, kind: str | pl.Expr, attributes: Sequence[pl.Expr]
) -> pl.DataFrame:
    """Rows of one feature type as GFF3 text, with the keys that put them in order."""
    phase = pl.col("phase").cast(pl.String).fill_null(".") if "phase" in frame.columns else "."
    return frame.select(
        "gene_index",
        "order",
        line=pl.concat_str(
            "chromosome",
            pl.lit("ihdsi"),
            pl.lit(kind) if isinstance(kind, str) else kind,
            pl.col("start") + 1,
            "end",
            pl.lit("."),
            "strand",
            pl.lit(phase) if isinstance(phase, str) else phase,
            pl.concat_str(attributes, separator=";"),
            separator="\t",
        ),
    )


def _untranslated(features: pl.DataFrame) -> pl.DataFrame:
    """Untranslated parts of exons. Every exon has a coding part, listed in the same order."""
    exons = features.filter(pl.col("kind") == "exon")
    coding = features.filter(pl.col("kind") == "CDS")
    left = exons.with_columns(end=coding["start"], five=pl.col("strand") == "+")
    right = exons.with_columns(start=coding["end"], five=pl.col("strand") == "-")
    return (
        pl.concat([left, right])
        .filter(pl.col("start") < pl.col("end"))
        .with_columns(
            kind=pl.when("five").then(pl.lit("five_prime_UTR")).otherwise(pl.lit("three_prime_UTR"))
        )
        .drop("five")
    )


def write_annotation(genome: Genome, path: Path | str) -> None:
    """Write the gene models as GFF3 in the style of Ensembl.

    Identifiers carry the prefixes ``gene:`` and ``transcript:`` and genes and transcripts a
    ``biotype``, which ``bcftools csq`` requires (manual page of bcftools 1.16, section csq).
    """
    label = genome.genes.select("gene_index", "gene_id", "gene_name", "chromosome", "strand")
    first = genome.features["transcript_id"].unique(maintain_order=True)
    rank = pl.DataFrame({"transcript_id": first}).with_row_index("transcript_rank")
    features = genome.features.join(rank, on="transcript_id", maintain_order="left").join(
        label.select("gene_index", "gene_id", "gene_name"), on="gene_index", maintain_order="left"
    )
    transcripts = features.group_by("transcript_id", maintain_order=True).agg(
        pl.col("gene_index", "gene_id", "gene_name", "chromosome", "strand").first(),
        pl.col("transcript_rank").first(),
        pl.col("start").min(),
        pl.col("end").max(),
    )
    order = (pl.col("transcript_rank").cast(pl.Int64) + 1) * 10
    parent = pl.format("Parent=transcript:{}", "transcript_id")
    lines = pl.concat(
        [
            _gff_lines(
                genome.genes.with_columns(order=pl.lit(0, dtype=pl.Int64)),
                "gene",
                [
                    pl.format("ID=gene:{}", "gene_id"),
                    pl.format("Name={}", "gene_name"),
                    pl.lit("biotype=protein_coding"),
                    pl.format("gene_id={}", "gene_id"),
                ],
            ),
            _gff_lines(
                transcripts.with_columns(order=order),
                "mRNA",
                [
                    pl.format("ID=transcript:{}", "transcript_id"),
                    pl.format("Parent=gene:{}", "gene_id"),
                    pl.format("Name={}", "gene_name"),
                    pl.lit("biotype=protein_coding"),
                    pl.format("transcript_id={}", "transcript_id"),
                ],
            ),
            _gff_lines(
                pl.concat([features, _untranslated(features)]).with_columns(order=order + 1),
                pl.col("kind"),
                [
                    pl.when(pl.col("kind") == "CDS")
                    .then(
                        pl.format(
                            "ID=CDS:{};Parent=transcript:{}", "transcript_id", "transcript_id"
                        )
                    )
                    .otherwise(parent)
                ],
            ),
        ]
    ).sort("gene_index", "order", maintain_order=True)
    header = ["##gff-version 3"] + [
        f"##sequence-region {name} 1 {len(sequence)}" for name, sequence in genome.sequences.items()
    ]
    write_text("\n".join([*header, *lines["line"].to_list()]) + "\n", path)


def write_targets(genome: Genome, path: Path | str) -> None:
    """Write the targeted regions as BED (0-based, half-open; fourth column the gene)."""
    with atomic_output(path) as temporary:
        target_intervals(genome).write_csv(temporary, separator="\t", include_header=False)


def read_targets(path: Path | str) -> pl.DataFrame:
    """Read the targeted regions: chromosome, start, end (0-based, half-open), gene_name."""
    return pl.read_csv(
        path,
        separator="\t",
        has_header=False,
        new_columns=["chromosome", "start", "end", "gene_name"],
    )
