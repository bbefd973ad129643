"""Germline and somatic variants of every patient, with what they do to the protein."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.simulate.cohort import SiteDesign
from ihdsi.simulate.genome import (
    AMINO_ACIDS,
    BASES,
    COMPLEMENT,
    PROMOTER_SITES,
    Genome,
    base_codes,
    target_intervals,
)
from ihdsi.simulate.streams import stream

__all__ = [
    "DRIVERS",
    "Driver",
    "SomaticModel",
    "hotspot_table",
    "simulate_germline",
    "simulate_population",
    "simulate_somatic",
]

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

POPULATION_VARIANTS_PER_BASE = 1 / 1000
POPULATION_INDEL_SHARE = 0.1
POPULATION_SPACING = 30
MAXIMUM_POPULATION_INDEL = 6
FREQUENCY_BETA = (0.6, 1.8)
FREQUENCY_RANGE = (0.01, 0.95)
SITE_LOGIT_SD = 0.15

PASSENGERS_PER_MEGABASE = 45.0
BURDEN_LOG_SD = 0.4
SOMATIC_INDEL_SHARE = 0.15
MAXIMUM_SOMATIC_INDEL = 12
SOMATIC_SPACING = 15
# A planted frameshift this far inside an exon cannot be taken for a splice variant.
EXON_MARGIN = 15

# Clones: cancer cell fraction ranges, nested (the second subclone lies within the first), and the
# share of passengers and of drivers that arose in each.
CLONE_FRACTION = ((1.0, 1.0), (0.45, 0.75), (0.1, 0.3))
PASSENGER_CLONES = (0.50, 0.25, 0.25)
DRIVER_CLONES = (0.90, 0.10, 0.0)

N_HOTSPOTS = 3
HOTSPOT_SHARE = 0.8
HOTSPOT_WEIGHTS = (0.55, 0.30, 0.15)
STOP_GAINED_SHARE = 0.5


@dataclass(frozen=True)
class Driver:
    """A gene under selection: how often it is hit in each stage group, and how.

    `truncating` is the share of hits that are stop-gained or frameshift; the others are missense,
    at recurrent hotspots if `hotspots`. A `promoter` driver is hit at its promoter site only.
    """

    gene_name: str
    nmibc: float
    mibc: float
    truncating: float
    hotspots: bool = False
    promoter: bool = False


# Which genes, and in which stage group more often, follows the TCGA (Robertson et al. 2017, Cell
# 171:540) for MIBC and Pietzak et al. 2017 (Eur Urol 72:952) for NMIBC. The frequencies are set
# generously, so that a cohort of about a hundred has enough carriers for the released cells.
DRIVERS = (
    Driver("FGFR3", 0.65, 0.18, truncating=0.0, hotspots=True),
    Driver("PIK3CA", 0.36, 0.26, truncating=0.0, hotspots=True),
    Driver("TP53", 0.16, 0.60, truncating=0.3, hotspots=True),
    Driver("KDM6A", 0.46, 0.30, truncating=1.0),
    Driver("ARID1A", 0.24, 0.34, truncating=1.0),
    Driver("RB1", 0.05, 0.38, truncating=1.0),
    Driver("STAG2", 0.34, 0.20, truncating=1.0),
    Driver("ERCC2", 0.18, 0.24, truncating=0.0),
    Driver("KMT2D", 0.34, 0.36, truncating=0.9),
    Driver("EP300", 0.20, 0.26, truncating=0.5),
    Driver("ELF3", 0.20, 0.24, truncating=0.8),
    Driver("CDKN1A", 0.22, 0.20, truncating=0.9),
    # In NMIBC and MIBC alike: Allory et al. 2014, Eur Urol 65:360.
    Driver("TERT", 0.60, 0.60, truncating=0.0, promoter=True),
)


def _frequencies(rng: np.random.Generator, size: int) -> Floats:
    return np.clip(rng.beta(*FREQUENCY_BETA, size=size), *FREQUENCY_RANGE)


def _expit(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


def _alleles(
    bases: Bytes, positions: Integers, lengths: Integers, inserted: Bytes, alternates: Bytes
) -> tuple[list[str], list[str]]:
    """Alleles as in VCF; length 0 is an SNV, below 0 a deletion, above 0 an insertion.

    `inserted` has shape (n, longest) and holds the inserted bases, of which the first ``length``
    count.
    """
    reference, alternate = [], []
    for position, length, insert, base in zip(
        positions.tolist(), lengths.tolist(), inserted, alternates, strict=True
    ):
        anchor = bases[position : position + 1].tobytes().decode()
        deleted = bases[position + 1 : position + 1 - min(length, 0)].tobytes().decode()
        reference.append(anchor + deleted)
        if length == 0:
            alternate.append(chr(base))
        else:
            alternate.append(anchor + insert[: max(length, 0)].tobytes().decode())
    return reference, alternate


def _is_left_aligned(
    bases: Bytes, positions: Integers, lengths: Integers, inserted: Bytes
) -> NDArray[np.bool_]:
    """Whether each indel is in the normal form of Tan, Abecasis and Kang 2015.

    An indel is left-aligned when the last base deleted or inserted differs from the anchor base
    (Bioinformatics 31:2202): then it cannot be moved to the left. Choosing only such indels is
    the same as normalising, without a search.
    """
    last_deleted = bases[np.clip(positions - lengths, 0, len(bases) - 1)]
    last_inserted = inserted[np.arange(len(positions)), np.maximum(lengths - 1, 0)]
    last = np.where(lengths < 0, last_deleted, last_inserted)
    aligned: NDArray[np.bool_] = (lengths == 0) | (last != bases[positions])
    return aligned


def _indel_lengths(rng: np.random.Generator, size: int, longest: int) -> Integers:
    """Signed indel lengths, short ones more often, deletions and insertions alike."""
    lengths = np.minimum(rng.geometric(0.35, size=size), longest)
    signed: Integers = lengths * rng.choice([-1, 1], size=size)
    return signed


def simulate_population(seed: int, genome: Genome, sites: Sequence[SiteDesign]) -> pl.DataFrame:
    """Variant sites of the population and their allele frequency at each site.

    Every gene with the spacer before it has its own stream, so that appending a gene keeps all
    other variants and, because genotypes are drawn in the order of this table, all genotypes. The
    Y chromosome, which half of the people lack, and the surroundings of promoter sites have none.

    Returns
    -------
    polars.DataFrame
        chromosome, position (1-based), reference_allele, alternate_allele, kind (snv | indel),
        global_position (0-based in the concatenated genome), frequency_<site>; in gene order.
    """
    bases = genome.bases
    starts = genome.in_concatenation(genome.genes, "block_start")
    ends = genome.in_concatenation(genome.genes, "block_end")
    invariant = _mask(
        len(bases),
        genome.in_concatenation(genome.promoters, "site") - POPULATION_SPACING,
        genome.in_concatenation(genome.promoters, "site") + POPULATION_SPACING,
    )
    positions, lengths, inserted, alternates, frequencies = [], [], [], [], []
    for gene_id, chromosome_name, start, end in zip(
        genome.genes["gene_id"],
        genome.genes["chromosome"],
        starts.tolist(),
        ends.tolist(),
        strict=True,
    ):
        if chromosome_name == "chrY":
            continue
        rng = stream(seed, "population", gene_id)
        n = int(rng.poisson((end - start) * POPULATION_VARIANTS_PER_BASE))
        place = np.sort(rng.integers(start + POPULATION_SPACING, end - POPULATION_SPACING, size=n))
        length = np.where(
            rng.random(n) < POPULATION_INDEL_SHARE,
            _indel_lengths(rng, n, MAXIMUM_POPULATION_INDEL),
            0,
        )
        insert = BASES[rng.integers(0, 4, size=(n, MAXIMUM_POPULATION_INDEL))]
        alternate = BASES[(base_codes(bases[place]) + rng.integers(1, 4, size=n)) % 4]
        frequency = _frequencies(rng, n)
        logit = np.log(frequency / (1 - frequency))
        by_site = _expit(logit[:, None] + rng.normal(0, SITE_LOGIT_SD, size=(n, len(sites))))
        keep = np.diff(place, prepend=-POPULATION_SPACING) >= POPULATION_SPACING
        keep &= _is_left_aligned(bases, place, length, insert) & ~invariant[place]
        positions.append(place[keep])
        lengths.append(length[keep])
        inserted.append(insert[keep])
        alternates.append(alternate[keep])
        frequencies.append(by_site[keep])
    place, length = np.concatenate(positions), np.concatenate(lengths)
    reference, alternate_text = _alleles(
        bases, place, length, np.concatenate(inserted), np.concatenate(alternates)
    )
    chromosome, local = genome.chromosome_position(place)
    frequency = np.concatenate(frequencies)
    return pl.DataFrame(
        {
            "chromosome": pl.Series(chromosome, dtype=pl.String),
            "position": local + 1,
            "reference_allele": reference,
            "alternate_allele": alternate_text,
            "kind": np.where(length == 0, "snv", "indel"),
            "global_position": place,
            **{f"frequency_{d.site}": frequency[:, i] for i, d in enumerate(sites)},
        }
    )


def simulate_germline(
    seed: int, patients: pl.DataFrame, population: pl.DataFrame
) -> NDArray[np.bool_]:
    """Phased genotypes under Hardy-Weinberg equilibrium, shape (n_patients, n_variants, 2).

    Males have one X chromosome. They stand as homozygous there, as a caller that takes everyone
    for diploid writes them.

    Parameters
    ----------
    patients
        patient, site and sex.
    population
        Result of `simulate_population`.
    """
    frequency = {
        site: population[f"frequency_{site}"].to_numpy() for site in patients["site"].unique()
    }
    genotypes = np.stack(
        [
            stream(seed, "germline", patient).random((population.height, 2))
            < frequency[site][:, None]
            for patient, site in patients.select("patient", "site").iter_rows()
        ]
    )
    male = (patients["sex"] == "male").to_numpy()
    haploid = np.ix_(male, (population["chromosome"] == "chrX").to_numpy())
    genotypes[..., 1][haploid] = genotypes[..., 0][haploid]
    return genotypes


class SomaticModel:
    """Where somatic variants can fall, how likely each is, and what it does.

    Candidates are every base substitution within the targets, outside `SOMATIC_SPACING` bases of
    a population variant. Their weights make C>T and C>G in TCA and TCT the most frequent, as
    APOBEC mutagenesis does in bladder cancer (Robertson et al. 2017), then C>T at CpG. The Y
    chromosome has none.

    Attributes
    ----------
    position, alternate
        Candidate substitutions: position in the concatenated genome, ASCII alternate base.
    gene
        Index of the targeted gene (a promoter belongs to its gene), -1 between genes.
    consequence
        missense, synonymous, stop_gained, splice, noncoding or other (start or stop lost).
    weight
        Relative mutability.
    in_target, allowed
        Masks over the concatenated genome: targeted, and free for somatic variants.
    targeted_gene
        Index of the gene that a base is targeted for, -1 off target; over the concatenated genome.
    """

    def __init__(self, seed: int, genome: Genome, population: pl.DataFrame) -> None:
        self.genome = genome
        bases = genome.bases
        self._map_coding()
        targets = target_intervals(genome)
        self.in_target = _mask(
            len(bases),
            genome.in_concatenation(targets, "start"),
            genome.in_concatenation(targets, "end"),
        )
        self.target_bases = int(self.in_target.sum())
        index = dict(genome.genes.select("gene_name", "gene_index").iter_rows())
        self.targeted_gene = np.full(len(bases), -1, dtype=np.int64)
        for name, start, end in zip(
            targets["gene_name"],
            genome.in_concatenation(targets, "start"),
            genome.in_concatenation(targets, "end"),
            strict=True,
        ):
            self.targeted_gene[start:end] = index[name]
        variant_start = population["global_position"].to_numpy()
        span = population["reference_allele"].str.len_bytes().to_numpy().astype(np.int64)
        self.allowed = self.in_target & ~_mask(
            len(bases), variant_start - SOMATIC_SPACING, variant_start + span + SOMATIC_SPACING
        )
        if "chrY" in genome.offsets:
            start = genome.offsets["chrY"]
            self.allowed[start : start + len(genome.sequences["chrY"])] = False
        places = np.flatnonzero(self.allowed)
        self.position = np.repeat(places, 3)
        shift = np.tile(np.arange(1, 4), len(places))
        self.alternate = BASES[(base_codes(bases[self.position]) + shift) % 4]
        self.gene = self.gene_of[self.position]
        self.consequence = self._substitution_consequence()
        self.weight = self._mutability()
        self._cumulative = np.cumsum(self.weight)
        self._places = places
        self._seed = seed
        self._hotspots = {d.gene_name: self._choose_hotspots(d) for d in DRIVERS if d.hotspots}

    def _map_coding(self) -> None:
        genome = self.genome
        total = len(genome.bases)
        primary = genome.features.join(
            genome.primary_transcripts.select("transcript_id"), on="transcript_id", how="semi"
        )
        self.gene_of = np.full(total, -1, dtype=np.int64)
        for index, start, end in zip(
            genome.genes["gene_index"],
            genome.in_concatenation(genome.genes, "start"),
            genome.in_concatenation(genome.genes, "end"),
            strict=True,
        ):
            self.gene_of[start:end] = index
        for index, start, end in zip(
            genome.promoters["gene_index"],
            genome.in_concatenation(genome.promoters, "start"),
            genome.in_concatenation(genome.promoters, "end"),
            strict=True,
        ):
            self.gene_of[start:end] = index
        self.coding_index = np.full(total, -1, dtype=np.int64)
        self.minus = np.zeros(total, dtype=bool)
        coding = primary.filter(pl.col("kind") == "CDS")
        minus = (coding["strand"] == "-").to_numpy()
        starts = genome.in_concatenation(coding, "start")
        ends = genome.in_concatenation(coding, "end")
        order = np.lexsort((np.where(minus, -starts, starts), coding["gene_index"].to_numpy()))
        coding_position = np.concatenate(
            [np.arange(starts[i], ends[i])[:: -1 if minus[i] else 1] for i in order]
        )
        self.coding_index[coding_position] = np.arange(len(coding_position))
        self.minus[coding_position] = np.repeat(minus[order], (ends - starts)[order])
        self.coding = np.where(
            self.minus[coding_position],
            COMPLEMENT[genome.bases[coding_position]],
            genome.bases[coding_position],
        )
        gene_of_coding = self.gene_of[coding_position]
        self.first_codon = np.flatnonzero(np.diff(gene_of_coding, prepend=-1) != 0)
        interior = (ends - starts) > 2 * EXON_MARGIN
        self.inside_exon = _mask(
            total, starts[interior] + EXON_MARGIN, ends[interior] - EXON_MARGIN
        )
        self.coding_mask = self.coding_index >= 0
        exons = genome.features.filter(pl.col("kind") == "exon").unique(
            ["gene_index", "start", "end"], maintain_order=True
        )
        exon_start = genome.in_concatenation(exons, "start")
        exon_end = genome.in_concatenation(exons, "end")
        gene_start = genome.in_concatenation(genome.genes, "start")
        gene_end = genome.in_concatenation(genome.genes, "end")
        index = exons["gene_index"].to_numpy()
        donor = exon_start[exon_start != gene_start[index]]
        acceptor = exon_end[exon_end != gene_end[index]]
        self.splice = _mask(total, donor - 2, donor) | _mask(total, acceptor, acceptor + 2)

    def _substitution_consequence(self) -> NDArray[np.str_]:
        place = self.coding_index[self.position]
        is_coding = place >= 0
        codon = np.where(is_coding, place - place % 3, 0)
        codes = np.stack([base_codes(self.coding[codon + k]) for k in range(3)])
        mutated = np.where(self.minus[self.position], COMPLEMENT[self.alternate], self.alternate)
        altered = codes.copy()
        altered[place % 3, np.arange(len(place))] = base_codes(mutated)
        radix = np.array([16, 4, 1])
        before, after = AMINO_ACIDS[radix @ codes], AMINO_ACIDS[radix @ altered]
        stop = np.uint8(ord("*"))
        return np.select(
            [
                ~is_coding & self.splice[self.position],
                ~is_coding,
                np.isin(codon, self.first_codon),
                before == after,
                before == stop,
                after == stop,
            ],
            ["splice", "noncoding", "other", "synonymous", "other", "stop_gained"],
            default="missense",
        )

    def _mutability(self) -> Floats:
        bases = self.genome.bases
        reference = bases[self.position]
        purine = np.isin(reference, np.frombuffer(b"AG", np.uint8))
        upstream, downstream = bases[self.position - 1], bases[self.position + 1]
        # Folded onto the pyrimidine strand, as mutational signatures are.
        folded = np.where(purine, COMPLEMENT[reference], reference)
        change = np.where(purine, COMPLEMENT[self.alternate], self.alternate)
        before = np.where(purine, COMPLEMENT[downstream], upstream)
        after = np.where(purine, COMPLEMENT[upstream], downstream)
        is_c = folded == ord("C")
        apobec = is_c & (before == ord("T")) & np.isin(after, np.frombuffer(b"AT", np.uint8))
        return np.select(
            [
                apobec & (change == ord("T")),
                apobec & (change == ord("G")),
                is_c & (change == ord("T")) & (after == ord("G")),
                is_c & (change == ord("T")),
            ],
            [14.0, 11.0, 5.0, 1.5],
            default=0.5,
        )

    def _in_gene(self, gene_name: str, consequence: str) -> Integers:
        names = self.genome.genes["gene_name"].to_list()
        return np.flatnonzero(
            (self.gene == names.index(gene_name)) & (self.consequence == consequence)
        )

    def _choose_hotspots(self, driver: Driver) -> Integers:
        """Pick missense candidates that recur, at least `SOMATIC_SPACING` apart."""
        rng = stream(self._seed, "hotspots", driver.gene_name)
        candidates = self._in_gene(driver.gene_name, "missense")
        weights = self.weight[candidates]
        shuffled = rng.choice(candidates, size=50, replace=False, p=weights / weights.sum())
        chosen: list[int] = []
        for candidate in shuffled.tolist():
            distance = np.abs(self.position[chosen] - self.position[candidate])
            if (distance >= SOMATIC_SPACING).all() and len(chosen) < N_HOTSPOTS:
                chosen.append(candidate)
        return np.array(chosen)

    def hotspots(self) -> pl.DataFrame:
        """List the planted recurrent changes of proteins.

        Returns
        -------
        polars.DataFrame
            gene_name, position (of the amino acid, from 1), reference, alternate (one-letter
            amino acids), chromosome, genomic_position (1-based), alternate_allele.
        """
        chosen = np.concatenate(list(self._hotspots.values()))
        place = self.coding_index[self.position[chosen]]
        codon = place - place % 3
        gene_start = self.first_codon[np.searchsorted(self.first_codon, place, side="right") - 1]
        codes = np.stack([base_codes(self.coding[codon + k]) for k in range(3)])
        bases = self.alternate[chosen]
        altered = codes.copy()
        altered[place % 3, np.arange(len(place))] = base_codes(
            np.where(self.minus[self.position[chosen]], COMPLEMENT[bases], bases)
        )
        radix = np.array([16, 4, 1])
        chromosome, local = self.genome.chromosome_position(self.position[chosen])
        names = np.array(self.genome.genes["gene_name"], dtype=object)
        return pl.DataFrame(
            {
                "gene_name": pl.Series(names[self.gene[chosen]].tolist(), dtype=pl.String),
                "position": (codon - gene_start) // 3 + 1,
                "reference": [chr(c) for c in AMINO_ACIDS[radix @ codes]],
                "alternate": [chr(c) for c in AMINO_ACIDS[radix @ altered]],
                "chromosome": pl.Series(chromosome, dtype=pl.String),
                "genomic_position": local + 1,
                "alternate_allele": [chr(base) for base in bases],
            }
        )

    def draw_substitutions(self, rng: np.random.Generator, size: int) -> Integers:
        """Draw candidate indices by mutability, with replacement."""
        drawn: Integers = np.searchsorted(self._cumulative, rng.random(size) * self._cumulative[-1])
        return drawn

    def draw_indels(
        self, rng: np.random.Generator, size: int, places: Integers | None = None
    ) -> tuple[Integers, Integers, Bytes]:
        """Draw up to `size` normalised indels: anchor positions, signed lengths, inserted bases.

        With `places`, anchors come from there and no length is a multiple of three (frameshifts).
        """
        frameshift = places is not None
        anchors = rng.choice(self._places if places is None else places, size=4 * size)
        lengths = _indel_lengths(rng, 4 * size, MAXIMUM_SOMATIC_INDEL)
        inserted = BASES[rng.integers(0, 4, size=(4 * size, MAXIMUM_SOMATIC_INDEL))]
        bases = self.genome.bases
        inside = self.inside_exon if frameshift else self.allowed
        last = np.clip(anchors + 1 + np.maximum(-lengths, 0), 0, len(bases) - 1)
        keep = _is_left_aligned(bases, anchors, lengths, inserted)
        keep &= self.allowed[anchors] & self.allowed[last] & inside[anchors] & inside[last]
        if frameshift:
            keep &= lengths % 3 != 0
        kept = np.flatnonzero(keep)[:size]
        return anchors[kept], lengths[kept], inserted[kept]

    def indel_consequence(self, anchors: Integers, lengths: Integers) -> NDArray[np.str_]:
        """Consequence of indels by where their first and last bases lie."""
        first = anchors + 1
        last = np.where(lengths < 0, anchors - lengths, first)
        before = np.where(lengths < 0, first, anchors)
        coding = self.coding_mask[before] & self.coding_mask[last]
        touches = self.coding_mask[before] | self.coding_mask[last]
        spliced = self.splice[first] | self.splice[last]
        return np.select(
            [spliced, coding & (lengths % 3 == 0), coding, touches],
            ["splice", "inframe", "frameshift", "other"],
            default="noncoding",
        )

    def draw_driver(
        self, rng: np.random.Generator, driver: Driver
    ) -> tuple[int, int, Bytes, int, str]:
        """Draw one driver: anchor, signed length, inserted bases, alternate base, consequence."""
        nothing = np.zeros(MAXIMUM_SOMATIC_INDEL, dtype=np.uint8)
        if driver.promoter:
            promoter = self.genome.promoters.filter(pl.col("gene_name") == driver.gene_name)
            site = int(self.genome.in_concatenation(promoter, "site")[0])
            # Cytosine deaminated to thymine, seen from the strand that the promoter's base is on.
            base = ord("T") if promoter["strand"][0] == "+" else ord("A")
            return site, 0, nothing, base, "promoter"
        truncating = rng.random() < driver.truncating
        if truncating and rng.random() >= STOP_GAINED_SHARE:
            names = self.genome.genes["gene_name"].to_list()
            places = np.flatnonzero(
                (self.gene_of == names.index(driver.gene_name)) & self.inside_exon & self.allowed
            )
            anchors, lengths, inserted = self.draw_indels(rng, 8, places)
            return int(anchors[0]), int(lengths[0]), inserted[0], 0, "frameshift"
        consequence = "stop_gained" if truncating else "missense"
        if not truncating and driver.hotspots and rng.random() < HOTSPOT_SHARE:
            hotspots = self._hotspots[driver.gene_name]
            choice = int(rng.choice(hotspots, p=HOTSPOT_WEIGHTS))
        else:
            candidates = self._in_gene(driver.gene_name, consequence)
            weights = self.weight[candidates]
            choice = int(rng.choice(candidates, p=weights / weights.sum()))
        return int(self.position[choice]), 0, nothing, int(self.alternate[choice]), consequence


def hotspot_table(model: SomaticModel) -> pl.DataFrame:
    """Planted hotspots in the form of ``resources/hotspots.tsv``.

    Returns
    -------
    polars.DataFrame
        gene_name, kind (protein | promoter), position (amino acid; or base relative to the A of
        the start codon, which is +1), reference, alternate (one-letter amino acids; or bases of
        the coding strand), source.
    """
    protein = model.hotspots().select(
        "gene_name", pl.lit("protein").alias("kind"), "position", "reference", "alternate"
    )
    promoter = pl.DataFrame(
        [
            (d.gene_name, "promoter", *PROMOTER_SITES[d.gene_name], "T")
            for d in DRIVERS
            if d.promoter
        ],
        schema=protein.schema,
        orient="row",
    )
    return pl.concat([protein, promoter]).with_columns(source=pl.lit("simulated"))


def _mask(length: int, starts: Integers, ends: Integers) -> NDArray[np.bool_]:
    """Boolean mask of half-open intervals."""
    edges = np.zeros(length + 1, dtype=np.int64)
    np.add.at(edges, np.clip(starts, 0, length), 1)
    np.add.at(edges, np.clip(ends, 0, length), -1)
    return np.cumsum(edges[:-1]) > 0


def _spaced(anchors: Integers, lengths: Integers, n_wanted: int) -> Integers:
    """Take rows in order, leaving out those within `SOMATIC_SPACING` of one taken before."""
    taken: list[int] = []
    starts, ends = anchors, anchors + 1 + np.maximum(-lengths, 0)
    for row in range(len(anchors)):
        gap = np.maximum(starts[row] - ends[taken], starts[taken] - ends[row])
        if (gap >= SOMATIC_SPACING).all():
            taken.append(row)
        if len(taken) == n_wanted:
            break
    return np.array(taken, dtype=np.int64)


def _simulate_patient_somatic(
    seed: int,
    patient: str,
    stage_group: str,
    sex: str,
    purity: float,
    model: SomaticModel,
    altered_genes: Sequence[str],
) -> pl.DataFrame:
    rng = stream(seed, "somatic", patient)
    hits = [d for d in DRIVERS if rng.random() < (d.mibc if stage_group == "MIBC" else d.nmibc)]
    hits = [d for d in hits if d.gene_name not in altered_genes]
    drawn = [model.draw_driver(stream(seed, "somatic", patient, d.gene_name), d) for d in hits]
    burden = np.exp(rng.normal(0.0, BURDEN_LOG_SD) - BURDEN_LOG_SD**2 / 2)
    n_passengers = int(rng.poisson(PASSENGERS_PER_MEGABASE * model.target_bases / 1e6 * burden))
    spare = 2 * n_passengers + 10
    substitutions = model.draw_substitutions(rng, spare)
    indels, indel_lengths, indel_inserted = model.draw_indels(rng, spare)
    is_indel = rng.random(spare)[: len(indels)] < SOMATIC_INDEL_SHARE
    substitutions = substitutions[: len(indels)]
    anchors = np.where(is_indel, indels, model.position[substitutions])
    lengths = np.where(is_indel, indel_lengths, 0)
    consequence = np.where(
        is_indel,
        model.indel_consequence(indels, indel_lengths),
        model.consequence[substitutions],
    )
    n_drivers = len(drawn)
    anchors = np.concatenate([np.array([d[0] for d in drawn], dtype=np.int64), anchors])
    lengths = np.concatenate([np.array([d[1] for d in drawn], dtype=np.int64), lengths])
    inserted = np.concatenate([*(d[2][None] for d in drawn), indel_inserted])
    alternates = np.concatenate(
        [np.array([d[3] for d in drawn], dtype=np.uint8), model.alternate[substitutions]]
    )
    consequence = np.concatenate([np.array([d[4] for d in drawn], dtype=np.str_), consequence])
    all_names = model.genome.genes["gene_name"].to_list()
    altered = np.array([all_names.index(name) for name in altered_genes], dtype=np.int64)
    free = np.flatnonzero(~np.isin(model.targeted_gene[anchors], altered))
    kept = free[_spaced(anchors[free], lengths[free], n_drivers + n_passengers)]
    is_driver = kept < n_drivers

    clone = np.where(
        is_driver,
        rng.choice(3, size=len(kept), p=DRIVER_CLONES),
        rng.choice(3, size=len(kept), p=PASSENGER_CLONES),
    )
    cancer_cell_fraction = np.array([rng.uniform(*bounds) for bounds in CLONE_FRACTION])
    cell_fraction = cancer_cell_fraction[clone] * purity
    haplotype = rng.integers(0, 2, size=len(kept))
    reference, alternate = _alleles(
        model.genome.bases, anchors[kept], lengths[kept], inserted[kept], alternates[kept]
    )
    chromosome, local = model.genome.chromosome_position(anchors[kept])
    gene = model.gene_of[anchors[kept]]
    names = np.array([*all_names, None], dtype=object)
    haploid = (chromosome == "chrX") & (sex == "male")
    return pl.DataFrame(
        {
            "patient": [patient] * len(kept),
            "chromosome": pl.Series(chromosome, dtype=pl.String),
            "position": local + 1,
            "reference_allele": pl.Series(reference, dtype=pl.String),
            "alternate_allele": pl.Series(alternate, dtype=pl.String),
            "kind": pl.Series(
                np.where(lengths[kept] == 0, "snv", "indel").tolist(), dtype=pl.String
            ),
            "gene_name": pl.Series(names[gene].tolist(), dtype=pl.String),
            "is_driver": is_driver,
            "cell_fraction": cell_fraction,
            "allele_fraction": np.where(haploid, cell_fraction, cell_fraction / 2),
            "consequence": pl.Series(consequence[kept].tolist(), dtype=pl.String),
            "clone": clone,
            "haplotype": np.where(haploid, 0, haplotype),
        }
    )


def simulate_somatic(
    seed: int, patients: pl.DataFrame, model: SomaticModel, copy_number: pl.DataFrame
) -> pl.DataFrame:
    """Somatic variants of every patient, drivers by stage and passengers by mutability.

    One copy of the gene carries the variant in the cells of its clone. Genes whose copy number is
    altered in a patient have no variants there, so the allele fraction is
    ``purity * cancer_cell_fraction / 2``, and twice that on the X chromosome of males, of which
    all cells have one copy. All lie at least `SOMATIC_SPACING` bases from each other and from
    every variant site of the population.

    Parameters
    ----------
    patients
        patient, stage_group, sex, tumour_purity.
    copy_number
        Result of `ihdsi.simulate.copy_number.simulate_copy_number`.

    Returns
    -------
    polars.DataFrame
        patient, chromosome, position (1-based), reference_allele, alternate_allele (normalised),
        kind (snv | indel), gene_name?, is_driver, cell_fraction (of the sample's cells that carry
        it), allele_fraction, consequence, clone (0 is the founding clone), haplotype (0 | 1).
    """
    columns = ("patient", "stage_group", "sex", "tumour_purity")
    altered = dict(copy_number.group_by("patient").agg("gene_name").iter_rows())
    return pl.concat(
        [
            _simulate_patient_somatic(
                seed, patient, stage, sex, purity, model, altered.get(patient, [])
            )
            for patient, stage, sex, purity in patients.select(columns).iter_rows()
        ]
    ).sort("patient", "chromosome", "position")
