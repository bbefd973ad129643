"""Site: quality metrics of all assays, judged by the study's limits, and MultiQC."""


def alignment_files(suffix):
    """Input function: a file of each alignment of the site."""

    def files(wildcards):
        cohort = cohorts[wildcards.site]
        return [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/"
            f"{cohort.alignment(sample.sample).removesuffix('.bam')}{suffix}"
            for sample in cohort.aligned
        ]

    return files


def lane_reports(wildcards):
    """Reports of fastp, one a lane."""
    return [
        f"results/{STUDY}/sites/{wildcards.site}/reads/{sample.sample}.{lane.lane}.fastp.json"
        for sample in cohorts[wildcards.site].processed
        for lane in sample.lanes
    ]


def quantification_files(name):
    """Input function: a file of each salmon output folder of the site."""

    def files(wildcards):
        return [
            f"results/{STUDY}/sites/{wildcards.site}/expression/salmon/{sample.sample}/{name}"
            for sample in cohorts[wildcards.site].quantified
        ]

    return files


def present(table, condition):
    """Input function: a table of the site, where the site has data for it."""
    return lambda wildcards: (
        [f"results/{STUDY}/sites/{wildcards.site}/{table}.parquet"]
        if getattr(cohorts[wildcards.site], condition)
        else []
    )


rule collect_quality_metrics:
    input:
        stats=alignment_files(".stats.txt"),
        thresholds=alignment_files(".thresholds.bed.gz"),
        regions=alignment_files(".regions.bed.gz"),
        meta_info=quantification_files("aux_info/meta_info.json"),
        somatic_variants=present("variants/somatic_variants", "has_somatic"),
        somatic_assessed=present("variants/somatic_assessed", "has_somatic"),
        germline_genotypes=present("variants/germline_genotypes", "has_germline"),
        gene_counts=present("expression/gene_counts", "has_expression"),
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
        lane_reports,
        alignment_files(".stats.txt"),
        alignment_files(".mosdepth.summary.txt"),
        alignment_files(".mosdepth.global.dist.txt"),
        quantification_files("aux_info/meta_info.json"),
        quantification_files("libParams/flenDist.txt"),
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
        reads="results/{study}/sites/{site}/reads",
        quality="results/{study}/sites/{site}/quality_control",
        expression="results/{study}/sites/{site}/expression/salmon",
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
