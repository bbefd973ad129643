"""Gather a site's somatic variants and who was assessed."""

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.variants.hotspots import load_known_alterations
from ihdsi.variants.somatic import gather_somatic

log_to(snakemake.log[0])
variants, assessed = gather_somatic(
    call_sets=list(zip(snakemake.input.calls, snakemake.params.call_sets, strict=True)),
    mafs=list(zip(snakemake.input.mafs, snakemake.params.maf_patients, strict=True)),
    coverage=list(zip(snakemake.params.covered_patients, snakemake.input.coverage, strict=True)),
    catalogue=pl.read_parquet(snakemake.input.catalogue),
    targets=next(iter(snakemake.input.targets), None),
    callable_depth=snakemake.params.callable_depth,
    known=load_known_alterations(
        snakemake.input.hotspots,
        snakemake.input.tiers,
        promoters=next(iter(snakemake.input.promoters), None),
        transcripts=next(iter(snakemake.input.transcripts), None),
    ),
)
write_parquet(variants, snakemake.output.variants)
write_parquet(assessed, snakemake.output.assessed)
