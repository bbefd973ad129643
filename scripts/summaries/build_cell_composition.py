"""Summarise the shares of a site's cell types."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.summaries import write_table
from ihdsi.summaries.cell_composition import build_cell_composition

log_to(snakemake.log[0])
clinical = [pl.read_parquet(path) for path in snakemake.input.clinical]
excluded = excluded_patients(pl.read_parquet(snakemake.input.decisions), ["tumour_single_cell"])
composition = build_cell_composition(
    without_patients(pl.read_parquet(snakemake.input.counts), excluded),
    next(iter(clinical), None),
    snakemake.params.strata,
)
write_table(composition, "cell_composition", snakemake.output[0])
