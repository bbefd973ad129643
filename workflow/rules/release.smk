"""Site: disclosure control, then the bundle that crosses to the coordinator.

The data steward's approval is not a step of this file yet: until it is, a bundle is released as
soon as disclosure control has cleared it.
"""

from ihdsi.study import study_hash


rule apply_disclosure_control:
    input:
        summaries=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/summaries/{table}.parquet"
            for table in cohorts[wildcards.site].summary_tables
        ],
        clinical=lambda wildcards: (
            [f"{SITE}/clinical/clinical.parquet"] if cohorts[wildcards.site].clinical else []
        ),
        sheet=lambda wildcards: sites[wildcards.site].samples,
        # Whom the tables count: patients with measurements, without those whose sample failed.
        decisions=lambda wildcards: (
            [f"{SITE}/quality_control/sample_decisions.parquet"]
            if cohorts[wildcards.site].is_measured
            else []
        ),
        metrics=lambda wildcards: (
            [f"{SITE}/quality_control/qc_metrics.parquet"]
            if cohorts[wildcards.site].is_measured
            else []
        ),
        assessed=lambda wildcards: (
            [f"{SITE}/variants/somatic_assessed.parquet"]
            if cohorts[wildcards.site].has_somatic
            else []
        ),
        exposures=lambda wildcards: (
            [f"{SITE}/variants/signature_exposures.parquet"]
            if cohorts[wildcards.site].has_somatic
            else []
        ),
        copy_number=lambda wildcards: (
            [f"{SITE}/variants/copy_number_genes.parquet"]
            if cohorts[wildcards.site].has_copy_number
            else []
        ),
        counts=lambda wildcards: (
            [f"{SITE}/expression/gene_counts.parquet"]
            if cohorts[wildcards.site].has_expression
            else []
        ),
    output:
        tables=[f"{SITE}/cleared/{table}.parquet" for table in TABLES],
        disclosure_log=f"{SITE}/cleared/disclosure_log.parquet",
        # For the ledger of releases; it stays at the site.
        populations=f"{SITE}/cleared/populations.parquet",
    log:
        f"{SITE}/logs/apply_disclosure_control.log",
    benchmark:
        f"{SITE}/benchmarks/apply_disclosure_control.tsv"
    # A fault of what was given stays one however often it is tried.
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        study_file=plan.run.study,
        site_file=lambda wildcards: SITE_FILES[wildcards.site],
        thresholds=lambda wildcards: plan.thresholds[wildcards.site].model_dump(),
    message:
        "Clear the summaries of {wildcards.site} for release"
    script:
        "../../scripts/release/apply_disclosure_control.py"


rule release_bundle:
    input:
        tables=[f"{SITE}/cleared/{table}.parquet" for table in TABLES],
        disclosure_log=f"{SITE}/cleared/disclosure_log.parquet",
    output:
        manifest="exchange/{study}/{site}/manifest.json",
        disclosure="exchange/{study}/{site}/disclosure.json",
        tables=[f"exchange/{{study}}/{{site}}/tables/{table}.parquet" for table in TABLES],
    log:
        f"{SITE}/logs/release_bundle.log",
    benchmark:
        f"{SITE}/benchmarks/release_bundle.tsv"
    wildcard_constraints:
        # Bundles of other participants come from elsewhere; no rule here makes them.
        site="|".join(sites),
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        study_version=study.version,
        study_hash=study_hash(study),
        thresholds=lambda wildcards: plan.thresholds[wildcards.site].model_dump(),
    message:
        "Write the bundle of {wildcards.site}"
    script:
        "../../scripts/release/release_bundle.py"
