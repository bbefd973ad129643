"""Write the read groups that a given alignment gets when it is aligned anew."""

from ihdsi.alignment.adopt import write_read_groups
from ihdsi.logs import log_to

log_to(snakemake.log[0])
write_read_groups(
    snakemake.input.alignment,
    snakemake.wildcards.sample,
    snakemake.output.read_groups,
    snakemake.output.libraries,
)
