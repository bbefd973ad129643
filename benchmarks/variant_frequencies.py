"""The cost of allele counts: our summary of a cohort's germline calls against bcftools.

A cohort of 100 samples × 200,000 variants (GT:DP:GQ; beta-distributed frequencies in
Hardy–Weinberg proportions, 2 % missing genotypes, depth Poisson around 30) is simulated as BCF.
Ours is `build_variant_frequencies` with two strata, limits of depth and genotype quality,
call-rate and Hardy–Weinberg filters, and `write_table` (validation and Parquet), timed within a
process that has loaded its modules; the whole process is given beside it. It runs as Snakemake
runs a job of one thread, with the numerical libraries limited to it. The reference is

    bcftools +fill-tags cohort.bcf -Ob -o tagged.bcf -- -t AN,AC,AC_Hom,AC_Het,NS

on the same file, which counts the whole cohort only and has no filters. Runs alternate; medians
count. Half of the variants are timed too, because the cost has to grow in proportion. Allele
counts of both are compared, and the run fails if they differ. With ``--quick`` there are 40,000
variants and one repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

N_SAMPLES = 100
N_CHROMOSOMES = 22
BLOCK = 5_000
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
OURS = """\
import json, resource, sys, time
import polars as pl
from ihdsi.study import GermlineFilters
from ihdsi.summaries import write_table
from ihdsi.summaries.variant_frequencies import build_variant_frequencies
import cyvcf2, pandera.polars
calls, output, patients, filters = json.loads(sys.argv[1])
stages = ["NMIBC", "MIBC"] * (len(patients) // 2)
clinical = pl.DataFrame({"patient": patients, "stage": stages})
start = time.perf_counter()
table = build_variant_frequencies(
    calls, patients, GermlineFilters(**filters), clinical=clinical, strata=["stage"]
)
write_table(table, "variant_frequencies", output)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak": peak, "rows": table.height}))
"""


def simulate_cohort(path: Path, n_variants: int, seed: int = 1) -> list[str]:
    """Write the cohort as BCF; returns the samples' names."""
    rng = np.random.default_rng(seed)
    patients = [f"P{number:03d}" for number in range(N_SAMPLES)]
    depths, qualities = 80, 100
    fields = np.array(
        [
            f"{genotype}:{depth}:{quality}"
            for genotype in ("0/0", "0/1", "1/1", "./.")
            for depth in range(depths)
            for quality in range(qualities)
        ],
        dtype=object,
    )
    header = [
        "##fileformat=VCFv4.2",
        *(f"##contig=<ID=chr{number + 1},length=250000000>" for number in range(N_CHROMOSOMES)),
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Read depth">',
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Genotype quality">',
        "\t".join(
            ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"] + patients
        ),
    ]
    command = ["bcftools", "view", "--output-type", "b", "--output", str(path), "-"]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    assert writer.stdin is not None
    writer.stdin.write("\n".join(header) + "\n")
    frequency = rng.beta(0.3, 1.2, n_variants)
    for start in range(0, n_variants, BLOCK):
        chosen = frequency[start : start + BLOCK, None]
        shape = (len(chosen), N_SAMPLES)
        genotype = rng.binomial(2, chosen, shape)
        genotype[rng.random(shape) < 0.02] = 3
        depth = np.minimum(rng.poisson(30, shape), depths - 1)
        quality = rng.integers(10, qualities, shape)
        cells = fields[(genotype * depths + depth) * qualities + quality]
        for row, values in enumerate(cells.tolist(), start):
            chromosome = row * N_CHROMOSOMES // n_variants + 1
            head = f"chr{chromosome}\t{1000 + 100 * row}\t.\tA\tG\t50\tPASS\t.\tGT:DP:GQ\t"
            writer.stdin.write(head + "\t".join(values) + "\n")
    writer.stdin.close()
    if writer.wait():
        raise SystemExit("bcftools could not write the cohort")
    return patients


def run_ours(calls: Path, output: Path, patients: list[str], **filters: float) -> dict[str, float]:
    """Run our builder in a process of its own; `whole` is that process's seconds."""
    start = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-c", OURS, json.dumps([str(calls), str(output), patients, filters])],
        env={**os.environ, **ONE_THREAD},
        check=True,
        capture_output=True,
        text=True,
    )
    return {**json.loads(answer.stdout), "whole": time.perf_counter() - start}


def run_reference(calls: Path, output: Path) -> float:
    """Run bcftools; returns its seconds."""
    start = time.perf_counter()
    subprocess.run(
        ["bcftools", "+fill-tags", calls, "-Ob", "-o", output]
        + ["--", "-t", "AN,AC,AC_Hom,AC_Het,NS"],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def check_counts(calls: Path, tagged: Path, output: Path, patients: list[str]) -> int:
    """Compare allele counts with those of bcftools, without filters; returns how many agree."""
    everything = {
        "minimum_depth": 1,
        "minimum_genotype_quality": 0,
        "minimum_call_rate": 0,
        "minimum_hardy_weinberg_p_value": 0,
    }
    run_ours(calls, output, patients, **everything)
    ours = pl.read_parquet(output).filter(stratum="all")
    lines = subprocess.run(
        ["bcftools", "query", "-i", "AC>0", "-f", r"%CHROM\t%POS\t%AC\t%AN\t%AC_Hom\n", tagged],
        check=True,
        capture_output=True,
    ).stdout
    names = ["chromosome", "position", "allele_count", "allele_number", "n_homozygous"]
    theirs = pl.read_csv(lines, separator="\t", has_header=False, new_columns=names)
    # bcftools counts the alleles of homozygotes, we count homozygotes.
    theirs = theirs.with_columns(pl.col("n_homozygous") // 2).sort("chromosome", "position")
    if not ours.select(names).sort("chromosome", "position").equals(theirs):
        raise SystemExit("the allele counts differ from those of bcftools")
    return theirs.height


def main() -> None:
    """Measure, print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40,000 variants, one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    n_variants = 40_000 if arguments.quick else 200_000
    repeats = 1 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory(prefix="variant_frequencies_") as folder:
        whole, half = Path(folder, "cohort.bcf"), Path(folder, "half.bcf")
        tagged, output = Path(folder, "tagged.bcf"), Path(folder, "frequencies.parquet")
        patients = simulate_cohort(whole, n_variants)
        simulate_cohort(half, n_variants // 2)
        ours, halves, reference = [], [], []
        for _ in range(repeats):
            reference.append(run_reference(whole, tagged))
            ours.append(run_ours(whole, output, patients))
            halves.append(run_ours(half, output, patients))
        agreeing = check_counts(whole, tagged, output, patients)
    seconds = statistics.median(run["seconds"] for run in ours)
    of_half = statistics.median(run["seconds"] for run in halves)
    theirs = statistics.median(reference)
    rows = [
        ("variants × samples", f"{n_variants} × {N_SAMPLES}"),
        ("ours, 2 strata and filters (s)", f"{seconds:.2f}"),
        (
            "ours, whole process with imports (s)",
            f"{statistics.median(r['whole'] for r in ours):.2f}",
        ),
        ("bcftools +fill-tags (s)", f"{theirs:.2f}"),
        ("ours, half of the variants (s)", f"{of_half:.2f}"),
        ("whole / half (2 is linear)", f"{seconds / of_half:.2f}"),
        ("peak memory of ours (MiB)", f"{max(run['peak'] for run in ours):.0f}"),
        ("peak memory, half of the variants (MiB)", f"{max(run['peak'] for run in halves):.0f}"),
        ("variants with equal counts", str(agreeing)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value:>14}")
    result = {
        "name": "variant_frequencies",
        "ours": round(seconds, 3),
        "reference": round(theirs, 3),
        "unit": "s",
        "ratio": round(seconds / theirs, 3),
        "reference_is": "bcftools +fill-tags -Ob -- -t AN,AC,AC_Hom,AC_Het,NS on the same BCF",
        "peak_mebibytes": round(max(run["peak"] for run in ours)),
        "seconds_whole_over_half": round(seconds / of_half, 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
