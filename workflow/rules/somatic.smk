"""Site: somatic variants of tumours, called, filtered, annotated and gathered."""


rule call_somatic:
    input:
        tumour=lambda wildcards: expand(
            "results/{study}/sites/{site}/alignment/{file}{suffix}",
            study=STUDY,
            site=wildcards.site,
            file=cohorts[wildcards.site].alignment(
                cohorts[wildcards.site].patients[wildcards.patient].tumour_dna.sample
            ),
            suffix=["", ".bai"],
        ),
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
        temp("results/{study}/sites/{site}/variants/somatic_raw/{patient}.vcf.gz"),
    log:
        "results/{study}/sites/{site}/logs/call_somatic/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/call_somatic/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        targets=lambda wildcards, input: (f"--targets {input.targets}" if input.targets else ""),
    message:
        "Compare tumour with normal of {wildcards.patient} of {wildcards.site}"
    shell:
        # Pooled-continuous makes no assumption on ploidy, which tumours do not keep; the fraction
        # is set below the study's limit so that the filter, not the caller, decides.
        "(freebayes --fasta-reference {input.genome} {params.targets} --pooled-continuous"
        " --min-alternate-fraction 0.02 --min-alternate-count 3 --min-mapping-quality 20"
        " --min-base-quality 15 --min-repeat-entropy 1 --haplotype-length -1 --genotype-qualities"
        " {input.tumour[0]} {input.normal[0]}"
        " | bcftools norm --fasta-ref {input.genome} --multiallelics -any --output-type z"
        " --output {output} -) 2> {log}"


rule filter_somatic:
    input:
        calls="results/{study}/sites/{site}/variants/somatic_raw/{patient}.vcf.gz",
        tumour=lambda wildcards: "results/{study}/sites/{site}/alignment/"
        + cohorts[wildcards.site].alignment(
            cohorts[wildcards.site].patients[wildcards.patient].tumour_dna.sample
        ),
        normal=lambda wildcards: "results/{study}/sites/{site}/alignment/"
        + cohorts[wildcards.site].alignment(
            cohorts[wildcards.site].patients[wildcards.patient].normal_dna.sample
        ),
    output:
        vcf="results/{study}/sites/{site}/variants/somatic_filtered/{patient}.vcf.gz",
        index="results/{study}/sites/{site}/variants/somatic_filtered/{patient}.vcf.gz.tbi",
    log:
        "results/{study}/sites/{site}/logs/filter_somatic/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/filter_somatic/{patient}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        tumour=lambda wildcards: cohorts[wildcards.site]
        .patients[wildcards.patient]
        .tumour_dna.sample,
        normal=lambda wildcards: cohorts[wildcards.site]
        .patients[wildcards.patient]
        .normal_dna.sample,
        filters=study.variants.somatic.model_dump(),
    message:
        "Filter somatic calls of {wildcards.patient} of {wildcards.site}"
    script:
        "../../scripts/variants/filter_somatic.py"


rule annotate_somatic:
    input:
        calls=lambda wildcards: (
            cohorts[wildcards.site].somatic_vcfs[wildcards.patient][0].path
            if wildcards.patient in cohorts[wildcards.site].somatic_vcfs
            else "results/{study}/sites/{site}/variants/somatic_filtered/{patient}.vcf.gz"
        ),
        # bcftools norm ends at a cut as if the file ended there; given files are read through.
        checked=ancient(
            lambda wildcards: (
                [f"results/{STUDY}/sites/{wildcards.site}/given/somatic_call_sets.json"]
                if wildcards.patient in cohorts[wildcards.site].somatic_vcfs
                else []
            )
        ),
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        annotation=[study.reference.annotation] if study.reference.annotation else [],
    output:
        "results/{study}/sites/{site}/variants/somatic/{patient}.bcf",
    log:
        "results/{study}/sites/{site}/logs/annotate_somatic/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/annotate_somatic/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        # The phase of somatic variants is unknown, so each is predicted on its own (local).
        consequences=lambda wildcards, input: (
            f"bcftools csq --local-csq --phase a --fasta-ref {input.genome}"
            f" --gff-annot {input.annotation} --output-type b"
            if input.annotation
            else "bcftools view --output-type b"
        ),
    message:
        "Normalise and annotate somatic call set {wildcards.patient} of {wildcards.site}"
    shell:
        "(bcftools norm --fasta-ref {input.genome} --check-ref e --multiallelics -any"
        " --output-type u {input.calls} | {params.consequences} --output {output} -) 2> {log}"


rule collect_somatic_variants:
    input:
        calls=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/somatic/{name}.bcf"
            for name in (
                *cohorts[wildcards.site].somatic_pairs,
                *cohorts[wildcards.site].somatic_vcfs,
            )
        ],
        mafs=lambda wildcards: [
            samples[0].path for samples in cohorts[wildcards.site].mafs.values()
        ],
        coverage=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/"
            + cohorts[wildcards.site].alignment(patient.tumour_dna.sample).removesuffix(".bam")
            + ".quantized.bed.gz"
            for patient in cohorts[wildcards.site].somatic_pairs.values()
        ],
        catalogue="results/{study}/reference/gene_catalogue.parquet",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        variants="results/{study}/sites/{site}/variants/somatic_variants.parquet",
        assessed="results/{study}/sites/{site}/variants/somatic_assessed.parquet",
    log:
        "results/{study}/sites/{site}/logs/collect_somatic_variants.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/collect_somatic_variants.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        call_sets=lambda wildcards: [
            *(
                {patient.tumour_dna.sample: name}
                for name, patient in cohorts[wildcards.site].somatic_pairs.items()
            ),
            *(
                {sample.name_in_file: sample.patient for sample in samples}
                for samples in cohorts[wildcards.site].somatic_vcfs.values()
            ),
        ],
        maf_patients=lambda wildcards: [
            {sample.name_in_file: sample.patient for sample in samples}
            for samples in cohorts[wildcards.site].mafs.values()
        ],
        covered_patients=lambda wildcards: list(cohorts[wildcards.site].somatic_pairs),
        callable_depth=study.variants.germline.callable_depth,
    message:
        "Collect somatic variants of {wildcards.site}"
    script:
        "../../scripts/variants/collect_somatic_variants.py"
