"""Judge one patient's calls."""

from ihdsi.logs import log_to
from ihdsi.study import SomaticFilters
from ihdsi.variants.somatic_filters import SomaticEvidence, filter_somatic_calls

log_to(snakemake.log[0])
filter_somatic_calls(
    snakemake.input.calls,
    snakemake.output.vcf,
    snakemake.params.tumour,
    snakemake.params.normal,
    SomaticFilters(**snakemake.params.filters),
    SomaticEvidence(
        alignment=snakemake.input.tumour,
        genome=snakemake.input.genome,
        annotation=next(iter(snakemake.input.annotation), None),
        germline_resource=next(iter(snakemake.input.germline_resource), None),
        site_panel=next(iter(snakemake.input.site_panel), None),
        n_normals=snakemake.params.n_normals,
        own_alleles=snakemake.input.own_alleles,
        panel_of_normals=next(iter(snakemake.input.panel_of_normals), None),
    ),
)
