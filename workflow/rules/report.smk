"""Coordinator: figures and the report. Reads results/<study>/meta only."""

REPORT_TABLES = [
    "cohort_profile",
    "qc_profile",
    "gene_alterations",
]

REPORT_INPUTS = [
    *[path for table in REPORT_TABLES for path in ACCEPTED[table]],
    *[f"{META}/intake/{site}/accepted.json" for site in PARTICIPANTS],
    *[f"{META}/intake/{site}/disclosure.json" for site in PARTICIPANTS],
    f"{META}/expression_effects.parquet",
    f"{META}/expression_linear.parquet",
    f"{META}/survival_effects.parquet",
    f"{META}/gene_alterations.parquet",
    f"{META}/alteration_contrasts.parquet",
    f"{META}/driver_genes.parquet",
    f"{META}/mutation_burden.parquet",
    f"{META}/matrix_linear_model.parquet",
    f"{META}/cell_composition.parquet",
    f"{META}/cell_composition_contrasts.parquet",
    f"{META}/cell_expression_effects.parquet",
    f"{META}/site_effects.parquet",
    f"{META}/harmonisation_account.parquet",
]

FIGURES = "results/{study}/report/figures"


rule draw_figures:
    input:
        tables=REPORT_INPUTS,
        biomarkers=f"{META}/biomarkers.parquet",
    output:
        cohort=report(f"{FIGURES}/cohort.svg", caption="../report/cohort.rst", category="Cohorts"),
        quality_control=report(
            f"{FIGURES}/quality_control.svg",
            caption="../report/quality_control.rst",
            category="Quality control",
        ),
        alterations=report(
            f"{FIGURES}/alterations.svg",
            caption="../report/alterations.rst",
            category="Somatic alterations",
        ),
        drivers=report(
            f"{FIGURES}/drivers.svg",
            caption="../report/drivers.rst",
            category="Somatic alterations",
        ),
        mutation_burden=report(
            f"{FIGURES}/mutation_burden.svg",
            caption="../report/mutation_burden.rst",
            category="Somatic alterations",
        ),
        expression_volcanoes=report(
            [f"{FIGURES}/volcano_expression_{name}.svg" for name in study.contrasts],
            caption="../report/volcano.rst",
            category="Differential expression",
        ),
        expression_forests=report(
            [f"{FIGURES}/forest_expression_{name}.svg" for name in study.contrasts],
            caption="../report/forest.rst",
            category="Differential expression",
        ),
        cell_composition=report(
            [f"{FIGURES}/cell_composition_{name}.svg" for name in STRATUM_CONTRASTS],
            caption="../report/cell_composition.rst",
            category="Cell types",
        ),
        matrix_volcanoes=report(
            [
                f"{FIGURES}/volcano_{assay}_{name}.svg"
                for assay in study.matrices
                for name in study.contrasts
            ],
            caption="../report/matrix_volcano.rst",
            category="Matrices",
        ),
        survival_volcanoes=report(
            [f"{FIGURES}/volcano_survival_{name}.svg" for name in study.endpoints],
            caption="../report/survival.rst",
            category="Survival",
        ),
        survival_forests=report(
            [f"{FIGURES}/forest_survival_{name}.svg" for name in study.endpoints],
            caption="../report/forest.rst",
            category="Survival",
        ),
    log:
        "results/{study}/logs/draw_figures.log",
    benchmark:
        "results/{study}/benchmarks/draw_figures.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        study=study.model_dump(mode="json"),
        sites=list(PARTICIPANTS),
    message:
        "Draw the report's figures"
    script:
        "../../scripts/report/draw_figures.py"


rule build_report:
    input:
        tables=REPORT_INPUTS,
        biomarkers=f"{META}/biomarkers.parquet",
    output:
        report(
            "results/{study}/report/index.html",
            caption="../report/report.rst",
            category="Report",
        ),
    log:
        "results/{study}/logs/build_report.log",
    benchmark:
        "results/{study}/benchmarks/build_report.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        study=study.model_dump(mode="json"),
        sites=list(PARTICIPANTS),
    message:
        "Write the coordinator's report"
    script:
        "../../scripts/report/build_report.py"
