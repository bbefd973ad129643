"""Clear a site's summary tables for release."""

from pathlib import Path

import polars as pl

from ihdsi.bundle.manifest import DisclosureStatement, canonical_json
from ihdsi.disclosure import apply_disclosure_control, disclosure_summary
from ihdsi.disclosure.cohort_genotypes import CohortGenotypes
from ihdsi.files import write_parquet, write_text
from ihdsi.logs import log_to
from ihdsi.sheets import read_cohort
from ihdsi.study import DisclosureSettings, load_site, load_study
from ihdsi.summaries import read_table, write_table
from ihdsi.summaries.design import model_parameters

log_to(snakemake.log[0])
given, settings = snakemake.input, DisclosureSettings(**snakemake.params.thresholds)
study = load_study(snakemake.params.study_file)
# Names are read here rather than passed as parameters, which workflow records and reports show.
cohort = read_cohort(load_site(snakemake.params.site_file, study), study)
clinical, catalogue, decisions = (
    pl.read_parquet(paths[0]) if paths else None
    for paths in (given.clinical, given.catalogue, given.decisions)
)
cleared, log = apply_disclosure_control(
    {Path(path).stem: read_table(path, Path(path).stem) for path in given.summaries},
    settings,
    set(cohort.identifiers) | set([] if clinical is None else clinical["patient"]),
    model_parameters(study),
    genotypes=(
        CohortGenotypes.of_site(
            given.calls[0], study, cohort, decisions, clinical, catalogue, given.coverage
        )
        if given.calls
        else None
    ),
)
for path in snakemake.output.tables:
    write_table(cleared[Path(path).stem], Path(path).stem, path)
write_parquet(log, snakemake.output.disclosure_log)
statement = DisclosureStatement.model_validate(disclosure_summary(log, settings))
write_text(canonical_json(statement.model_dump(mode="json")).decode(), snakemake.output.disclosure)
