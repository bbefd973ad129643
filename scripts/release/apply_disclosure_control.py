"""Clear a site's summary tables for release."""

import json
from pathlib import Path

import polars as pl

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.differencing import earlier_releases, populations_of
from ihdsi.disclosure.ledger import Ledger
from ihdsi.files import write_parquet, write_text
from ihdsi.logs import log_to
from ihdsi.sheets import read_cohort
from ihdsi.study import DisclosureSettings, load_site, load_study
from ihdsi.summaries import read_table, write_table
from ihdsi.summaries.design import model_parameters

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
study = load_study(params.study_file)
# Names are read here rather than passed as parameters, which workflow records and reports show.
cohort = read_cohort(load_site(params.site_file, study), study)
measured = ("clinical", "decisions", "metrics", "assessed", "exposures", "copy_number", "counts")
frames = {name: pl.read_parquet(path) for name in measured for path in given[name]}
populations = populations_of(study, germline=cohort.germline_assessed, **frames)
context, earlier = {}, []
if params.ledger and Path(params.ledger).exists():
    with Ledger(params.ledger) as ledger:
        earlier = ledger.earlier_manifests()
        context["earlier"] = earlier_releases(ledger)
        context["populations"] = ledger.hash_patients(populations)
        context["spent_epsilon"] = ledger.spent_epsilon()
cleared, log = apply_disclosure_control(
    {Path(path).stem: read_table(path, Path(path).stem) for path in given.summaries},
    DisclosureSettings(**params.thresholds),
    set(cohort.identifiers) | set(frames["clinical"]["patient"] if given.clinical else ()),
    model_parameters(study),
    **context,
)
for path in snakemake.output.tables:
    write_table(cleared[Path(path).stem], Path(path).stem, path)
write_parquet(log, snakemake.output.disclosure_log)
write_parquet(populations, snakemake.output.populations)
write_text(json.dumps(earlier) + "\n", snakemake.output.earlier)
