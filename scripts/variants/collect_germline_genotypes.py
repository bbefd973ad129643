"""Gather a site's germline genotypes."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import GermlineFilters
from ihdsi.variants.germline import gather_germline

log_to(snakemake.log[0])
genotypes = gather_germline(
    call_sets=list(zip(snakemake.input.calls, snakemake.params.call_sets, strict=True)),
    coverage=dict(zip(snakemake.params.covered_patients, snakemake.input.coverage, strict=True)),
    settings=GermlineFilters(**snakemake.params.filters),
    catalogue=next(iter(snakemake.input.catalogue), None),
)
write_parquet(genotypes, snakemake.output[0])
