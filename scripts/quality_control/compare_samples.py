"""Compare a site's samples with each other."""

import polars as pl

from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.sample_checks import AlignedSample, artefact_metrics, compare_samples
from ihdsi.study import SampleChecks

log_to(snakemake.log[0])
given = snakemake.input
samples = [AlignedSample(*names) for names in snakemake.params.samples]
identity, concordance = compare_samples(
    samples,
    [pl.read_parquet(path) for path in given.counts],
    SampleChecks(**snakemake.params.settings),
)
artefacts = artefact_metrics(samples, [pl.read_parquet(path) for path in given.substitutions])
write_parquet(pl.concat([identity, artefacts]), snakemake.output.metrics)
write_tsv(concordance, snakemake.output.concordance)
