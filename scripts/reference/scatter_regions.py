"""Split what is called into parts."""

from ihdsi.logs import log_to
from ihdsi.variants.regions import write_regions

log_to(snakemake.log[0])
write_regions(
    snakemake.input.index, next(iter(snakemake.input.targets), None), list(snakemake.output)
)
