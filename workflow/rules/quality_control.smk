"""Site: quality metrics of all assays, judged by the study's limits, and MultiQC."""

from ihdsi.quality_control import KINDS


rule choose_common_sites:
    input:
        # Without sites of the population, those at which the site's own patients differ.
        calls=lambda wildcards: (
            [study.reference.common_sites]
            if study.reference.common_sites
            else (
                ["results/{study}/sites/{site}/variants/germline/cohort.bcf"]
                if cohorts[wildcards.site].has_germline
                else []
            )
        ),
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/quality_control/common_sites.parquet",
    log:
        "results/{study}/sites/{site}/logs/choose_common_sites.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/choose_common_sites.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=study.sample_checks.model_dump(),
        counted_here=study.reference.common_sites is None,
    message:
        "Choose the sites at which samples of {wildcards.site} are compared"
    script:
        "../../scripts/quality_control/choose_common_sites.py"


rule count_alleles_at_common_sites:
    input:
        bam="results/{study}/sites/{site}/alignment/{alignment}.bam",
        index="results/{study}/sites/{site}/alignment/{alignment}.bam.bai",
        sites="results/{study}/sites/{site}/quality_control/common_sites.parquet",
    output:
        "results/{study}/sites/{site}/quality_control/{alignment}.common_sites.parquet",
    log:
        "results/{study}/sites/{site}/logs/count_alleles_at_common_sites/{alignment}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/count_alleles_at_common_sites/{alignment}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=study.sample_checks.model_dump(),
    message:
        "Count alleles of {wildcards.alignment} of {wildcards.site} at common sites"
    script:
        "../../scripts/quality_control/count_alleles_at_common_sites.py"


rule count_substitutions:
    input:
        bam="results/{study}/sites/{site}/alignment/{alignment}.bam",
        index="results/{study}/sites/{site}/alignment/{alignment}.bam.bai",
        genome="results/{study}/reference/genome.fa",
        genome_index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/quality_control/{alignment}.substitutions.parquet",
    log:
        "results/{study}/sites/{site}/logs/count_substitutions/{alignment}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/count_substitutions/{alignment}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=study.sample_checks.model_dump(),
    message:
        "Count substitutions by read orientation in {wildcards.alignment} of {wildcards.site}"
    script:
        "../../scripts/quality_control/count_substitutions.py"


rule compare_samples:
    input:
        counts=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.common_sites.parquet",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        substitutions=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.substitutions.parquet",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
    output:
        metrics="results/{study}/sites/{site}/quality_control/sample_checks.parquet",
        concordance="results/{study}/sites/{site}/quality_control/sample_concordance.tsv",
    log:
        "results/{study}/sites/{site}/logs/compare_samples.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/compare_samples.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        samples=lambda wildcards: [
            (sample.patient, sample.sample, sample.tissue)
            for sample in cohorts[wildcards.site].aligned
        ],
        settings=study.sample_checks.model_dump(),
    message:
        "Compare the samples of {wildcards.site} with each other"
    script:
        "../../scripts/quality_control/compare_samples.py"


rule check_sex:
    input:
        regions=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.regions.bed.gz",
            alignment=cohorts[wildcards.site].alignments,
            allow_missing=True,
        ),
        clinical=lambda wildcards: (
            ["results/{study}/sites/{site}/clinical/clinical.parquet"]
            if cohorts[wildcards.site].clinical
            else []
        ),
    output:
        "results/{study}/sites/{site}/quality_control/sex_checks.parquet",
    log:
        "results/{study}/sites/{site}/logs/check_sex.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_sex.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        samples=lambda wildcards: [
            (sample.patient, sample.sample, sample.tissue)
            for sample in cohorts[wildcards.site].aligned
        ],
        settings=study.sample_checks.model_dump(),
    message:
        "Compare the sex that the coverage shows with the clinical table of {wildcards.site}"
    script:
        "../../scripts/quality_control/check_sex.py"


rule check_expression:
    input:
        counts="results/{study}/sites/{site}/expression/gene_counts.parquet",
        # Of samples that are quantified here; a given folder has what it has.
        salmon=lambda wildcards: expand(
            "results/{study}/sites/{site}/expression/salmon/{sample}/{file}",
            sample=[sample.sample for sample in cohorts[wildcards.site].quantified],
            file=["aux_info/meta_info.json", "lib_format_counts.json", "fragment_positions.tsv"],
            allow_missing=True,
        ),
        genes="resources/expression_quality_genes.tsv",
        clinical=lambda wildcards: (
            ["results/{study}/sites/{site}/clinical/clinical.parquet"]
            if cohorts[wildcards.site].clinical
            else []
        ),
    output:
        "results/{study}/sites/{site}/quality_control/expression_checks.parquet",
    log:
        "results/{study}/sites/{site}/logs/check_expression.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_expression.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        samples=lambda wildcards: cohorts[wildcards.site].sample_of("tumour_rna"),
        folders=lambda wildcards: {
            sample.patient: cohorts[wildcards.site].salmon_folder(
                sample, f"results/{STUDY}/sites/{wildcards.site}"
            )
            for sample in cohorts[wildcards.site].transcripts_counted
        },
        sex=study.sample_checks.sex and study.sample_checks.sex.model_dump(),
        stranded_percent=study.expression.stranded_percent,
    message:
        "Measure the quality of RNA samples of {wildcards.site}"
    script:
        "../../scripts/quality_control/check_expression.py"


# What feeds somatic calls of other patients is chosen by what does not depend on those calls, nor on
# the clinical table, whose corrections must not call every tumour anew.
rule judge_alignments:
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
        sample_checks="results/{study}/sites/{site}/quality_control/sample_checks.parquet",
    output:
        "results/{study}/sites/{site}/quality_control/alignment_decisions.parquet",
    log:
        "results/{study}/sites/{site}/logs/judge_alignments.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/judge_alignments.tsv"
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
        samples=lambda wildcards: {kind: cohorts[wildcards.site].sample_of(kind) for kind in KINDS},
        limits={name: limit.model_dump() for name, limit in study.quality_control.items()},
    message:
        "Judge the alignments of {wildcards.site}"
    script:
        "../../scripts/quality_control/judge_alignments.py"


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
        distributions=lambda wildcards: expand(
            "results/{study}/sites/{site}/quality_control/{alignment}.{kind}",
            alignment=cohorts[wildcards.site].alignments,
            kind=["regions.bed.gz", "mosdepth.region.dist.txt"],
            allow_missing=True,
        ),
        sample_checks=lambda wildcards: (
            [
                "results/{study}/sites/{site}/quality_control/sample_checks.parquet",
                "results/{study}/sites/{site}/quality_control/sex_checks.parquet",
            ]
            if cohorts[wildcards.site].aligned
            else []
        )
        + (
            ["results/{study}/sites/{site}/quality_control/expression_checks.parquet"]
            if cohorts[wildcards.site].has_expression
            else []
        )
        + plan.matrix_tables(wildcards.site, "metrics")
        + [
            f"results/{STUDY}/sites/{wildcards.site}/single_cell/samples/{sample}.metrics.parquet"
            for sample in cohorts[wildcards.site].cell_samples
        ]
        + (
            ["results/{study}/sites/{site}/single_cell/cluster_metrics.parquet"]
            if cohorts[wildcards.site].has_cells
            else []
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
        germline_statistics=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/germline/{name}.bcftools_stats.txt"
            for name in cohorts[wildcards.site].germline_call_sets
        ],
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
        samples=lambda wildcards: {kind: cohorts[wildcards.site].sample_of(kind) for kind in KINDS},
        limits={name: limit.model_dump() for name, limit in study.quality_control.items()},
    message:
        "Judge the quality of all samples of {wildcards.site}"
    script:
        "../../scripts/quality_control/collect_quality_metrics.py"


rule decide_samples:
    input:
        "results/{study}/sites/{site}/quality_control/qc_metrics.parquet",
    output:
        decisions="results/{study}/sites/{site}/quality_control/sample_decisions.parquet",
        text="results/{study}/sites/{site}/quality_control/sample_decisions.tsv",
    log:
        "results/{study}/sites/{site}/logs/decide_samples.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/decide_samples.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        samples=lambda wildcards: {kind: cohorts[wildcards.site].sample_of(kind) for kind in KINDS},
    message:
        "Decide which samples of {wildcards.site} reach the summaries"
    script:
        "../../scripts/quality_control/decide_samples.py"


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
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/germline/{name}.bcftools_stats.txt"
            for name in cohorts[wildcards.site].germline_call_sets
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
        "results/{study}/sites/{site}/variants/germline/{call_set}.bcf",
    output:
        "results/{study}/sites/{site}/quality_control/germline/{call_set}.bcftools_stats.txt",
    log:
        "results/{study}/sites/{site}/logs/germline_statistics/{call_set}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/germline_statistics/{call_set}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "Statistics of the germline call set {wildcards.call_set} of {wildcards.site}"
    shell:
        # Sites that fail count for nobody; a genotype that fails counts as missing.
        "bcftools stats --samples - --apply-filters .,PASS {input} > {output} 2> {log}"
