"""Site: filter the cells of each tumour, cluster them together, and name the clusters."""

from ihdsi.given_cells import files_of_cells
from ihdsi.quality_control import CELL_METRICS

CELLS = "results/{study}/sites/{site}/single_cell"


rule filter_cells:
    input:
        cells=lambda wildcards: files_of_cells(
            cohorts[wildcards.site].cell_samples[wildcards.sample].path
        ),
        catalogue=(
            ["results/{study}/reference/gene_catalogue.parquet"]
            if study.reference.annotation or study.reference.gene_catalogue
            else []
        ),
    output:
        cells=f"{CELLS}/samples/{{sample}}.h5ad",
        decisions=f"{CELLS}/samples/{{sample}}.cells.parquet",
        account=f"{CELLS}/samples/{{sample}}.json",
        metrics=f"{CELLS}/samples/{{sample}}.metrics.parquet",
    log:
        "results/{study}/sites/{site}/logs/filter_cells/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/filter_cells/{sample}.tsv"
    # A fault of what was given stays one however often it is tried.
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        path=lambda wildcards: cohorts[wildcards.site].cell_samples[wildcards.sample].path,
        patient=lambda wildcards: cohorts[wildcards.site].cell_samples[wildcards.sample].patient,
        name_in_file=lambda wildcards: (
            cohorts[wildcards.site].cell_samples[wildcards.sample].name_in_file
        ),
        column=lambda wildcards: (
            cohorts[wildcards.site].cell_samples[wildcards.sample].cells_column
        ),
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
        # The first sample of a file answers for those that the sheet does not list.
        listed=lambda wildcards: cohorts[wildcards.site].listed_beside(wildcards.sample),
        settings=study.single_cell.model_dump(),
    message:
        "Filter the cells of {wildcards.sample} of {wildcards.site}"
    script:
        "../../scripts/single_cell/filter_cells.py"


rule judge_cells:
    input:
        lambda wildcards: expand(
            f"{CELLS}/samples/{{sample}}.metrics.parquet",
            sample=cohorts[wildcards.site].cell_samples,
            allow_missing=True,
        ),
    output:
        f"{CELLS}/sample_decisions.parquet",
    log:
        "results/{study}/sites/{site}/logs/judge_cells.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/judge_cells.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        samples=lambda wildcards: {
            "tumour_single_cell": cohorts[wildcards.site].sample_of("tumour_single_cell")
        },
        limits={
            name: limit.model_dump()
            for name, limit in study.quality_control.items()
            if name in CELL_METRICS
        },
    message:
        "Judge the samples of cells of {wildcards.site}"
    script:
        "../../scripts/quality_control/judge_cells.py"


rule cluster_cells:
    input:
        # Cells of a poor sample would move the clusters of all others.
        decisions=f"{CELLS}/sample_decisions.parquet",
        cells=lambda wildcards: expand(
            f"{CELLS}/samples/{{sample}}.h5ad",
            sample=cohorts[wildcards.site].cell_samples,
            allow_missing=True,
        ),
        markers="resources/cell_type_markers.tsv",
    output:
        cells=f"{CELLS}/cells.parquet",
        clusters=f"{CELLS}/clusters.tsv",
        composition=f"{CELLS}/composition.parquet",
        pseudobulk=f"{CELLS}/pseudobulk.parquet",
        metrics=f"{CELLS}/cluster_metrics.parquet",
        notes=f"{CELLS}/notes.json",
    log:
        "results/{study}/sites/{site}/logs/cluster_cells.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/cluster_cells.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        samples=lambda wildcards: list(cohorts[wildcards.site].cell_samples),
        settings=study.single_cell.model_dump(),
    message:
        "Cluster and name the cells of {wildcards.site}"
    script:
        "../../scripts/single_cell/cluster_cells.py"


rule collect_cell_quality:
    input:
        decisions=lambda wildcards: expand(
            f"{CELLS}/samples/{{sample}}.cells.parquet",
            sample=cohorts[wildcards.site].cell_samples,
            allow_missing=True,
        ),
        accounts=lambda wildcards: expand(
            f"{CELLS}/samples/{{sample}}.json",
            sample=cohorts[wildcards.site].cell_samples,
            allow_missing=True,
        ),
    output:
        decisions=f"{CELLS}/cell_decisions.parquet",
        reasons=f"{CELLS}/cell_quality.tsv",
        notes=f"{CELLS}/sample_notes.tsv",
    log:
        "results/{study}/sites/{site}/logs/collect_cell_quality.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/collect_cell_quality.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "Count which cells of {wildcards.site} are left out, and why"
    script:
        "../../scripts/single_cell/collect_cell_quality.py"


rule draw_cell_figures:
    input:
        cells=f"{CELLS}/cells.parquet",
        decisions=f"{CELLS}/cell_decisions.parquet",
        composition=f"{CELLS}/composition.parquet",
    output:
        types=f"{CELLS}/figures/umap_cell_types.png",
        donors=f"{CELLS}/figures/umap_donors.png",
        quality=f"{CELLS}/figures/cell_quality.png",
        composition=f"{CELLS}/figures/composition.png",
    log:
        "results/{study}/sites/{site}/logs/draw_cell_figures.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/draw_cell_figures.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        title=lambda wildcards: sites[wildcards.site].title,
    message:
        "Draw the cells of {wildcards.site}"
    script:
        "../../scripts/single_cell/draw_cell_figures.py"
