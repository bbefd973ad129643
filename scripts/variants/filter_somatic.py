"""Judge one patient's calls."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.study import SomaticFilters
from ihdsi.variants.panel_of_normals import panel_members
from ihdsi.variants.somatic_filters import SomaticEvidence, filter_somatic_calls

log_to(snakemake.log[0])
members = [
    patient
    for path in snakemake.input.decisions
    for patient in panel_members(snakemake.params.normals, pl.read_parquet(path))
]
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
        n_normals=len(members),
        # A normal that is not in the panel has nothing to take off its counts.
        own_alleles=(snakemake.input.own_alleles if snakemake.wildcards.patient in members else []),
        panel_of_normals=next(iter(snakemake.input.panel_of_normals), None),
    ),
)
