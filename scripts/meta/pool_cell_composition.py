"""Put the sites' shares of cell types together and compare their groups."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.cell_composition import compare_cell_composition, pool_cell_composition
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
tables = read_site_tables(snakemake.input.cell_composition)
write_parquet(pool_cell_composition(tables), snakemake.output.composition)
write_parquet(
    compare_cell_composition(tables, snakemake.params.contrasts), snakemake.output.contrasts
)
