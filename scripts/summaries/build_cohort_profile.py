"""Summarise a site's clinical variables."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.study import ClinicalVariable
from ihdsi.summaries import write_table
from ihdsi.summaries.cohort_profile import build_cohort_profile

log_to(snakemake.log[0])
profile = build_cohort_profile(
    pl.read_parquet(snakemake.input.clinical),
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.strata,
)
write_table(profile, "cohort_profile", snakemake.output[0])
