"""Compare the sex that a site's alignments show with the clinical table."""

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.sample_checks import AlignedSample, sex_metrics
from ihdsi.study import SampleChecks

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
clinical = next(iter(given.clinical), None)
metrics = sex_metrics(
    [AlignedSample(*names) for names in params.samples],
    given.regions,
    SampleChecks(**params.settings),
    pl.read_parquet(clinical) if clinical else None,
)
write_parquet(metrics, snakemake.output[0])
