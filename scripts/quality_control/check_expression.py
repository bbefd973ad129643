"""Measure the quality of a site's RNA samples."""

import polars as pl

from ihdsi.expression.quality import expression_checks, read_quality_genes
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import SexCheck

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
clinical = next(iter(given.clinical), None)
metrics = expression_checks(
    pl.read_parquet(given.counts),
    params.samples,
    params.folders,
    pl.read_parquet(clinical) if clinical else None,
    SexCheck(**params.sex) if params.sex else None,
    read_quality_genes(given.genes),
    params.stranded_percent,
)
write_parquet(metrics, snakemake.output[0])
