from ihdsi.simulate.demo_study import simulated_files
from ihdsi.simulate.practice_keys import TRUST_STORE, practice_key_files

SIMULATED = f"results/{STUDY}/simulated"
SIMULATED_FILES = simulated_files(SIMULATED, study.simulation.seed)
KEYS = f"{SIMULATED}/keys"
PRACTICE_KEYS = [
    f"{KEYS}/{TRUST_STORE}",
    *[f"{KEYS}/{file}" for file in practice_key_files(PARTICIPANTS).values()],
]


rule create_practice_keys:
    output:
        PRACTICE_KEYS,
    log:
        f"results/{STUDY}/logs/create_practice_keys.log",
    benchmark:
        f"results/{STUDY}/benchmarks/create_practice_keys.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    params:
        participants=list(PARTICIPANTS),
    message:
        "Create practice keys for the simulated study"
    script:
        "../../scripts/simulate/create_practice_keys.py"


rule simulate_cohort:
    input:
        panel="resources/bladder_gene_panel.tsv",
        markers="resources/cell_type_markers.tsv",
    output:
        **SIMULATED_FILES,
    log:
        f"results/{STUDY}/logs/simulate_cohort.log",
    benchmark:
        f"results/{STUDY}/benchmarks/simulate_cohort.tsv"
    conda:
        "../../envs/simulation.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        seed=study.simulation.seed,
        root=lambda wildcards, output: os.path.dirname(os.path.dirname(output.reference[0])),
    message:
        "Simulate the patients and the reference"
    script:
        "../../scripts/simulate/simulate_cohort.py"


rule simulate_reads:
    input:
        genome=f"{SIMULATED}/reference/genome.fa",
        index=f"{SIMULATED}/reference/genome.fa.fai",
        targets=f"{SIMULATED}/reference/targets.bed",
        truth=SIMULATED_FILES["truth"],
    output:
        fastq_1=f"{SIMULATED}/{{site}}/fastq/{{sample}}_{{lane}}_R1.fastq.gz",
        fastq_2=f"{SIMULATED}/{{site}}/fastq/{{sample}}_{{lane}}_R2.fastq.gz",
    log:
        f"results/{STUDY}/sites/{{site}}/logs/simulate_reads/{{sample}}_{{lane}}.log",
    benchmark:
        f"results/{STUDY}/sites/{{site}}/benchmarks/simulate_reads/{{sample}}_{{lane}}.tsv"
    conda:
        "../../envs/simulation.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        seed=study.simulation.seed,
        lanes=lambda wildcards: [
            lane.lane for lane in cohorts[wildcards.site].samples[wildcards.sample].lanes
        ],
    message:
        "Simulate the reads of {wildcards.sample} lane {wildcards.lane} of {wildcards.site}"
    script:
        "../../scripts/simulate/simulate_reads.py"


rule evaluate_recovery:
    input:
        truth=SIMULATED_FILES["truth"],
        targets=f"{SIMULATED}/reference/targets.bed",
        somatic_variants=[
            f"results/{STUDY}/sites/{site}/variants/somatic_variants.parquet" for site in sites
        ],
        germline=[f"results/{STUDY}/sites/{site}/variants/germline/cohort.bcf" for site in sites],
        copy_number_genes=[
            f"results/{STUDY}/sites/{site}/variants/copy_number_genes.parquet" for site in sites
        ],
        gene_counts=[
            f"results/{STUDY}/sites/{site}/expression/gene_counts.parquet" for site in sites
        ],
        expression_effects=f"results/{STUDY}/meta/expression_effects.parquet",
        survival_effects=f"results/{STUDY}/meta/survival_effects.parquet",
        driver_genes=f"results/{STUDY}/meta/driver_genes.parquet",
        matrix_linear_model=f"results/{STUDY}/meta/matrix_linear_model.parquet",
        expression_profiles=[
            f"results/{STUDY}/sites/{site}/expression/expression_profile.parquet" for site in sites
        ],
        mutation_burden=f"results/{STUDY}/meta/mutation_burden.parquet",
        cells=[f"results/{STUDY}/sites/{site}/single_cell/cells.parquet" for site in sites],
        cell_composition_contrasts=f"results/{STUDY}/meta/cell_composition_contrasts.parquet",
        cell_expression_effects=f"results/{STUDY}/meta/cell_expression_effects.parquet",
    output:
        "results/{study}/recovery.json",
    log:
        "results/{study}/logs/evaluate_recovery.log",
    benchmark:
        "results/{study}/benchmarks/evaluate_recovery.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        germline_patients=[cohorts[site].germline_assessed for site in sites],
        germline_filters=study.variants.germline.model_dump(),
        contrast=next(iter(study.contrasts)),
        endpoint=next(iter(study.endpoints)),
    message:
        "Compare what was found with what was planted"
    script:
        "../../scripts/simulate/evaluate_recovery.py"
