"""Write the coordinator's report."""

from pathlib import Path

from ihdsi.logs import log_to
from ihdsi.report.inputs import read_report_inputs
from ihdsi.report.page import write_report
from ihdsi.study import Study

log_to(snakemake.log[0])
study = Study.model_validate(snakemake.params.study)
meta = Path(snakemake.input.biomarkers).parent
write_report(read_report_inputs(study, snakemake.params.sites, meta), snakemake.output[0])
