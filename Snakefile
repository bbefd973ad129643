"""IHDSI cohort pipeline: sites summarise and release, the coordinator pools and reports."""

import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version, validate

min_version("9.10")

# Scripts of rules may run in an environment that lacks the package, so every job finds it here.
SOURCE = os.path.join(workflow.basedir, "src")
sys.path.insert(0, SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))

from ihdsi.errors import InputError
from ihdsi.plan import load_plan
from ihdsi.summaries import TABLES


configfile: "config/config.yaml"


validate(config, "workflow/schemas/config.schema.json")
try:
    plan = load_plan(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

study, sites, cohorts = plan.study, plan.sites, plan.cohorts
STUDY, PARTICIPANTS = study.study, plan.participants


wildcard_constraints:
    study=STUDY,
    site="|".join(PARTICIPANTS),
    sample="[A-Za-z0-9_-]+",
    lane="[A-Za-z0-9_-]+",
    patient="[A-Za-z0-9_-]+",


if study.simulated and sites:

    include: "workflow/rules/simulate.smk"


if sites:

    include: "workflow/rules/reference.smk"
    include: "workflow/rules/reads.smk"
    include: "workflow/rules/alignment.smk"
    include: "workflow/rules/variants.smk"
    include: "workflow/rules/expression.smk"
    include: "workflow/rules/clinical.smk"
    include: "workflow/rules/quality_control.smk"
    include: "workflow/rules/summaries.smk"
    include: "workflow/rules/release.smk"


if plan.coordinator:

    include: "workflow/rules/meta.smk"
    include: "workflow/rules/report.smk"


include: "workflow/rules/targets.smk"


onstart:
    logger.info(plan.describe())
