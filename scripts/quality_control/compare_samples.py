"""Compare a site's samples with each other and with the clinical table."""

import polars as pl

from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.sample_checks import AlignedSample, artefact_metrics, compare_samples, sex_metrics
from ihdsi.study import SampleChecks

log_to(snakemake.log[0])
given = snakemake.input
settings = SampleChecks(**snakemake.params.settings)
samples = [AlignedSample(*names) for names in snakemake.params.samples]
clinical = next(iter(given.clinical), None)
identity, concordance = compare_samples(
    samples, [pl.read_parquet(path) for path in given.counts], settings
)
sex = sex_metrics(samples, given.regions, settings, pl.read_parquet(clinical) if clinical else None)
artefacts = artefact_metrics(samples, [pl.read_parquet(path) for path in given.substitutions])
write_parquet(pl.concat([identity, sex, artefacts]), snakemake.output.metrics)
write_tsv(concordance, snakemake.output.concordance)
