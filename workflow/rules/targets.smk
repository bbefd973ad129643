"""What a run can be asked for: a site's part, the coordinator's, or (in the Snakefile) both."""

from ihdsi.bundle.places import released_seal

SITE_RESULTS = [
    f"results/{STUDY}/sites/{site}/{result}"
    for site in sites
    for result in (
        *(
            ["candidate/manifest.dsse.json", "review"]
            if sites[site].release
            else [f"cleared/{table}.parquet" for table in TABLES]
        ),
        *(
            ["quality_control/qc_metrics.tsv", "quality_control/sample_decisions.tsv"]
            if cohorts[site].is_measured
            else []
        ),
        *(["multiqc/multiqc_report.html"] if cohorts[site].processed else []),
        *(
            [
                "single_cell/cell_quality.tsv",
                "single_cell/sample_notes.tsv",
                "single_cell/figures/umap_cell_types.png",
            ]
            if cohorts[site].has_cells
            else []
        ),
    )
]
# A data steward releases what a real site has drafted.
RELEASES = [released_seal(STUDY, site) for site in sites if study.simulated and sites[site].release]
COORDINATOR_RESULTS = (
    [
        f"results/{STUDY}/meta/biomarkers.tsv",
        f"results/{STUDY}/meta/survival_curve.parquet",
        f"results/{STUDY}/report/figures/cohort.svg",
        f"results/{STUDY}/report/index.html",
    ]
    if plan.coordinator
    else []
)
# Only a machine that plays every site can hold the whole truth against the pooled result.
RECOVERY = (
    [f"results/{STUDY}/recovery.json"]
    if study.simulated and plan.coordinator and set(sites) == set(PARTICIPANTS)
    else []
)


# What this machine lacks where it runs the jobs itself; elsewhere conda or the cluster brings it.
ABSENT_TOOLS = (
    plan.absent_aligner
    if workflow.local_exec and not workflow.deployment_settings.deployment_method
    else ""
)


localrules:
    all,
    site,
    meta,


rule site:
    input:
        lambda wildcards: plan.with_keys(SITE_RESULTS, every_site=True),
    message:
        f"Release candidates wait for review: {', '.join(sites)}"


rule meta:
    input:
        lambda wildcards: plan.with_releases(COORDINATOR_RESULTS),
    message:
        "The coordinator's results of {STUDY} are there"
