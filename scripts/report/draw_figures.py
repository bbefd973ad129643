"""Draw the report's figures."""

from pathlib import Path

from ihdsi.logs import log_to
from ihdsi.report.gallery import write_figures
from ihdsi.report.inputs import read_report_inputs
from ihdsi.study import Study

log_to(snakemake.log[0])
study = Study.model_validate(snakemake.params.study)
meta = Path(snakemake.input.biomarkers).parent
write_figures(
    read_report_inputs(study, snakemake.params.sites, meta),
    Path(snakemake.output.cohort).parent,
)
