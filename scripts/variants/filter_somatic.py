"""Judge one patient's tumour–normal calls."""

from ihdsi.logs import log_to
from ihdsi.study import SomaticFilters
from ihdsi.variants.somatic import filter_somatic_calls, read_group_sample

log_to(snakemake.log[0])
filter_somatic_calls(
    snakemake.input.calls,
    snakemake.output.vcf,
    tumour=(read_group_sample(snakemake.input.tumour), snakemake.params.tumour),
    normal=(read_group_sample(snakemake.input.normal), snakemake.params.normal),
    settings=SomaticFilters(**snakemake.params.filters),
)
