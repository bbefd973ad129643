"""Estimate the signature exposures of a site's tumours."""

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import SignatureSettings
from ihdsi.variants.signatures import estimate_site_exposures

log_to(snakemake.log[0])
exposures = estimate_site_exposures(
    pl.read_parquet(snakemake.input.variants),
    mafs=list(zip(snakemake.input.mafs, snakemake.params.maf_patients, strict=True)),
    genome=next(iter(snakemake.input.genome), None),
    targets=next(iter(snakemake.input.targets), None),
    settings=SignatureSettings.model_validate(snakemake.params.settings),
)
write_parquet(exposures, snakemake.output[0])
