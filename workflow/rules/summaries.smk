"""Site: aggregate patient-level tables into the summary tables of the contract."""

SITE = "results/{study}/sites/{site}"

VARIABLES = {name: variable.model_dump() for name, variable in study.clinical.variables.items()}
EXPRESSION_VARIABLES = {
    name: variable.model_dump() for name, variable in study.expression.profile_variables.items()
}
CONTRASTS = {name: contrast.model_dump() for name, contrast in study.contrasts.items()}
ENDPOINTS = {name: endpoint.model_dump() for name, endpoint in study.endpoints.items()}


rule build_cohort_profile:
    input:
        clinical=f"{SITE}/clinical/clinical.parquet",
        # Marker-based subtypes and signature scores, where tumours have gene counts.
        expression_profile=lambda wildcards: (
            [f"{SITE}/expression/expression_profile.parquet"]
            if cohorts[wildcards.site].has_expression
            else []
        ),
        decisions=lambda wildcards: (
            [f"{SITE}/quality_control/sample_decisions.parquet"]
            if cohorts[wildcards.site].has_expression
            else []
        ),
    output:
        f"{SITE}/summaries/cohort_profile.parquet",
    log:
        f"{SITE}/logs/build_cohort_profile.log",
    benchmark:
        f"{SITE}/benchmarks/build_cohort_profile.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        variables=VARIABLES | EXPRESSION_VARIABLES,
        strata=list(study.strata),
    message:
        "Summarise the clinical variables of {wildcards.site}"
    script:
        "../../scripts/summaries/build_cohort_profile.py"


rule build_qc_profile:
    input:
        metrics=f"{SITE}/quality_control/qc_metrics.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
    output:
        f"{SITE}/summaries/qc_profile.parquet",
    log:
        f"{SITE}/logs/build_qc_profile.log",
    benchmark:
        f"{SITE}/benchmarks/build_qc_profile.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        limits={name: limit.model_dump() for name, limit in study.quality_control.items()},
    message:
        "Summarise the quality metrics of {wildcards.site}"
    script:
        "../../scripts/summaries/build_qc_profile.py"


rule build_variant_frequencies:
    input:
        calls=f"{SITE}/variants/germline/cohort.bcf",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
        coverage=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/{name}.quantized.bed.gz"
            for name in cohorts[wildcards.site].germline_coverage.values()
        ],
        catalogue=(
            ["results/{study}/reference/gene_catalogue.parquet"]
            if study.reference.annotation or study.reference.gene_catalogue
            else []
        ),
        clinical=lambda wildcards: (
            [f"{SITE}/clinical/clinical.parquet"] if cohorts[wildcards.site].clinical else []
        ),
    output:
        f"{SITE}/summaries/variant_frequencies.parquet",
    log:
        f"{SITE}/logs/build_variant_frequencies.log",
    benchmark:
        f"{SITE}/benchmarks/build_variant_frequencies.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        strata=list(study.strata),
        patients=lambda wildcards: cohorts[wildcards.site].germline_assessed,
        covered_patients=lambda wildcards: list(cohorts[wildcards.site].germline_coverage),
        filters=study.variants.germline.model_dump(),
        sex=study.sample_checks.sex and study.sample_checks.sex.model_dump(),
    message:
        "Count germline alleles of {wildcards.site}"
    script:
        "../../scripts/summaries/build_variant_frequencies.py"


rule build_gene_alterations:
    input:
        variants=f"{SITE}/variants/somatic_variants.parquet",
        assessed=f"{SITE}/variants/somatic_assessed.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
        catalogue="results/{study}/reference/gene_catalogue.parquet",
        # Promoter positions are known where the study has an annotation.
        promoters=(
            ["results/{study}/reference/promoter_hotspots.parquet"]
            if study.reference.annotation
            else []
        ),
        copy_number=lambda wildcards: (
            [f"{SITE}/variants/copy_number_genes.parquet"]
            if cohorts[wildcards.site].has_copy_number
            else []
        ),
        clinical=lambda wildcards: (
            [f"{SITE}/clinical/clinical.parquet"] if cohorts[wildcards.site].clinical else []
        ),
    output:
        f"{SITE}/summaries/gene_alterations.parquet",
    log:
        f"{SITE}/logs/build_gene_alterations.log",
    benchmark:
        f"{SITE}/benchmarks/build_gene_alterations.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        strata=list(study.strata),
    message:
        "Count patients of {wildcards.site} with altered genes"
    script:
        "../../scripts/summaries/build_gene_alterations.py"


rule build_mutation_burden:
    input:
        variants=f"{SITE}/variants/somatic_variants.parquet",
        assessed=f"{SITE}/variants/somatic_assessed.parquet",
        exposures=f"{SITE}/variants/signature_exposures.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
        clinical=lambda wildcards: (
            [f"{SITE}/clinical/clinical.parquet"] if cohorts[wildcards.site].clinical else []
        ),
    output:
        f"{SITE}/summaries/mutation_burden.parquet",
    log:
        f"{SITE}/logs/build_mutation_burden.log",
    benchmark:
        f"{SITE}/benchmarks/build_mutation_burden.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        strata=list(study.strata),
        groups=study.variants.signatures.groups,
    message:
        "Summarise the mutation burden of {wildcards.site}"
    script:
        "../../scripts/summaries/build_mutation_burden.py"


rule estimate_expression_effects:
    input:
        counts=f"{SITE}/expression/gene_counts.parquet",
        clinical=f"{SITE}/clinical/clinical.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
    output:
        f"{SITE}/summaries/expression_effects.parquet",
    log:
        f"{SITE}/logs/estimate_expression_effects.log",
    benchmark:
        f"{SITE}/benchmarks/estimate_expression_effects.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        contrasts=CONTRASTS,
        variables=VARIABLES,
        minimum_n=lambda wildcards: plan.thresholds[wildcards.site].minimum_n,
        maximum_contribution=lambda wildcards: plan.thresholds[wildcards.site].maximum_contribution,
    message:
        "Estimate expression effects at {wildcards.site}"
    script:
        "../../scripts/summaries/estimate_expression_effects.py"


rule build_expression_moments:
    input:
        counts=f"{SITE}/expression/gene_counts.parquet",
        clinical=f"{SITE}/clinical/clinical.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
    output:
        design=f"{SITE}/summaries/expression_design.parquet",
        moments=f"{SITE}/summaries/expression_moments.parquet",
    log:
        f"{SITE}/logs/build_expression_moments.log",
    benchmark:
        f"{SITE}/benchmarks/build_expression_moments.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        contrasts=CONTRASTS,
        variables=VARIABLES,
        minimum_n=lambda wildcards: plan.thresholds[wildcards.site].minimum_n,
        maximum_contribution=lambda wildcards: plan.thresholds[wildcards.site].maximum_contribution,
    message:
        "Compute moments of expression at {wildcards.site}"
    script:
        "../../scripts/summaries/build_expression_moments.py"


rule build_matrix_moments:
    input:
        matrices=lambda wildcards: plan.matrix_tables(wildcards.site, "values"),
        covariates=lambda wildcards: plan.matrix_tables(wildcards.site, "covariates"),
        clinical=f"{SITE}/clinical/clinical.parquet",
    output:
        design=f"{SITE}/summaries/matrix_design.parquet",
        moments=f"{SITE}/summaries/matrix_moments.parquet",
    log:
        f"{SITE}/logs/build_matrix_moments.log",
    benchmark:
        f"{SITE}/benchmarks/build_matrix_moments.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        contrasts=CONTRASTS,
        variables=VARIABLES,
        minimum_n=lambda wildcards: plan.thresholds[wildcards.site].minimum_n,
        maximum_contribution=lambda wildcards: plan.thresholds[wildcards.site].maximum_contribution,
    message:
        "Compute moments of matrices at {wildcards.site}"
    script:
        "../../scripts/summaries/build_matrix_moments.py"


rule estimate_survival_effects:
    input:
        counts=f"{SITE}/expression/gene_counts.parquet",
        clinical=f"{SITE}/clinical/clinical.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
    output:
        f"{SITE}/summaries/survival_effects.parquet",
    log:
        f"{SITE}/logs/estimate_survival_effects.log",
    benchmark:
        f"{SITE}/benchmarks/estimate_survival_effects.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        endpoints=ENDPOINTS,
        variables=VARIABLES,
        minimum_n=lambda wildcards: plan.thresholds[wildcards.site].minimum_n,
    message:
        "Estimate survival effects at {wildcards.site}"
    script:
        "../../scripts/summaries/estimate_survival_effects.py"


rule build_survival_curve:
    input:
        clinical=f"{SITE}/clinical/clinical.parquet",
    output:
        f"{SITE}/summaries/survival_curve.parquet",
    log:
        f"{SITE}/logs/build_survival_curve.log",
    benchmark:
        f"{SITE}/benchmarks/build_survival_curve.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        endpoints=ENDPOINTS,
        strata=list(study.strata),
    message:
        "Count who is at risk at {wildcards.site}, bin by bin"
    script:
        "../../scripts/summaries/build_survival_curve.py"


rule build_cell_composition:
    input:
        counts=f"{SITE}/single_cell/composition.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
        clinical=lambda wildcards: (
            [f"{SITE}/clinical/clinical.parquet"] if cohorts[wildcards.site].clinical else []
        ),
    output:
        f"{SITE}/summaries/cell_composition.parquet",
    log:
        f"{SITE}/logs/build_cell_composition.log",
    benchmark:
        f"{SITE}/benchmarks/build_cell_composition.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        strata=list(study.strata),
    message:
        "Summarise the cell types of {wildcards.site}"
    script:
        "../../scripts/summaries/build_cell_composition.py"


rule estimate_cell_expression_effects:
    input:
        pseudobulk=f"{SITE}/single_cell/pseudobulk.parquet",
        clinical=f"{SITE}/clinical/clinical.parquet",
        decisions=f"{SITE}/quality_control/sample_decisions.parquet",
    output:
        f"{SITE}/summaries/cell_expression_effects.parquet",
    log:
        f"{SITE}/logs/estimate_cell_expression_effects.log",
    benchmark:
        f"{SITE}/benchmarks/estimate_cell_expression_effects.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        contrasts=CONTRASTS,
        variables=VARIABLES,
        minimum_n=lambda wildcards: plan.thresholds[wildcards.site].minimum_n,
        maximum_contribution=lambda wildcards: plan.thresholds[wildcards.site].maximum_contribution,
    message:
        "Estimate expression effects in the cell types of {wildcards.site}"
    script:
        "../../scripts/summaries/estimate_cell_expression_effects.py"
