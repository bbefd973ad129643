"""Pool expression effects within cell types over sites."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.pool import pool_cell_expression_effects
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
tables = read_site_tables(snakemake.input.cell_expression_effects)
write_parquet(pool_cell_expression_effects(tables, snakemake.params.model), snakemake.output[0])
