"""Site: germline variants of normals, called, annotated and gathered."""


rule call_germline:
    input:
        normal=lambda wildcards: expand(
            "results/{study}/sites/{site}/alignment/{file}{suffix}",
            study=STUDY,
            site=wildcards.site,
            file=cohorts[wildcards.site].alignment(
                cohorts[wildcards.site].patients[wildcards.patient].normal_dna.sample
            ),
            suffix=["", ".bai"],
        ),
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/variants/germline_called/{patient}.vcf.gz",
    log:
        "results/{study}/sites/{site}/logs/call_germline/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/call_germline/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        targets=lambda wildcards, input: (
            f"--regions-file {input.targets}" if input.targets else ""
        ),
        sample=lambda wildcards: cohorts[wildcards.site]
        .patients[wildcards.patient]
        .normal_dna.sample,
        minimum_quality=study.variants.germline.minimum_quality,
    message:
        "Call germline variants of {wildcards.patient} of {wildcards.site}"
    shell:
        "(bcftools mpileup --fasta-ref {input.genome} {params.targets} --min-MQ 20 --min-BQ 20"
        " --max-depth 2000 --annotate FORMAT/AD,FORMAT/DP --output-type u {input.normal[0]}"
        " | bcftools call --multiallelic-caller --variants-only --annotate GQ --output-type u"
        " | bcftools filter --soft-filter low_quality --exclude 'QUAL<{params.minimum_quality}'"
        " --output-type u"
        " | bcftools reheader --samples <(echo {params.sample})"
        " | bcftools view --output-type z --output {output}) 2> {log}"


rule annotate_germline:
    input:
        calls=lambda wildcards: (
            cohorts[wildcards.site].germline_vcfs[wildcards.patient][0].path
            if wildcards.patient in cohorts[wildcards.site].germline_vcfs
            else "results/{study}/sites/{site}/variants/germline_called/{patient}.vcf.gz"
        ),
        # bcftools norm ends at a cut as if the file ended there; given files are read through.
        checked=ancient(
            lambda wildcards: (
                [f"results/{STUDY}/sites/{wildcards.site}/given/germline_call_sets.json"]
                if wildcards.patient in cohorts[wildcards.site].germline_vcfs
                else []
            )
        ),
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        annotation=[study.reference.annotation] if study.reference.annotation else [],
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/variants/germline/{patient}.bcf",
    log:
        "results/{study}/sites/{site}/logs/annotate_germline/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/annotate_germline/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        # Most germline sites are unphased; each allele is predicted as if it stood alone.
        consequences=lambda wildcards, input: (
            f"bcftools csq --local-csq --phase a --fasta-ref {input.genome}"
            f" --gff-annot {input.annotation} --output-type b"
            if input.annotation
            else "bcftools view --output-type b"
        ),
        targets=lambda wildcards, input: (
            f"--targets-file {input.targets}" if input.targets else ""
        ),
    message:
        "Normalise and annotate germline call set {wildcards.patient} of {wildcards.site}"
    shell:
        "(bcftools norm --fasta-ref {input.genome} --check-ref e --multiallelics -any"
        " {params.targets} --output-type u {input.calls}"
        " | {params.consequences} --output {output} -) 2> {log}"


rule collect_germline_genotypes:
    input:
        calls=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/germline/{name}.bcf"
            for name in (
                *cohorts[wildcards.site].germline_patients,
                *cohorts[wildcards.site].germline_vcfs,
            )
        ],
        coverage=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/"
            + cohorts[wildcards.site].alignment(patient.normal_dna.sample).removesuffix(".bam")
            + ".quantized.bed.gz"
            for patient in cohorts[wildcards.site].germline_patients.values()
        ],
        catalogue=lambda wildcards: (
            ["results/{study}/reference/gene_catalogue.parquet"]
            if study.reference.annotation or study.reference.gene_catalogue
            else []
        ),
    output:
        "results/{study}/sites/{site}/variants/germline_genotypes.parquet",
    log:
        "results/{study}/sites/{site}/logs/collect_germline_genotypes.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/collect_germline_genotypes.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        call_sets=lambda wildcards: [
            *(
                {patient.normal_dna.sample: name}
                for name, patient in cohorts[wildcards.site].germline_patients.items()
            ),
            *(
                {sample.name_in_file: sample.patient for sample in samples}
                for samples in cohorts[wildcards.site].germline_vcfs.values()
            ),
        ],
        covered_patients=lambda wildcards: list(cohorts[wildcards.site].germline_patients),
        filters=study.variants.germline.model_dump(),
    message:
        "Collect germline genotypes of {wildcards.site}"
    script:
        "../../scripts/variants/collect_germline_genotypes.py"
