"""Add up gene alterations and pool their odds ratios over sites."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.pool import pool_alteration_contrasts, pool_gene_alterations
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
tables = read_site_tables(snakemake.input.gene_alterations)
write_parquet(pool_gene_alterations(tables), snakemake.output.alterations)
write_parquet(
    pool_alteration_contrasts(tables, snakemake.params.contrasts, snakemake.params.model),
    snakemake.output.contrasts,
)
