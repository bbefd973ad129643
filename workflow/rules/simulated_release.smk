"""Site of a simulated study: its release is approved by a rule, as there is nobody to review.

Only a run of a simulated study includes this file.
"""


rule approve_simulated_release:
    input:
        manifest=f"{CANDIDATE}/manifest.json",
        signature=f"{CANDIDATE}/manifest.dsse.json",
        review=f"{SITE}/review",
        populations=f"{SITE}/cleared/populations.parquet",
        binding=f"{CANDIDATE}.populations.dsse.json",
        practice_keys=PRACTICE_KEYS,
    output:
        "exchange/{study}/{site}/seal.dsse.json",
    log:
        f"{SITE}/logs/approve_simulated_release.log",
    benchmark:
        f"{SITE}/benchmarks/approve_simulated_release.tsv"
    wildcard_constraints:
        # Bundles of other participants come from elsewhere; no rule here makes them.
        site="|".join(sites),
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        study_file=plan.run.study,
        site_file=lambda wildcards: SITE_FILES[wildcards.site],
        steward_key=f"{KEYS}/{{site}}/steward",
    message:
        "Approve the simulated release of {wildcards.site} with the practice key"
    script:
        "../../scripts/release/approve_simulated_release.py"
