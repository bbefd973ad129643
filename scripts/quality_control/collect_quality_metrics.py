"""Collect and judge a site's quality metrics."""

import polars as pl

from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.quality_control import gather_quality, judge_metrics
from ihdsi.study import QualityMetric

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
tables = {
    name: pl.read_parquet(path)
    for name in ("somatic_variants", "somatic_assessed", "gene_counts")
    for path in given[name]
}
if given.sample_checks:
    tables["sample_checks"] = pl.concat(pl.read_parquet(path) for path in given.sample_checks)
metrics = gather_quality(
    alignments=list(zip(params.aligned, given.stats, given.thresholds, strict=True)),
    samples=params.samples,
    germline_statistics=list(given.germline_statistics),
    **tables,
)
judged = judge_metrics(
    metrics, {name: QualityMetric(**keys) for name, keys in params.limits.items()}
)
write_parquet(judged, snakemake.output.metrics)
write_tsv(judged, snakemake.output.text)
