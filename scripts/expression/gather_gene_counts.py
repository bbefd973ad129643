"""Gather a site's gene counts, from salmon and from given matrices."""

from ihdsi.expression.counts import gather_gene_counts
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import ExpressionSettings

log_to(snakemake.log[0])
counts = gather_gene_counts(
    dict(zip(snakemake.params.patients, snakemake.input.quantifications, strict=True)),
    next(iter(snakemake.input.transcript_to_gene), None),
    list(zip(snakemake.input.matrices, snakemake.params.matrix_patients, strict=True)),
    ExpressionSettings(**snakemake.params.settings),
)
write_parquet(counts, snakemake.output[0])
