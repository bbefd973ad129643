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
os.environ.update(PYTHONPATH=os.pathsep.join([SOURCE, os.environ.get("PYTHONPATH", "")]))

from ihdsi.errors import InputError
from ihdsi.plan import load_plan
from ihdsi.summaries import TABLES

# A run has one configuration: --configfile replaces the default one instead of mixing with it.
if "study" not in config:

    configfile: "config/config.yaml"


validate(config, "workflow/schemas/config.schema.json")
try:
    plan = load_plan(config, next(iter(workflow.configfiles), "--config"), workflow.is_main_process)
except InputError as error:
    raise WorkflowError(str(error)) from None

study, sites, cohorts = plan.study, plan.sites, plan.cohorts
STUDY, PARTICIPANTS = study.study, plan.participants


wildcard_constraints:
    study=STUDY,
    site="|".join(PARTICIPANTS),
    sample="[A-Za-z0-9_-]+",
    patient="[A-Za-z0-9_-]+",


for stage in plan.stages:

    include: f"workflow/rules/{stage}.smk"


rule all:
    default_target: True
    input:
        lambda wildcards: plan.with_keys(SITE_RESULTS + RELEASES),
        lambda wildcards: (
            []
            if plan.awaits_releases or not plan.coordinator
            else plan.with_releases(COORDINATOR_RESULTS + RECOVERY)
        ),
    message:
        "All that the configuration asks for is there"


onstart:
    logger.info(plan.outline())
    if ABSENT_TOOLS:
        raise WorkflowError(ABSENT_TOOLS)
    # Snakemake's limit of jobs a second, on by default, looks through all ready jobs once more every
    # second for each job that has ended: hundreds of short jobs keep a core busy with that. On one
    # machine the cores are limit enough; towards a cluster it stays.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
