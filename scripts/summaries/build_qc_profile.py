"""Summarise a site's quality metrics."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.study import QualityMetric
from ihdsi.summaries import write_table
from ihdsi.summaries.qc_profile import build_qc_profile

log_to(snakemake.log[0])
profile = build_qc_profile(
    pl.read_parquet(snakemake.input.metrics),
    {name: QualityMetric(**keys) for name, keys in snakemake.params.limits.items()},
    pl.read_parquet(snakemake.input.decisions),
)
write_table(profile, "qc_profile", snakemake.output[0])
