"""Count an alignment's reads of each allele at common sites."""

import polars as pl

from ihdsi.alignment.common_sites import count_alleles
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import SampleChecks

log_to(snakemake.log[0])
counts = count_alleles(
    snakemake.input.bam,
    pl.read_parquet(snakemake.input.sites),
    SampleChecks(**snakemake.params.settings),
)
write_parquet(counts, snakemake.output[0])
