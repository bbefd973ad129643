"""Build a site's survival curves."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.study import Endpoint
from ihdsi.summaries import write_table
from ihdsi.summaries.survival_curve import build_survival_curve

log_to(snakemake.log[0])
curve = build_survival_curve(
    pl.read_parquet(snakemake.input.clinical),
    {name: Endpoint(**keys) for name, keys in snakemake.params.endpoints.items()},
    snakemake.params.strata,
)
write_table(curve, "survival_curve", snakemake.output[0])
