"""Count substitutions by read orientation in a sample of an alignment's reads."""

from ihdsi.alignment.artefacts import count_substitutions
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import SampleChecks

log_to(snakemake.log[0])
substitutions = count_substitutions(
    snakemake.input.bam,
    snakemake.input.genome,
    SampleChecks(**snakemake.params.settings),
    next(iter(snakemake.input.targets), None),
)
write_parquet(substitutions, snakemake.output[0])
