"""Count a site's germline alleles."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients
from ihdsi.study import GermlineFilters
from ihdsi.summaries import write_table
from ihdsi.summaries.variant_frequencies import build_variant_frequencies

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
clinical, catalogue = next(iter(given.clinical), None), next(iter(given.catalogue), None)
frequencies = build_variant_frequencies(
    given.calls,
    params.patients,
    GermlineFilters(**params.filters),
    excluded=excluded_patients(pl.read_parquet(given.decisions), ["normal_dna"]),
    clinical=pl.read_parquet(clinical) if clinical else None,
    strata=params.strata,
    coverage=dict(zip(params.covered_patients, given.coverage, strict=True)),
    catalogue=pl.read_parquet(catalogue) if catalogue else None,
)
write_table(frequencies, "variant_frequencies", snakemake.output[0])
