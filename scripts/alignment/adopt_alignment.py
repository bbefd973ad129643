"""Make a given BAM or CRAM the sample's alignment."""

from ihdsi.alignment.adopt import adopt_alignment
from ihdsi.logs import log_to

log_to(snakemake.log[0])
done = adopt_alignment(
    snakemake.input.alignment,
    snakemake.input.genome,
    snakemake.wildcards.sample,
    snakemake.output.bam,
    snakemake.output.index,
    snakemake.threads,
)
print(f"{snakemake.input.alignment}: {done}")
