"""Count a site's germline alleles."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients
from ihdsi.study import GermlineFilters, SexCheck
from ihdsi.summaries import write_table
from ihdsi.summaries.variant_frequencies import build_variant_frequencies
from ihdsi.variants.sex_chromosomes import recorded_sexes

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
catalogue = next(iter(given.catalogue), None)
clinical = pl.read_parquet(given.clinical[0]) if given.clinical else None
check = SexCheck(**params.sex) if params.sex else None
frequencies = build_variant_frequencies(
    given.calls,
    params.patients,
    GermlineFilters(**params.filters),
    excluded=excluded_patients(pl.read_parquet(given.decisions), ["normal_dna"]),
    clinical=clinical,
    strata=params.strata,
    coverage=dict(zip(params.covered_patients, given.coverage, strict=True)),
    catalogue=pl.read_parquet(catalogue) if catalogue else None,
    sexes=recorded_sexes(clinical, check),
)
write_table(frequencies, "variant_frequencies", snakemake.output[0])
