"""Decide which alignments of a site may serve other patients, before anything is called."""

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.quality_control import decide_samples, gather_quality, judge_metrics
from ihdsi.study import QualityMetric

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
metrics = gather_quality(
    alignments=list(zip(params.aligned, given.stats, given.thresholds, strict=True)),
    samples=params.samples,
    sample_checks=pl.read_parquet(given.sample_checks),
)
judged = judge_metrics(
    metrics, {name: QualityMetric(**keys) for name, keys in params.limits.items()}
)
write_parquet(decide_samples(judged, params.samples), snakemake.output[0])
