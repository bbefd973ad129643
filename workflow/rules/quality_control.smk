"""Site: quality metrics of all assays, judged by the study's limits, and MultiQC."""


rule collect_quality_metrics:
    input:
        stats=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.stats.txt",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        thresholds=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.thresholds.bed.gz",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        regions=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.regions.bed.gz",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        meta_info=lambda wildcards: expand(
            "results/{study}/sites/{site}/expression/salmon/{sample}/aux_info/meta_info.json",
            sample=[sample.sample for sample in cohorts[wildcards.site].quantified],
            allow_missing=True,
        ),
        somatic_variants=lambda wildcards: (
            ["results/{study}/sites/{site}/variants/somatic_variants.parquet"]
            if cohorts[wildcards.site].has_somatic
            else []
        ),
        somatic_assessed=lambda wildcards: (
            ["results/{study}/sites/{site}/variants/somatic_assessed.parquet"]
            if cohorts[wildcards.site].has_somatic
            else []
        ),
        germline_genotypes=lambda wildcards: (
            ["results/{study}/sites/{site}/variants/germline_genotypes.parquet"]
            if cohorts[wildcards.site].has_germline
            else []
        ),
        gene_counts=lambda wildcards: (
            ["results/{study}/sites/{site}/expression/gene_counts.parquet"]
            if cohorts[wildcards.site].has_expression
            else []
        ),
    output:
        metrics="results/{study}/sites/{site}/quality_control/qc_metrics.parquet",
        text="results/{study}/sites/{site}/quality_control/qc_metrics.tsv",
    log:
        "results/{study}/sites/{site}/logs/collect_quality_metrics.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/collect_quality_metrics.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        aligned=lambda wildcards: [
            (sample.patient, sample.sample) for sample in cohorts[wildcards.site].aligned
        ],
        quantified=lambda wildcards: [
            (sample.patient, sample.sample) for sample in cohorts[wildcards.site].quantified
        ],
        tumour_dna=lambda wildcards: cohorts[wildcards.site].sample_of("tumour_dna"),
        normal_dna=lambda wildcards: cohorts[wildcards.site].sample_of("normal_dna"),
        tumour_rna=lambda wildcards: cohorts[wildcards.site].sample_of("tumour_rna"),
        limits={name: limit.model_dump() for name, limit in study.quality_control.items()},
    message:
        "Judge the quality of all samples of {wildcards.site}"
    script:
        "../../scripts/quality_control/collect_quality_metrics.py"


rule multiqc:
    input:
        lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/{lane.report}"
            for sample in cohorts[wildcards.site].processed
            for lane in sample.lanes
        ],
        lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.stats.txt",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.summary.txt",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.global.dist.txt",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        lambda wildcards: expand(
            "results/{study}/sites/{site}/expression/salmon/{sample}/aux_info/meta_info.json",
            sample=[sample.sample for sample in cohorts[wildcards.site].quantified],
            allow_missing=True,
        ),
        lambda wildcards: expand(
            "results/{study}/sites/{site}/expression/salmon/{sample}/libParams/flenDist.txt",
            sample=[sample.sample for sample in cohorts[wildcards.site].quantified],
            allow_missing=True,
        ),
        lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/germline/{patient}.bcftools_stats.txt"
            for patient in cohorts[wildcards.site].germline_patients
        ],
    output:
        report="results/{study}/sites/{site}/multiqc/multiqc_report.html",
        data="results/{study}/sites/{site}/multiqc/multiqc_report_data/multiqc_data.json",
    log:
        "results/{study}/sites/{site}/logs/multiqc.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/multiqc.tsv"
    conda:
        "../../envs/multiqc.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        folder=lambda wildcards, output: output.report.rpartition("/")[0],
        title=lambda wildcards: sites[wildcards.site].title,
    message:
        "Gather the tools' quality reports of {wildcards.site}"
    shell:
        # Exact inputs, not folders: what an earlier sheet left behind is not in the report.
        "(list=$(mktemp); trap 'rm -f $list' EXIT; printf '%s\\n' {input} > $list;"
        " multiqc --file-list $list --outdir {params.folder} --filename multiqc_report.html"
        " --title '{params.title}' --data-format json --force --no-ansi --no-version-check) > {log} 2>&1"


rule germline_statistics:
    input:
        "results/{study}/sites/{site}/variants/germline/{patient}.bcf",
    output:
        "results/{study}/sites/{site}/quality_control/germline/{patient}.bcftools_stats.txt",
    log:
        "results/{study}/sites/{site}/logs/germline_statistics/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/germline_statistics/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "Statistics of the germline calls of {wildcards.patient} of {wildcards.site}"
    shell:
        "bcftools stats --samples - {input} > {output} 2> {log}"
