"""Gather a site's values of one assay from all of its matrices."""

from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.matrices.gather import gather_matrix
from ihdsi.study import MatrixSettings, QualityMetric

log_to(snakemake.log[0])
limits = snakemake.params.limits.items()
table = gather_matrix(
    snakemake.wildcards.assay,
    list(zip(snakemake.input.matrices, snakemake.params.patients, strict=True)),
    MatrixSettings(**snakemake.params.settings),
    snakemake.params.samples,
    next(iter(snakemake.input.plates), None),
    snakemake.params.minimum_n,
    {name: QualityMetric(**keys) for name, keys in limits},
)
write_parquet(table.values, snakemake.output.table)
write_parquet(table.covariates, snakemake.output.covariates)
write_parquet(table.metrics, snakemake.output.metrics)
write_tsv(table.samples, snakemake.output.samples)
