"""Summarise a site's clinical variables."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import ClinicalVariable
from ihdsi.summaries import write_table
from ihdsi.summaries.cohort_profile import build_cohort_profile

log_to(snakemake.log[0])
given = snakemake.input
computed = None
for path, decisions in zip(given.expression_profile, given.decisions, strict=True):
    excluded = excluded_patients(pl.read_parquet(decisions), ["tumour_rna"])
    computed = without_patients(pl.read_parquet(path), excluded)
profile = build_cohort_profile(
    pl.read_parquet(given.clinical),
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.strata,
    computed,
)
write_table(profile, "cohort_profile", snakemake.output[0])
