"""Simulate the reads of one sample and lane."""

from pathlib import Path

from ihdsi.logs import log_to
from ihdsi.simulate.reads import simulate_sample_reads

log_to(snakemake.log[0])
simulate_sample_reads(
    snakemake.params.seed,
    snakemake.wildcards.sample,
    snakemake.wildcards.lane,
    tuple(snakemake.params.lanes),
    genome=snakemake.input.genome,
    targets=snakemake.input.targets,
    truth=Path(snakemake.input.truth[0]).parent,
    fastq_1=snakemake.output.fastq_1,
    fastq_2=snakemake.output.fastq_2,
)
