"""Put the sites' mutation burdens and signature shares together."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.pool import pool_mutation_burden
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
burdens = read_site_tables(snakemake.input.mutation_burden)
write_parquet(pool_mutation_burden(burdens), snakemake.output[0])
