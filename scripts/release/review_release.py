"""Write what a site's data steward reviews before anything leaves."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ihdsi.logs import log_to
from ihdsi.report.candidate_review import review_request
from ihdsi.report.review import write_review
from ihdsi.study import load_site, load_study

log_to(snakemake.log[0])
study = load_study(snakemake.params.study_file)
request = review_request(
    study,
    load_site(snakemake.params.site_file, study),
    Path(snakemake.input.manifest).parent,
    pl.read_parquet(snakemake.input.disclosure_log),
    datetime.now(UTC).date(),
    snakemake.params.config_file,
)
write_review(snakemake.output[0], request)
