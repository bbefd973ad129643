"""Summarise a site's mutation burden."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.summaries import write_table
from ihdsi.summaries.mutation_burden import build_mutation_burden

log_to(snakemake.log[0])
clinical = next(iter(snakemake.input.clinical), None)
burden = build_mutation_burden(
    pl.read_parquet(snakemake.input.variants),
    pl.read_parquet(snakemake.input.assessed),
    clinical=pl.read_parquet(clinical) if clinical else None,
    strata=snakemake.params.strata,
    exposures=pl.read_parquet(snakemake.input.exposures),
    groups=snakemake.params.groups,
)
write_table(burden, "mutation_burden", snakemake.output[0])
