"""Choose the sites at which a hospital's samples are compared."""

from ihdsi.alignment.common_sites import choose_common_sites
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import SampleChecks

log_to(snakemake.log[0])
sites = choose_common_sites(
    next(iter(snakemake.input.calls), None),
    SampleChecks(**snakemake.params.settings),
    next(iter(snakemake.input.targets), None),
    snakemake.params.counted_here,
)
write_parquet(sites, snakemake.output[0])
