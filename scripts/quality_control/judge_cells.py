"""Decide which samples of cells are clustered, before they are."""

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.quality_control import decide_samples, judge_metrics
from ihdsi.study import QualityMetric

log_to(snakemake.log[0])
params = snakemake.params
judged = judge_metrics(
    pl.concat(pl.read_parquet(path) for path in snakemake.input),
    {name: QualityMetric(**keys) for name, keys in params.limits.items()},
)
write_parquet(decide_samples(judged, params.samples), snakemake.output[0])
