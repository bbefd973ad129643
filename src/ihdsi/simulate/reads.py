"""Sequencing reads of the patients who enter as FASTQ: fragments from the truth, errors by ART."""

from __future__ import annotations

import gzip
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pysam
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output
from ihdsi.simulate.copy_number import haplotype_doses
from ihdsi.simulate.genome import COMPLEMENT, read_targets
from ihdsi.simulate.streams import stream, stream_seed

__all__ = [
    "DUPLICATE_SHARE",
    "FRAGMENT_MEAN",
    "NORMAL_DNA_DEPTH",
    "READ_LENGTH",
    "TUMOUR_DNA_DEPTH",
    "Fragments",
    "Haplotype",
    "build_haplotype",
    "dna_fragments",
    "rna_fragments",
    "simulate_sample_reads",
]

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

READ_LENGTH = 100
FRAGMENT_MEAN = 220.0
FRAGMENT_SD = 35.0
LONGEST_FRAGMENT = 360
TUMOUR_DNA_DEPTH = 150.0
NORMAL_DNA_DEPTH = 80.0
DUPLICATE_SHARE = 0.08
ART_PROFILE = "HS25"
FLOWCELL = "@SIM:1:FC1"
TILE = "1101"


@dataclass(frozen=True)
class Fragments:
    """Pieces of `pool`; those that are `reverse` are read from the other strand."""

    pool: Bytes
    start: Integers
    length: Integers
    reverse: NDArray[np.bool_]

    def take(self, rows: Integers | NDArray[np.bool_]) -> Fragments:
        """Return some of the fragments."""
        return Fragments(self.pool, self.start[rows], self.length[rows], self.reverse[rows])

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Haplotype:
    """A sequence with variants in it, and how reference coordinates lift to it.

    `position` and `shift` are the anchors of indels and the running sum of their lengths.
    """

    sequence: Bytes
    position: Integers
    shift: Integers

    def lift(self, coordinates: Integers) -> Integers:
        """Lift 0-based reference coordinates that are not inside a deletion."""
        index = np.searchsorted(self.position, coordinates, side="left")
        lifted: Integers = coordinates + np.concatenate([[0], self.shift])[index]
        return lifted


def build_haplotype(reference: Bytes, variants: pl.DataFrame) -> Haplotype:
    """Put variants into a sequence.

    Parameters
    ----------
    reference
        ASCII bases.
    variants
        global_position (0-based), reference_allele, alternate_allele; normalised and disjoint.
    """
    variants = variants.sort("global_position")
    place = variants["global_position"].to_numpy()
    deleted = variants["reference_allele"].str.len_bytes().to_numpy().astype(np.int64) - 1
    inserted = variants["alternate_allele"].str.len_bytes().to_numpy().astype(np.int64) - 1
    sequence = reference.copy()
    alternate = np.frombuffer("".join(variants["alternate_allele"]).encode(), dtype=np.uint8)
    first = np.concatenate([[0], np.cumsum(inserted + 1)])[:-1].astype(np.int64)
    sequence[place] = alternate[first]

    keep = np.ones(len(sequence), dtype=bool)
    keep[np.repeat(place + 1, deleted) + _ranges(deleted)] = False
    is_inserted = np.ones(len(alternate), dtype=bool)
    is_inserted[first] = False
    where = np.repeat(place + 1, inserted)
    sequence = np.insert(sequence, where, alternate[is_inserted])
    keep = np.insert(keep, where, True)
    return Haplotype(sequence[keep], place, np.cumsum(inserted - deleted))


def _ranges(lengths: Integers) -> Integers:
    """0..length-1 for each length, concatenated."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - lengths, lengths)


def _fragment_lengths(rng: np.random.Generator, size: int) -> Integers:
    lengths = np.rint(rng.normal(FRAGMENT_MEAN, FRAGMENT_SD, size=size)).astype(np.int64)
    return np.clip(lengths, READ_LENGTH, LONGEST_FRAGMENT)


def _captured(
    rng: np.random.Generator, starts: Integers, ends: Integers, density: Floats
) -> tuple[Integers, Integers]:
    """Draw starts and lengths of fragments that overlap sorted, disjoint targets.

    `density` is the number of fragments that start at one base of each target's bait window.
    """
    low = starts - LONGEST_FRAGMENT
    # Bait windows of neighbouring targets overlap; their union is each window cut at the last.
    low = np.maximum(low, np.concatenate([[0], ends[:-1]]))
    widths = ends - low
    expected = density * widths
    n = int(rng.poisson(expected.sum()))
    # A window without copies has no width here, and no draw falls into it.
    draws = rng.random(n) * expected.sum()
    window = np.searchsorted(np.cumsum(expected), draws, side="right")
    within = (draws - (np.cumsum(expected) - expected)[window]) / density[window]
    start = low[window] + np.clip(np.floor(within).astype(np.int64), 0, widths[window] - 1)
    length = _fragment_lengths(rng, n)
    overlaps = np.searchsorted(starts, start + length, side="left") > np.searchsorted(
        ends, start, side="right"
    )
    return start[overlaps], length[overlaps]


def dna_fragments(
    rng: np.random.Generator,
    haplotypes: list[tuple[Haplotype, Floats]],
    targets: tuple[Integers, Integers],
    depth: float,
) -> Fragments:
    """Draw captured DNA fragments, with PCR duplicates, in random order.

    Parameters
    ----------
    haplotypes
        Sequences and, for each of the n targets (shape (n,)), the DNA molecules that are of each
        relative to those of a diploid target: the shares of a target with two copies sum to 1.
    targets
        Starts and ends of the targets in the reference (0-based, half-open, sorted, disjoint).
    depth
        Mean read depth over targets with two copies, duplicates included.
    """
    density = depth * (1 - DUPLICATE_SHARE) / (2 * READ_LENGTH)
    starts, lengths, base = [], [], 0
    for haplotype, share in haplotypes:
        start, length = _captured(
            rng, haplotype.lift(targets[0]), haplotype.lift(targets[1]), density * share
        )
        starts.append(start + base)
        lengths.append(length)
        base += len(haplotype.sequence)
    unique = Fragments(
        np.concatenate([haplotype.sequence for haplotype, _ in haplotypes]),
        np.concatenate(starts),
        np.concatenate(lengths),
        rng.random(sum(map(len, starts))) < 0.5,
    )
    n_duplicates = round(len(unique) * DUPLICATE_SHARE / (1 - DUPLICATE_SHARE))
    duplicates = rng.integers(0, len(unique), size=n_duplicates)
    return unique.take(rng.permutation(np.concatenate([np.arange(len(unique)), duplicates])))


def rna_fragments(
    rng: np.random.Generator,
    reference: Bytes,
    transcripts: pl.DataFrame,
    fragments: pl.DataFrame,
) -> Fragments:
    """Draw RNA fragments of an unstranded library, in random order.

    Parameters
    ----------
    reference
        Concatenated genome.
    transcripts
        transcript_id, gene_id, share, exon_start and exon_end (lists, in the concatenated genome).
    fragments
        gene_id, true_fragments.
    """
    exons = transcripts.select("transcript_id", "exon_start", "exon_end").explode(
        "exon_start", "exon_end"
    )
    exon_length = (exons["exon_end"] - exons["exon_start"]).to_numpy()
    pool = reference[np.repeat(exons["exon_start"].to_numpy(), exon_length) + _ranges(exon_length)]
    table = transcripts.with_columns(
        length=(pl.col("exon_end").list.sum() - pl.col("exon_start").list.sum())
    ).with_columns(pool_start=pl.col("length").cum_sum() - pl.col("length"))
    counted = table.join(fragments, on="gene_id", how="inner", maintain_order="left")
    weight = (
        counted["share"] * (counted["length"] - FRAGMENT_MEAN + 1).clip(lower_bound=1)
    ).to_numpy()
    gene = counted["gene_id"].rle_id().to_numpy().astype(np.int64)
    per_gene = counted.group_by("gene_id", maintain_order=True).agg(
        pl.col("true_fragments").first(), pl.len()
    )
    n_fragments = per_gene["true_fragments"].to_numpy()
    total = np.bincount(gene, weights=weight)
    share = weight / total[gene]
    upper = np.cumsum(share)
    # Genes hold one unit of `upper` each, so a uniform draw plus the gene's number finds a row.
    draws = np.repeat(np.arange(len(total)), n_fragments) + rng.random(int(n_fragments.sum()))
    row = np.minimum(np.searchsorted(upper, draws, side="right"), len(share) - 1)
    transcript_length = counted["length"].to_numpy()[row]
    length = np.minimum(_fragment_lengths(rng, len(row)), transcript_length)
    start = np.floor(rng.random(len(row)) * (transcript_length - length + 1)).astype(np.int64)
    order = rng.permutation(len(row))
    return Fragments(
        pool,
        (counted["pool_start"].to_numpy()[row] + start)[order],
        length[order],
        (rng.random(len(row)) < 0.5)[order],
    )


def _digits(numbers: Integers, width: int) -> Bytes:
    """ASCII decimal digits, shape (n, width), padded with zeros."""
    powers = 10 ** np.arange(width - 1, -1, -1)
    return ((numbers[:, None] // powers) % 10 + ord("0")).astype(np.uint8)


def _fasta(fragments: Fragments) -> bytes:
    """One FASTA record a fragment, named by its number."""
    width = 8
    n = len(fragments)
    record = width + 3 + fragments.length
    begin = np.concatenate([[0], np.cumsum(record)])[:-1].astype(np.int64)
    text = np.full(int(record.sum()), ord("\n"), dtype=np.uint8)
    text[begin] = ord(">")
    text[begin[:, None] + 1 + np.arange(width)] = _digits(np.arange(n), width)
    within = _ranges(fragments.length)
    reverse = np.repeat(fragments.reverse, fragments.length)
    forward = np.repeat(fragments.start, fragments.length) + within
    backward = np.repeat(fragments.start + fragments.length - 1, fragments.length) - within
    bases = fragments.pool[np.where(reverse, backward, forward)]
    text[np.repeat(begin + width + 2, fragments.length) + within] = np.where(
        reverse, COMPLEMENT[bases], bases
    )
    return text.tobytes()


def _read_records(path: Path) -> tuple[Bytes, Bytes]:
    """Bases and qualities of ART's FASTQ, each of shape (n, READ_LENGTH).

    All records have the same number of bytes, because the fragments' names have.
    """
    text = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    name = int(np.flatnonzero(text[:1000] == ord("\n"))[0]) + 1
    record = name + 2 * (READ_LENGTH + 1) + 2
    if len(text) % record:
        raise ValueError(f"{path.name}: the records of art_illumina differ in length")
    rows = text.reshape(-1, record)
    quality = name + READ_LENGTH + 3
    return rows[:, name : name + READ_LENGTH], rows[:, quality : quality + READ_LENGTH]


def _illumina_fastq(bases: Bytes, quality: Bytes, lane: int, mate: int) -> Bytes:
    """FASTQ text with names as of Illumina's bcl2fastq, made from the running number."""
    n = len(bases)
    number = np.arange(n)
    fixed = [
        np.frombuffer(f"{FLOWCELL}:{lane}:{TILE}:".encode(), np.uint8),
        _digits(10_000 + number // 90_000, 5),
        np.frombuffer(b":", np.uint8),
        _digits(10_000 + number % 90_000, 5),
        np.frombuffer(f" {mate}:N:0:1\n".encode(), np.uint8),
        bases,
        np.frombuffer(b"\n+\n", np.uint8),
        quality,
        np.frombuffer(b"\n", np.uint8),
    ]
    columns = [part if part.ndim == 2 else np.broadcast_to(part, (n, len(part))) for part in fixed]
    return np.concatenate(columns, axis=1)


def _sequence(fragments: Fragments, seed: int, lane: int, fastq: tuple[Path, Path]) -> None:
    """Run ART over the fragments and write the two FASTQ files of a lane."""
    with tempfile.TemporaryDirectory(prefix="art-") as folder:
        source, prefix = Path(folder) / "fragments.fa", Path(folder) / "reads"
        source.write_bytes(_fasta(fragments))
        art = subprocess.run(
            [
                "art_illumina",
                *("-ss", ART_PROFILE),
                *("-amp", "-p", "-na", "-q"),
                *("-c", "1"),
                *("-l", str(READ_LENGTH)),
                *("-rs", str(seed)),
                *("-i", str(source)),
                *("-o", str(prefix)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if art.returncode:
            raise RuntimeError(f"art_illumina ended with {art.returncode}: {art.stderr}")
        for mate, path in enumerate(fastq, start=1):
            text = _illumina_fastq(*_read_records(Path(f"{prefix}{mate}.fq")), lane, mate)
            with (
                atomic_output(path) as temporary,
                temporary.open("wb") as raw,
                # No name and time in the header, so that the same reads are the same bytes.
                gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
            ):
                packed.write(text.tobytes())


def _load_genome(path: Path) -> tuple[Bytes, dict[str, int]]:
    offsets: dict[str, int] = {}
    parts: list[Bytes] = []
    with pysam.FastaFile(str(path)) as fasta:
        for name in fasta.references:
            offsets[name] = sum(map(len, parts))
            parts.append(np.frombuffer(fasta.fetch(name).encode(), dtype=np.uint8))
    return np.concatenate(parts), offsets


def _global(frame: pl.DataFrame, offsets: dict[str, int], column: str, base: int) -> Integers:
    offset = pl.col("chromosome").replace_strict(offsets, return_dtype=pl.Int64)
    return frame.select(offset + pl.col(column) - base).to_series().to_numpy()


def _patient_haplotypes(
    reference: Bytes, germline: pl.DataFrame, somatic: pl.DataFrame, doses: Floats
) -> list[tuple[Haplotype, Floats]]:
    """Both haplotypes in every clone of the tumour, with their shares of each target's DNA.

    Clones are nested, so a variant is in the versions of its clone and of all later ones. A gene
    whose copy number is altered has no somatic variants, so that all versions of a haplotype are
    the same there and its dose, shape (2, n_targets), can be spread over them like the others.
    """
    clones = somatic.group_by("clone").agg(pl.col("cell_fraction").first()).sort("clone")
    number = clones["clone"].to_list()
    bounds = np.concatenate([[1.0], clones["cell_fraction"].to_numpy(), [0.0]])
    shares = -np.diff(bounds)
    alleles = ("global_position", "reference_allele", "alternate_allele")
    versions = []
    for haplotype in (0, 1):
        inherited = germline.filter(pl.col(f"haplotype_{haplotype + 1}")).select(alleles)
        for level, share in enumerate(shares.tolist()):
            acquired = somatic.filter(
                (pl.col("haplotype") == haplotype) & pl.col("clone").is_in(number[:level])
            ).select(alleles)
            versions.append(
                (
                    build_haplotype(reference, pl.concat([inherited, acquired])),
                    doses[haplotype] * share / 2,
                )
            )
    return versions


def simulate_sample_reads(
    seed: int,
    sample: str,
    lane: str,
    lanes: tuple[str, ...],
    *,
    genome: Path | str,
    targets: Path | str,
    truth: Path | str,
    fastq_1: Path | str,
    fastq_2: Path | str,
) -> None:
    """Write the reads of one sample and lane.

    All fragments of a sample are drawn at once and dealt to its lanes, so the lanes are one
    library and PCR duplicates are found in both.

    Parameters
    ----------
    seed
        The study's seed.
    sample
        Patient id with -T (tumour DNA), -N (normal DNA) or -R (tumour RNA).
    lane, lanes
        The lane to write (L001, ...) and all lanes of the sample.
    genome, targets, truth
        Simulated genome (FASTA with index), targets (BED) and folder of the truth.
    fastq_1, fastq_2
        Outputs, gzipped.

    Raises
    ------
    InputError
        If the sample is not one of the simulated cohort, or the lane not one of the sample.
    """
    patient, _, kind = sample.rpartition("-")
    folder = Path(truth)
    known = pl.read_parquet(folder / "patients.parquet").filter(pl.col("patient") == patient)
    if known.is_empty() or kind not in ("T", "N", "R") or lane not in lanes:
        raise InputError(
            Problem(
                f"sample {sample} with lane {lane} is not part of the simulated cohort",
                "Use the sample sheets in config/sites that belong to the demo study.",
            )
        )
    reference, offsets = _load_genome(Path(genome))
    rng = stream(seed, "fragments", sample)
    of_patient = pl.col("patient") == patient
    if kind == "R":
        transcripts = pl.read_parquet(folder / "transcripts.parquet")
        counts = pl.read_parquet(folder / "expression.parquet").filter(of_patient)
        fragments = rna_fragments(
            rng, reference, transcripts, counts.select("gene_id", "true_fragments")
        )
    else:
        germline = pl.read_parquet(folder / "germline.parquet").filter(of_patient)
        somatic = pl.read_parquet(folder / "somatic.parquet").filter(of_patient)
        somatic = somatic if kind == "T" else somatic.clear()
        altered = pl.read_parquet(folder / "copy_number.parquet").filter(of_patient)
        bed = read_targets(targets)
        doses = haplotype_doses(
            bed, known["sex"][0], known["tumour_purity"][0] if kind == "T" else 0.0, altered
        )
        haplotypes = _patient_haplotypes(
            reference,
            germline.with_columns(global_position=_global(germline, offsets, "position", 1)),
            somatic.with_columns(global_position=_global(somatic, offsets, "position", 1)),
            doses,
        )
        fragments = dna_fragments(
            rng,
            haplotypes,
            (_global(bed, offsets, "start", 0), _global(bed, offsets, "end", 0)),
            TUMOUR_DNA_DEPTH if kind == "T" else NORMAL_DNA_DEPTH,
        )
    lane_index = lanes.index(lane)
    dealt = rng.integers(0, len(lanes), size=len(fragments)) == lane_index
    _sequence(
        fragments.take(dealt),
        stream_seed(seed, "art", sample, lane),
        lane_index + 1,
        (Path(fastq_1), Path(fastq_2)),
    )
