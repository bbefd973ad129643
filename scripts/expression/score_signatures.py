"""Score the expression signatures of a site's tumours and call marker-based subtypes."""

import polars as pl

from ihdsi.expression.signatures import (
    call_subtypes,
    profile_of_expression,
    read_signatures,
    score_signatures,
)
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import ExpressionSettings

log_to(snakemake.log[0])
given, made = snakemake.input, snakemake.output
settings = ExpressionSettings(**snakemake.params.settings)
signatures = read_signatures(given.signatures, settings.signatures)
scores = score_signatures(pl.read_parquet(given.counts), signatures, settings)
subtypes = call_subtypes(scores, settings)
write_parquet(scores, made.scores)
write_parquet(subtypes, made.subtypes)
write_parquet(profile_of_expression(scores, subtypes), made.profile)
