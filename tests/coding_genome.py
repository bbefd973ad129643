"""A random coding genome with mutations of known signature, context and protein change."""

from itertools import product

import numpy as np
import polars as pl

from ihdsi.variants.mutation_contexts import (
    BASES,
    TRINUCLEOTIDE_OF_CHANNEL,
    TRINUCLEOTIDES,
    base_codes,
    channels_of,
)
from ihdsi.variants.protein_contexts import CLASS_KEY

CODE = dict(
    zip(
        map("".join, product("TCAG", repeat=3)),
        "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
        strict=True,
    )
)
_AMINO = np.array([CODE["".join(triple)] for triple in product(BASES, repeat=3)])


class CodingGenome:
    """All substitutions of coding sequences, with their channels and protein changes.

    `sequences` are coding strands that begin with one base before the first codon and end with one
    base after the last; without them, `n_genes` random ones of `codons` sense codons are made.
    """

    def __init__(self, seed, n_genes=100, codons=400, sequences=None):
        self.rng = np.random.default_rng(seed)
        if sequences is None:
            sense = [codon for codon, amino in CODE.items() if amino != "*"]
            # Bases are independent, so that a trinucleotide is as frequent in frame as out of it.
            # How far human codons depart from that is seen in tests/standards.
            usage = np.array([0.24 ** sum(map(codon.count, "CG")) for codon in sense])
            usage *= [0.26 ** sum(map(codon.count, "AT")) for codon in sense]
            usage /= usage.sum()
            sequences = [
                "".join(
                    [
                        self.rng.choice(list(BASES)),
                        *self.rng.choice(sense, size=codons, p=usage),
                        self.rng.choice(list(BASES)),
                    ]
                )
                for _ in range(n_genes)
            ]
        self.minus = self.rng.random(len(sequences)) < 0.5
        self.sites = pl.concat(
            self._substitutions(number, sequence) for number, sequence in enumerate(sequences)
        ).filter(pl.col("amino_acid") != "*")
        one_each = self.sites.unique(["gene", "offset"])
        self.trinucleotides = np.bincount(
            TRINUCLEOTIDE_OF_CHANNEL[one_each["channel"].to_numpy()], minlength=len(TRINUCLEOTIDES)
        ).astype(float)

    def _substitutions(self, number, sequence):
        codes = base_codes(sequence).astype(np.int64)
        offset = np.repeat(np.arange(1, 1 + (len(codes) - 2) // 3 * 3), 4)
        alternate = np.tile(np.arange(4), len(offset) // 4)
        different = alternate != codes[offset]
        offset, alternate = offset[different], alternate[different]
        place = (offset - 1) % 3
        start = offset - place
        weights = np.array([16, 4, 1])
        before = codes[start] * 16 + codes[start + 1] * 4 + codes[start + 2]
        after = before + (alternate - codes[offset]) * weights[place]
        channel = channels_of(
            *(
                array.astype(np.uint8)
                for array in (codes[offset - 1], codes[offset], alternate, codes[offset + 1])
            )
        )
        minus = bool(self.minus[number])
        letters = np.array(list(BASES[::-1] if minus else BASES))
        return pl.DataFrame(
            {
                "gene": number,
                "offset": offset,
                "channel": channel,
                "strand": "-" if minus else "+",
                "reference_allele": letters[codes[offset]],
                "alternate_allele": letters[alternate],
                "amino_acid": _AMINO[before],
                "codon": (offset - 1) // 3 + 1,
                "changed_to": _AMINO[after],
            }
        )

    def _rates(self, signatures, measured_in):
        rates = signatures / measured_in[TRINUCLEOTIDE_OF_CHANNEL][:, np.newaxis]
        return rates[self.sites["channel"].to_numpy()]

    def class_frequencies(self, signatures, measured_in):
        """Probability of each class under each signature, given strand and whether silent."""
        rates = self._rates(signatures, measured_in)
        names = ["SBS1", "SBS2", "SBS5", "SBS13"]
        silent = pl.col("amino_acid") == pl.col("changed_to")
        return (
            self.sites.select(CLASS_KEY)
            .hstack(pl.DataFrame(rates, schema=names))
            .group_by(CLASS_KEY)
            .agg(pl.col(names).sum())
            .with_columns(
                pl.col(name) / pl.col(name).sum().over("strand", silent) for name in names
            )
        )

    def mutations(self, shares, n_mutations, signatures, measured_in):
        """Draw mutations of patients from signatures in known shares.

        Returns somatic_variants with the true channel, and the shares that were drawn.
        """
        rates = self._rates(signatures, measured_in)
        cumulative = np.cumsum(rates / rates.sum(axis=0), axis=0)
        drawn, truth = [], []
        for number, row in enumerate(shares):
            counts = self.rng.multinomial(n_mutations, row)
            truth.append(counts / n_mutations)
            rows = np.concatenate(
                [
                    np.searchsorted(cumulative[:, s], self.rng.random(count) * cumulative[-1, s])
                    for s, count in enumerate(counts)
                ]
            )
            drawn.append(self.sites[rows].with_columns(patient=pl.lit(f"P{number:03d}")))
        table = (
            pl.concat(drawn)
            .with_row_index("position")
            .select(
                "patient",
                pl.lit("1").alias("chromosome"),
                # The place tells nothing here; each mutation counts.
                pl.col("position").cast(pl.Int64),
                "reference_allele",
                "alternate_allele",
                pl.format("G{}", "gene").alias("gene_name"),
                pl.format("{}{}{}", "amino_acid", "codon", "changed_to").alias("protein_change"),
                "channel",
            )
        )
        return table, np.array(truth)
