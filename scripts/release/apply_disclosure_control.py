"""Clear a site's summary tables for release."""

from datetime import UTC, datetime
from pathlib import Path

from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.disclosure.cohort_genotypes import CohortGenotypes
from ihdsi.disclosure.control import write_cleared, write_statement
from ihdsi.disclosure.differencing import read_measured
from ihdsi.disclosure.history import read_history
from ihdsi.disclosure.override import settings_in_force
from ihdsi.disclosure.patient_values import count_patients
from ihdsi.files import write_parquet, write_text
from ihdsi.logs import log_to
from ihdsi.sheets import read_cohort
from ihdsi.study import load_site, load_study
from ihdsi.summaries import read_table
from ihdsi.summaries.design import model_parameters

log_to(snakemake.log[0])
given, params, made = snakemake.input, snakemake.params, snakemake.output
study = load_study(params.study_file)
site = load_site(params.site_file, study)
settings, override = settings_in_force(study, site, datetime.now(UTC).date())
cohort = read_cohort(site, study)  # here, as workflow records and reports show parameters
frames = read_measured(given, params.measured)
populations = count_patients(study, cohort.germline_assessed, frames)
history = read_history(site.release and site.release.ledger, populations)
identifiers = cohort.identifiers | set(frames["clinical"]["patient"] if given.clinical else ())
cleared, log = apply_disclosure_control(
    {Path(path).stem: read_table(path, Path(path).stem) for path in given.summaries},
    settings,
    identifiers,
    model_parameters(study),
    genotypes=CohortGenotypes.of_files(given, study, cohort),
    features=judge_features(study, settings, frames, key=history.key),
    strata=study.strata,
    contrasts=study.contrasts,
    **history.as_arguments(),
)
write_cleared(cleared, identifiers, made.tables)
write_parquet(log, made.disclosure_log)
write_statement(log, settings, override, made.disclosure)
write_parquet(populations, made.populations)
write_text(history.manifests_as_json(), made.earlier)
