"""Clear a site's summary tables for release."""

from pathlib import Path

import polars as pl

from ihdsi.disclosure import apply_disclosure_control, refuse_identifiers_in_parquet
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.sheets import read_cohort
from ihdsi.study import DisclosureSettings, load_site, load_study
from ihdsi.summaries import read_table, write_table
from ihdsi.summaries.design import model_parameters

log_to(snakemake.log[0])
study = load_study(snakemake.params.study_file)
# Names are read here rather than passed as parameters, which workflow records and reports show.
identifiers = set(read_cohort(load_site(snakemake.params.site_file, study), study).identifiers)
for clinical in snakemake.input.clinical:
    identifiers |= set(pl.read_parquet(clinical, columns=["patient"])["patient"])
cleared, log = apply_disclosure_control(
    {Path(path).stem: read_table(path, Path(path).stem) for path in snakemake.input.summaries},
    DisclosureSettings(**snakemake.params.thresholds),
    identifiers,
    model_parameters(study),
)
for path in snakemake.output.tables:
    write_table(cleared[Path(path).stem], Path(path).stem, path)
    refuse_identifiers_in_parquet(path, identifiers)
write_parquet(log, snakemake.output.disclosure_log)
