"""Coordinator: take bundles in, pool, rank. Reads exchange/ and results/<study>/meta only."""

from ihdsi.bundle.places import released_seal
from ihdsi.study import study_hash

META = f"results/{STUDY}/meta"

STRATUM_CONTRASTS = {
    name: [contrast.variable, contrast.case, contrast.control]
    for name, contrast in study.contrasts.items()
    if contrast.variable in study.strata
}


# Paths of each accepted table of all participants.
ACCEPTED = {
    table: [f"{META}/intake/{site}/{table}.parquet" for site in PARTICIPANTS] for table in TABLES
}


rule intake_bundle:
    input:
        seal=released_seal(STUDY, "{site}"),
    output:
        # What was accepted before stays where a new release is refused.
        *[update(f"results/{{study}}/meta/intake/{{site}}/{table}.parquet") for table in TABLES],
        accepted=update("results/{study}/meta/intake/{site}/accepted.json"),
        disclosure=update("results/{study}/meta/intake/{site}/disclosure.json"),
    log:
        "results/{study}/logs/intake_bundle/{site}.log",
    benchmark:
        "results/{study}/benchmarks/intake_bundle/{site}.tsv"
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        study_hash=study_hash(study),
        arrived=lambda wildcards: plan.arrived(wildcards.site),
        # Files of the coordinator's own, outside the results; they say who may be believed.
        trust_store=study.trust_store,
        transport_key=plan.run.intake and plan.run.intake.transport_key,
        audit_log=plan.run.intake and plan.run.intake.audit_log,
        quarantine="results/{study}/meta/quarantine",
    message:
        "Verify and accept the bundle of {wildcards.site}"
    script:
        "../../scripts/meta/intake_bundle.py"


rule pool_expression_effects:
    input:
        expression_effects=ACCEPTED["expression_effects"],
    output:
        "results/{study}/meta/expression_effects.parquet",
    log:
        "results/{study}/logs/pool_expression_effects.log",
    benchmark:
        "results/{study}/benchmarks/pool_expression_effects.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        model=study.meta.model,
    message:
        "Pool expression effects over sites"
    script:
        "../../scripts/meta/pool_expression_effects.py"


rule pool_linear_model:
    input:
        expression_design=ACCEPTED["expression_design"],
        expression_moments=ACCEPTED["expression_moments"],
    output:
        "results/{study}/meta/expression_linear.parquet",
    log:
        "results/{study}/logs/pool_linear_model.log",
    benchmark:
        "results/{study}/benchmarks/pool_linear_model.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "Fit the pooled linear model from the sites' moments"
    script:
        "../../scripts/meta/pool_linear_model.py"


rule pool_matrix_model:
    input:
        matrix_design=ACCEPTED["matrix_design"],
        matrix_moments=ACCEPTED["matrix_moments"],
    output:
        "results/{study}/meta/matrix_linear_model.parquet",
    log:
        "results/{study}/logs/pool_matrix_model.log",
    benchmark:
        "results/{study}/benchmarks/pool_matrix_model.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        units={assay: matrix.modelled_unit for assay, matrix in study.matrices.items()},
    message:
        "Fit the pooled linear model of matrices from the sites' moments"
    script:
        "../../scripts/meta/pool_matrix_model.py"


rule pool_survival_effects:
    input:
        survival_effects=ACCEPTED["survival_effects"],
    output:
        "results/{study}/meta/survival_effects.parquet",
    log:
        "results/{study}/logs/pool_survival_effects.log",
    benchmark:
        "results/{study}/benchmarks/pool_survival_effects.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        model=study.meta.model,
    message:
        "Pool survival effects over sites"
    script:
        "../../scripts/meta/pool_survival_effects.py"


rule pool_survival_curve:
    input:
        survival_curve=ACCEPTED["survival_curve"],
    output:
        "results/{study}/meta/survival_curve.parquet",
    log:
        "results/{study}/logs/pool_survival_curve.log",
    benchmark:
        "results/{study}/benchmarks/pool_survival_curve.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "Add up the survival curves of the sites"
    script:
        "../../scripts/meta/pool_survival_curve.py"


rule pool_gene_alterations:
    input:
        gene_alterations=ACCEPTED["gene_alterations"],
    output:
        alterations="results/{study}/meta/gene_alterations.parquet",
        contrasts="results/{study}/meta/alteration_contrasts.parquet",
    log:
        "results/{study}/logs/pool_gene_alterations.log",
    benchmark:
        "results/{study}/benchmarks/pool_gene_alterations.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        contrasts=STRATUM_CONTRASTS,
        model=study.meta.model,
    message:
        "Add up gene alterations and pool their odds ratios over sites"
    script:
        "../../scripts/meta/pool_gene_alterations.py"


rule pool_mutation_burden:
    input:
        mutation_burden=ACCEPTED["mutation_burden"],
    output:
        "results/{study}/meta/mutation_burden.parquet",
    log:
        "results/{study}/logs/pool_mutation_burden.log",
    benchmark:
        "results/{study}/benchmarks/pool_mutation_burden.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "Put the sites' mutation burdens and signature shares together"
    script:
        "../../scripts/meta/pool_mutation_burden.py"


rule pool_cell_composition:
    input:
        cell_composition=ACCEPTED["cell_composition"],
    output:
        composition="results/{study}/meta/cell_composition.parquet",
        contrasts="results/{study}/meta/cell_composition_contrasts.parquet",
    log:
        "results/{study}/logs/pool_cell_composition.log",
    benchmark:
        "results/{study}/benchmarks/pool_cell_composition.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        contrasts=STRATUM_CONTRASTS,
    message:
        "Put the sites' shares of cell types together and compare their groups"
    script:
        "../../scripts/meta/pool_cell_composition.py"


rule pool_cell_expression_effects:
    input:
        cell_expression_effects=ACCEPTED["cell_expression_effects"],
    output:
        "results/{study}/meta/cell_expression_effects.parquet",
    log:
        "results/{study}/logs/pool_cell_expression_effects.log",
    benchmark:
        "results/{study}/benchmarks/pool_cell_expression_effects.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        model=study.meta.model,
    message:
        "Pool expression effects within cell types over sites"
    script:
        "../../scripts/meta/pool_cell_expression_effects.py"


rule find_driver_genes:
    input:
        gene_alterations=ACCEPTED["gene_alterations"],
        mutation_burden=ACCEPTED["mutation_burden"],
    output:
        "results/{study}/meta/driver_genes.parquet",
    log:
        "results/{study}/logs/find_driver_genes.log",
    benchmark:
        "results/{study}/benchmarks/find_driver_genes.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "Test genes for recurrent alteration"
    script:
        "../../scripts/meta/find_driver_genes.py"


rule harmonisation_account:
    input:
        expression_effects=ACCEPTED["expression_effects"],
        survival_effects=ACCEPTED["survival_effects"],
        gene_alterations=ACCEPTED["gene_alterations"],
        cell_composition=ACCEPTED["cell_composition"],
        cell_expression_effects=ACCEPTED["cell_expression_effects"],
        matrix_design=ACCEPTED["matrix_design"],
        matrix_moments=ACCEPTED["matrix_moments"],
    output:
        site_effects="results/{study}/meta/site_effects.parquet",
        account="results/{study}/meta/harmonisation_account.parquet",
    log:
        "results/{study}/logs/harmonisation_account.log",
    benchmark:
        "results/{study}/benchmarks/harmonisation_account.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        contrasts=STRATUM_CONTRASTS,
        assays=list(study.matrices),
    message:
        "Account for every site's estimates"
    script:
        "../../scripts/meta/harmonisation_account.py"


rule rank_biomarkers:
    input:
        expression=f"{META}/expression_effects.parquet",
        survival=f"{META}/survival_effects.parquet",
        alteration_contrasts=f"{META}/alteration_contrasts.parquet",
        drivers=f"{META}/driver_genes.parquet",
        matrices=f"{META}/matrix_linear_model.parquet",
        cell_expression=f"{META}/cell_expression_effects.parquet",
    output:
        evidence="results/{study}/meta/evidence.parquet",
        biomarkers="results/{study}/meta/biomarkers.parquet",
        text="results/{study}/meta/biomarkers.tsv",
    log:
        "results/{study}/logs/rank_biomarkers.log",
    benchmark:
        "results/{study}/benchmarks/rank_biomarkers.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        tiers=[tier.model_dump() for tier in study.biomarkers.tiers],
    message:
        "Combine the layers' evidence and rank genes"
    script:
        "../../scripts/meta/rank_biomarkers.py"
