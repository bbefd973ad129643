"""Add up survival curves over sites."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.site_tables import read_site_tables
from ihdsi.meta.survival_curve import pool_survival_curve

log_to(snakemake.log[0])
tables = read_site_tables(snakemake.input.survival_curve)
write_parquet(pool_survival_curve(tables), snakemake.output[0])
