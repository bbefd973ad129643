"""Site: quantify RNA reads with salmon and gather gene counts of all origins."""

from ihdsi.expression.salmon_output import quantification_file


rule quantify_expression:
    input:
        fastq_1=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/{lane.trimmed[0]}"
            for lane in cohorts[wildcards.site].samples[wildcards.sample].lanes
        ],
        fastq_2=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/{file}"
            for lane in cohorts[wildcards.site].samples[wildcards.sample].lanes
            for file in lane.trimmed[1:]
        ],
        index="results/{study}/reference/salmon",
        positions="scripts/expression/fragment_positions.awk",
    output:
        quantification="results/{study}/sites/{site}/expression/salmon/{sample}/quant.sf",
        meta_info="results/{study}/sites/{site}/expression/salmon/{sample}/aux_info/meta_info.json",
        library_formats="results/{study}/sites/{site}/expression/salmon/{sample}/lib_format_counts.json",
        positions="results/{study}/sites/{site}/expression/salmon/{sample}/fragment_positions.tsv",
        fragment_lengths="results/{study}/sites/{site}/expression/salmon/{sample}/libParams/flenDist.txt",
    log:
        "results/{study}/sites/{site}/logs/quantify_expression/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/quantify_expression/{sample}.tsv"
    conda:
        "../../envs/expression.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        folder=lambda wildcards, output: os.path.dirname(output.quantification),
        reads=lambda wildcards, input: (
            f"-1 {input.fastq_1} -2 {input.fastq_2}" if input.fastq_2 else f"-r {input.fastq_1}"
        ),
    message:
        "Quantify {wildcards.sample} of {wildcards.site}"
    shell:
        # Mappings are told apart from the estimates, which they do not change: where in their
        # transcripts fragments lie shows degraded RNA.
        "(salmon quant --index {input.index} --libType A --validateMappings --gcBias --seqBias"
        " {params.reads} --threads {threads} --output {params.folder} --writeMappings"
        " | awk -f {input.positions} > {output.positions}) 2> {log}"


rule gather_gene_counts:
    input:
        quantifications=lambda wildcards: [
            quantification_file(
                cohorts[wildcards.site].salmon_folder(
                    sample, f"results/{STUDY}/sites/{wildcards.site}"
                )
            )
            for sample in cohorts[wildcards.site].transcripts_counted
        ],
        transcript_to_gene=lambda wildcards: (
            [f"results/{STUDY}/reference/transcript_to_gene.parquet"]
            if cohorts[wildcards.site].transcripts_counted
            else []
        ),
        matrices=lambda wildcards: [
            samples[0].path for samples in cohorts[wildcards.site].count_matrices.values()
        ],
    output:
        "results/{study}/sites/{site}/expression/gene_counts.parquet",
    log:
        "results/{study}/sites/{site}/logs/gather_gene_counts.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/gather_gene_counts.tsv"
    # A fault of what was given stays one however often it is tried.
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        patients=lambda wildcards: [
            sample.patient for sample in cohorts[wildcards.site].transcripts_counted
        ],
        matrix_patients=lambda wildcards: [
            {sample.name_in_file: sample.patient for sample in samples}
            for samples in cohorts[wildcards.site].count_matrices.values()
        ],
        settings=study.expression.model_dump(),
    message:
        "Gather gene counts of {wildcards.site}"
    script:
        "../../scripts/expression/gather_gene_counts.py"


rule score_signatures:
    input:
        counts="results/{study}/sites/{site}/expression/gene_counts.parquet",
        signatures="resources/expression_signatures.tsv",
    output:
        scores="results/{study}/sites/{site}/expression/signature_scores.parquet",
        subtypes="results/{study}/sites/{site}/expression/molecular_subtypes.parquet",
        profile="results/{study}/sites/{site}/expression/expression_profile.parquet",
    log:
        "results/{study}/sites/{site}/logs/score_signatures.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/score_signatures.tsv"
    # A fault of what was given stays one however often it is tried.
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        settings=study.expression.model_dump(),
    message:
        "Score expression signatures of {wildcards.site}"
    script:
        "../../scripts/expression/score_signatures.py"
