"""Site: disclosure control, the release candidate, and what the data steward reviews.

`snakemake` ends here. A candidate is released by the data steward, with `ihdsi release approve`; only
the sites of a simulated study have a rule for it (simulated_release.smk).
"""

from ihdsi.study import study_hash

CANDIDATE = f"{SITE}/candidate"
# Patient-level tables that tell whom the summaries count, and by what.
MEASURED = [
    "clinical",
    "decisions",
    "metrics",
    "assessed",
    "variants",
    "exposures",
    "copy_number",
    "counts",
    "expression_profile",
    "matrices",
    "site_covariates",
    "cells",
    "pseudobulk",
]


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
        variants=lambda wildcards: (
            [f"{SITE}/variants/somatic_variants.parquet"]
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
        expression_profile=lambda wildcards: (
            [f"{SITE}/expression/expression_profile.parquet"]
            if cohorts[wildcards.site].has_expression
            else []
        ),
        matrices=lambda wildcards: plan.matrix_tables(wildcards.site, "values"),
        site_covariates=lambda wildcards: plan.matrix_tables(wildcards.site, "covariates"),
        cells=lambda wildcards: (
            [f"{SITE}/single_cell/composition.parquet"]
            if cohorts[wildcards.site].has_cells
            else []
        ),
        pseudobulk=lambda wildcards: (
            [f"{SITE}/single_cell/pseudobulk.parquet"] if cohorts[wildcards.site].has_cells else []
        ),
    output:
        tables=[f"{SITE}/cleared/{table}.parquet" for table in TABLES],
        disclosure_log=f"{SITE}/cleared/disclosure_log.parquet",
        disclosure=f"{SITE}/cleared/disclosure.json",
        # For the ledger of releases; they stay at the site.
        populations=f"{SITE}/cleared/populations.parquet",
        earlier=f"{SITE}/cleared/earlier_releases.json",
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
        # What is in force is read from the files; this makes a change of it run the job again.
        thresholds=lambda wildcards: plan.thresholds[wildcards.site].model_dump(),
        facts=lambda wildcards: plan.release_facts(wildcards.site),
        measured=MEASURED,
    message:
        "Clear the summaries of {wildcards.site} for release"
    script:
        "../../scripts/release/apply_disclosure_control.py"


rule draft_release:
    input:
        tables=[f"{SITE}/cleared/{table}.parquet" for table in TABLES],
        disclosure=f"{SITE}/cleared/disclosure.json",
        earlier=f"{SITE}/cleared/earlier_releases.json",
        # Only its hash is signed; the file stays at the site.
        populations=f"{SITE}/cleared/populations.parquet",
        # Keys and trust store of a real study are no inputs: no job may be rerun for their dates.
        practice_keys=PRACTICE_KEYS if study.simulated else [],
    output:
        manifest=f"{CANDIDATE}/manifest.json",
        signature=f"{CANDIDATE}/manifest.dsse.json",
        disclosure=f"{CANDIDATE}/disclosure.json",
        crate=f"{CANDIDATE}/ro-crate-metadata.json",
        workflow=f"{CANDIDATE}/workflow.cwl",
        # Beside the candidate: whom it counts, for the approval; nothing of it leaves.
        binding=f"{CANDIDATE}.populations.dsse.json",
        tables=[f"{CANDIDATE}/tables/{table}.parquet" for table in TABLES],
    log:
        f"{SITE}/logs/draft_release.log",
    benchmark:
        f"{SITE}/benchmarks/draft_release.tsv"
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        study_file=plan.run.study,
        site_file=lambda wildcards: SITE_FILES[wildcards.site],
        facts=lambda wildcards: plan.release_facts(wildcards.site),
    message:
        "Draft the release of {wildcards.site}"
    script:
        "../../scripts/release/draft_release.py"


rule review_release:
    input:
        manifest=f"{CANDIDATE}/manifest.json",
        signature=f"{CANDIDATE}/manifest.dsse.json",
        disclosure_log=f"{SITE}/cleared/disclosure_log.parquet",
    output:
        directory(f"{SITE}/review"),
    log:
        f"{SITE}/logs/review_release.log",
    benchmark:
        f"{SITE}/benchmarks/review_release.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        study_file=plan.run.study,
        site_file=lambda wildcards: SITE_FILES[wildcards.site],
        facts=lambda wildcards: plan.release_facts(wildcards.site),
        config_file=os.path.relpath(plan.path) if os.path.exists(plan.path) else None,
    message:
        "Write what the data steward of {wildcards.site} reviews"
    script:
        "../../scripts/release/review_release.py"
