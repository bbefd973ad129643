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
        # The patients behind the germline frequencies, as build_variant_frequencies counts them.
        calls=lambda wildcards: (
            [f"{SITE}/variants/germline/cohort.bcf"]
            if cohorts[wildcards.site].has_germline
            else []
        ),
        decisions=lambda wildcards: (
            [f"{SITE}/quality_control/sample_decisions.parquet"]
            if cohorts[wildcards.site].has_germline
            else []
        ),
        coverage=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/{name}.quantized.bed.gz"
            for name in cohorts[wildcards.site].germline_coverage.values()
        ],
        catalogue=lambda wildcards: (
            ["results/{study}/reference/gene_catalogue.parquet"]
            if cohorts[wildcards.site].has_germline
            and (study.reference.annotation or study.reference.gene_catalogue)
            else []
        ),
        sheet=lambda wildcards: sites[wildcards.site].samples,
    output:
        tables=[f"{SITE}/cleared/{table}.parquet" for table in TABLES],
        disclosure_log=f"{SITE}/cleared/disclosure_log.parquet",
        disclosure=f"{SITE}/cleared/disclosure.json",
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
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
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
        disclosure=f"{SITE}/cleared/disclosure.json",
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
    message:
        "Write the bundle of {wildcards.site}"
    script:
        "../../scripts/release/release_bundle.py"
