"""Simulated genotypes of a cohort as disclosure control reads them, and what they count."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ihdsi.study import GermlineFilters
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.variant_frequencies import count_alleles
from ihdsi.variants.cohort_genotypes import genotypes_of_variants
from ihdsi.variants.genotypes import GenotypeBlock

NO_PANEL = pl.DataFrame(schema={"gene_id": pl.String, "gene_name": pl.String})
EVERYTHING = GermlineFilters(minimum_call_rate=0, minimum_hardy_weinberg_p_value=0)


@dataclass
class Cohort:
    """Blocks of genotypes, with a clinical table whose column stage is the stratum variable."""

    clinical: pl.DataFrame
    blocks: tuple[GenotypeBlock, ...]
    panel: pl.DataFrame = field(default_factory=lambda: NO_PANEL)
    minimum_call_rate: float = 0.5

    @property
    def patients(self):
        return tuple(self.clinical["patient"])

    @property
    def variables(self):
        return [name for name in self.clinical.columns if name != "patient"]

    @property
    def strata(self):
        return stratify(self.clinical["patient"], self.clinical, self.variables)

    def read(self, variants):
        return genotypes_of_variants(self.blocks, self.patients, variants)

    def frequencies(self):
        return count_alleles(
            self.blocks, self.patients, EVERYTHING, self.clinical, self.variables, self.panel
        )


def block(patients, dosage, ploidy=None, chromosome="1", consequences=None, start=1):
    n = len(dosage)
    ploidy = np.full(dosage.shape, 2, dtype=np.int8) if ploidy is None else ploidy
    return GenotypeBlock(
        patients=tuple(patients),
        chromosome=chromosome,
        position=np.arange(start, start + n),
        reference_alleles=["A"] * n,
        alternate_alleles=["C"] * n,
        consequences=[None] * n if consequences is None else list(consequences),
        population_frequency=np.full(n, np.nan),
        clinical_significance=[None] * n,
        dosage=dosage.astype(np.int8),
        ploidy=ploidy.astype(np.int8),
        absent=np.zeros(dosage.shape, dtype=bool),
    )


def clinical_table(n, **variables):
    return pl.DataFrame({"patient": [f"patient{i:05d}" for i in range(n)], **variables})
