"""Test genes for recurrent alteration."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.drivers import find_driver_genes
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
alterations = read_site_tables(snakemake.input.gene_alterations)
burdens = read_site_tables(snakemake.input.mutation_burden)
write_parquet(find_driver_genes(alterations, burdens), snakemake.output[0])
