"""Find where the genes lie whose copy number is reported."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.variants.copy_number import locate_genes, read_reported_genes

log_to(snakemake.log[0])
genes = locate_genes(
    read_reported_genes(snakemake.input.genes),
    next(iter(snakemake.input.annotation), None),
    next(iter(snakemake.input.targets), None),
)
write_parquet(genes, snakemake.output[0])
