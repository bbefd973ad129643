"""What the workflow manager costs: our DNA workflow against a bash script of the same commands.

Ours is ``snakemake`` with the DNA results of some simulated patients as targets: fastp, bwa with
fixmate and sort, markdup, samtools stats, mosdepth, freebayes with the somatic filter and
bcftools norm and csq, and joint germline bcftools mpileup and call of the sites' normals with norm
and hard filters. The reference is a plain bash script of the very same jobs: its command lines are
those that Snakemake itself plans for them (its API hands them out with file names and threads
filled in), so tools, options and threads are equal. The steps that are our own Python
(filter_somatic, build_panel_of_normals) call the same library function by ``python -c``. The script
uses the cores as a person would: tools with threads of their own run as many at a time as fit, then
the single-threaded chains of all patients share ``xargs -P cores``. It deletes no intermediate
files; ours does.

Both start from copies of one folder in which the workflow has simulated the FASTQ files and
prepared the reference (bwa index, faidx, sorted targets): none of this is timed on either side.
With ``--quick`` it is one patient and the normals of its site's panel, with half of the reads, else
all patients of both sites.
Later repeats change which of the two goes first. The run fails if the two do not find the same
somatic variants that pass.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pysam

PROJECT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config", "envs", "resources", "scripts", "src", "workflow")
PREPARATION = {
    "simulate_cohort",
    "simulate_reads",
    "stage_genome",
    "stage_targets",
    "index_genome",
    "scatter_regions",
    "list_germline_samples",
}
# Each stage waits for the one before; the jobs of a chain follow each other. Longest first.
STAGES = (
    (("trim_reads",),),
    (("align_reads",),),
    (("mark_duplicates",),),
    (("coverage",),),
    (
        ("list_normal_alleles",),
        ("call_somatic",),
        ("call_germline_bcftools",),
        ("alignment_statistics",),
    ),
    (("build_panel_of_normals",),),
    (("gather_somatic_parts", "filter_somatic", "annotate_somatic"), ("filter_germline",)),
)
BASH_HEAD = """\
#!/bin/bash
set -euo pipefail
step() {
    local start=$EPOCHREALTIME
    "$2" || { echo "$1 failed ($2)" >&2; return 1; }
    printf '%s\\t%s\\t%s\\n' "$1" "$start" "$EPOCHREALTIME" >> steps.tsv
}
stage() { xargs --delimiter='\\n' --max-args=1 --max-procs="$1" bash -euo pipefail -c; }
"""
# Every second read pair, in place: the files of a pair keep the same ones.
THIN_READS = """\
set -euo pipefail
thin() { gzip -cd "$1" | awk 'int((NR - 1) / 4) % 2' | gzip -1 > "$1.part" && mv "$1.part" "$1"; }
export -f thin
cores=$1; shift
printf '%s\\n' "$@" | xargs --max-args=1 --max-procs="$cores" bash -euo pipefail -c 'thin "$0"'
"""
FILTER_SOMATIC = """\
import json, sys
from ihdsi.study import SomaticFilters
from ihdsi.variants.somatic_filters import SomaticEvidence, filter_somatic_calls
given = json.loads(sys.argv[1])
filter_somatic_calls(
    *given["arguments"],
    settings=SomaticFilters(**given["filters"]),
    evidence=SomaticEvidence(**given["evidence"]),
)
"""
BUILD_PANEL_OF_NORMALS = """\
import json, sys
from ihdsi.variants.panel_of_normals import write_panel_of_normals
write_panel_of_normals(*json.loads(sys.argv[1]))
"""


@dataclass(frozen=True)
class Job:
    """A job as Snakemake plans it; `command` is one bash command."""

    rule: str
    wildcards: tuple[tuple[str, str], ...]
    command: str | None
    threads: int
    outputs: tuple[str, ...]
    log: str
    benchmark: str


@dataclass(frozen=True)
class Workload:
    """What is measured: the targets of `n_patients`, and all jobs from nothing to them."""

    n_patients: int
    targets: tuple[str, ...]
    jobs: tuple[Job, ...]

    @property
    def timed(self) -> list[Job]:
        """The jobs that both sides run against the clock."""
        return [job for job in self.jobs if job.rule not in PREPARATION]

    @property
    def prepared_files(self) -> list[str]:
        """What exists on both sides before the clock starts."""
        return [name for job in self.jobs if job.rule in PREPARATION for name in job.outputs]


@dataclass(frozen=True)
class Measurement:
    """Wall time of all and until the first job starts, and each rule's seconds added up."""

    seconds: float
    until_first_job: float
    rules: Mapping[str, float]


def copy_project(root: Path) -> None:
    """Copy what a clone holds; results and caches stay behind."""
    root.mkdir()
    for part in PARTS:
        if (PROJECT / part).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / part, root / part, ignore=ignore)
        else:
            shutil.copy(PROJECT / part, root / part)
    (root / "profiles").symlink_to("workflow/profiles")


def run(root: Path, *command: str) -> tuple[float, float]:
    """Run a command in `root`; if it fails, show its last words and end.

    Returns
    -------
    tuple
        When it started, in seconds of the epoch, and how many seconds it took.
    """
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(root / "src"),
    }
    log = root / "output.txt"
    with log.open("wb") as stream:
        epoch, start = time.time(), time.perf_counter()
        status = subprocess.run(
            command, cwd=root, env=environment, stdout=stream, stderr=subprocess.STDOUT
        ).returncode
        seconds = time.perf_counter() - start
    if status:
        tail = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise SystemExit(f"{tail}\n{command[0]} ended with status {status}")
    return epoch, seconds


def snakemake(root: Path, cores: int, *arguments: str) -> tuple[float, float]:
    """Run the workflow in `root` as a user would; see `run`."""
    return run(root, "snakemake", "--cores", str(cores), *arguments)


def choose_targets(quick: bool) -> tuple[int, tuple[str, ...]]:
    """Choose patients with FASTQ files of the project in the working folder, and their results.

    Returns
    -------
    tuple
        Number of patients and the files to ask Snakemake for. With `quick` it is the first
        patient of those with the fewest lanes.
    """
    import yaml

    from ihdsi.plan import load_plan

    config = yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8"))
    plan = load_plan(config, "config/config.yaml")
    pairs = [
        (site, cohort, name, (patient.tumour_dna, patient.normal_dna))
        for site, cohort in plan.cohorts.items()
        for name, patient in cohort.somatic_pairs.items()
        if patient.tumour_dna.lanes and patient.normal_dna.lanes
    ]
    if quick:
        pairs = [min(pairs, key=lambda pair: sum(len(sample.lanes) for sample in pair[3]))]
    targets = []
    for site, cohort, name, samples in pairs:
        folder = f"results/{plan.study.study}/sites/{site}"
        targets += [
            f"{folder}/variants/somatic/{name}.bcf",
            f"{folder}/variants/germline/joint.bcf",
        ]
        for sample in samples:
            alignment = cohort.alignment(sample.sample).removesuffix(".bam")
            targets.append(f"{folder}/quality_control/{alignment}.stats.txt")
            targets.append(f"{folder}/quality_control/{alignment}.mosdepth.summary.txt")
    return len(pairs), tuple(targets)


def plan_workload(root: Path, cores: int, quick: bool) -> Workload:
    """Plan the jobs in the project at `root`, in a process that Snakemake may change.

    Returns
    -------
    Workload
        All jobs that the targets need; each is made for `cores`.
    """
    os.chdir(root)
    sys.path.insert(0, str(root / "src"))
    from snakemake.api import DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi
    from snakemake.settings.enums import Quietness

    n_patients, targets = choose_targets(quick)
    with (
        Path(os.devnull).open("w") as nowhere,
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(ResourceSettings(cores=cores), snakefile=Path("Snakefile"))
        dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
        sys.stdout = nowhere
        dag.printrulegraph()  # The API prints graphs but does not hand them out.
        sys.stdout = sys.__stdout__
        jobs = tuple(planned_job(job) for job in workflow._workflow.dag.jobs)
    return Workload(n_patients, targets, tuple(sorted(jobs, key=lambda job: job.outputs)))


def planned_job(job: Any) -> Job:
    """Turn Snakemake's job into ours."""
    log = str(job.log[0])
    return Job(
        rule=job.rule.name,
        wildcards=tuple(sorted(job.wildcards_dict.items())),
        command=job.shellcmd or python_command(job, log),
        threads=job.threads,
        outputs=tuple(map(str, job.output)),
        log=log,
        benchmark=str(job.benchmark),
    )


def python_command(job: Any, log: str) -> str | None:
    """Call the function that the script of a timed rule calls, with the same arguments.

    Returns
    -------
    str or None
        None for the rules that only prepare, which are not in the bash script.
    """
    files, params = job.input, job.params
    if job.rule.name == "filter_somatic":
        program = FILTER_SOMATIC
        given: Any = {
            "arguments": [str(files.calls), str(job.output.vcf), params.tumour, params.normal],
            "filters": params.filters,
            "evidence": {
                "alignment": str(files.tumour),
                "genome": str(files.genome),
                "n_normals": params.n_normals,
                "own_alleles": list(map(str, files.own_alleles)),
                **{
                    name: str(next(iter(files.get(name)), "")) or None
                    for name in (
                        *("annotation", "germline_resource"),
                        *("site_panel", "panel_of_normals"),
                    )
                },
            },
        }
    elif job.rule.name == "build_panel_of_normals":
        program = BUILD_PANEL_OF_NORMALS
        alleles = list(map(str, files.alleles))
        parts = [
            alleles[start : start + params.n_normals]
            for start in range(0, len(alleles), params.n_normals)
        ]
        given = [parts, str(files.index), str(job.output.vcf), params.minimum_number]
    else:
        return None
    command = shlex.join(["python", "-c", program, json.dumps(given)])
    return f"{command} > {shlex.quote(log)} 2>&1"


def bash_script(jobs: Sequence[Job], cores: int) -> str:
    """Write the jobs as a bash script that keeps `cores` busy.

    Raises
    ------
    SystemExit
        If the workflow has a job that no stage runs.
    """
    strange = {job.rule for job in jobs} - {
        rule for stage in STAGES for chain in stage for rule in chain
    }
    if strange:
        raise SystemExit(f"the bash script has no stage for {', '.join(sorted(strange))}")
    folders = {str(Path(name).parent) for job in jobs for name in (*job.outputs, job.log)}
    functions = [
        f"job_{number}() {{\n{job.command}\n}}\nexport -f job_{number}\n"
        for number, job in enumerate(jobs)
    ]
    stages = [stage_text(stage, jobs, cores) for stage in STAGES]
    make = f"mkdir -p {shlex.join(sorted(folders))}\n"
    return "".join([BASH_HEAD, "export -f step\n", make, *functions, *stages])


def stage_text(stage: Iterable[Sequence[str]], jobs: Sequence[Job], cores: int) -> str:
    """Write one stage: a line for each chain of jobs, as many at a time as the cores allow."""
    lines, threads = [], 1
    for rules in stage:
        chains: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
        for rule in rules:
            for number, job in enumerate(jobs):
                if job.rule == rule:
                    chains[job.wildcards].append(f"step {rule} job_{number}")
                    threads = max(threads, job.threads)
        lines += ["; ".join(chain) for chain in chains.values()]
    return "\n".join([f"stage {max(1, cores // threads)} << 'END'", *lines, "END", ""])


def measure_ours(root: Path, workload: Workload, cores: int) -> Measurement:
    """Run the workflow; the seconds of its jobs come from the rules' benchmark files."""
    epoch, seconds = snakemake(root, cores, *workload.targets)
    steps = []
    for job in workload.timed:
        file = root / job.benchmark
        with file.open(encoding="utf-8", newline="") as stream:
            taken = float(next(csv.DictReader(stream, delimiter="\t"))["s"])
        # Snakemake writes the file when the job ends.
        steps.append((job.rule, file.stat().st_mtime - taken, taken))
    return summarise(epoch, seconds, steps)


def measure_reference(root: Path, workload: Workload, cores: int) -> Measurement:
    """Run the bash script; it takes the time of its own steps."""
    script = root / "reference.sh"
    script.write_text(bash_script(workload.timed, cores), encoding="utf-8")
    epoch, seconds = run(root, "bash", str(script))
    steps = []
    for line in (root / "steps.tsv").read_text(encoding="utf-8").splitlines():
        rule, start, end = line.replace(",", ".").split("\t")
        steps.append((rule, float(start), float(end) - float(start)))
    return summarise(epoch, seconds, steps)


def summarise(
    epoch: float, seconds: float, steps: Sequence[tuple[str, float, float]]
) -> Measurement:
    """Add up the steps (rule, start in seconds of the epoch, seconds) of a run."""
    rules: dict[str, float] = defaultdict(float)
    for rule, _, taken in steps:
        rules[rule] += taken
    return Measurement(seconds, min(start for _, start, _ in steps) - epoch, rules)


def passed_variants(root: Path, workload: Workload) -> dict[str, list[tuple[Any, ...]]]:
    """List the variants that pass in each somatic call set."""
    passed = {}
    pysam.set_verbosity(0)  # htslib complains that the files have no index.
    for target in workload.targets:
        if "/variants/somatic/" in target:
            with pysam.VariantFile(str(root / target)) as calls:
                passed[target] = [
                    (record.contig, record.pos, record.ref, record.alts)
                    for record in calls
                    if list(record.filter) == ["PASS"]
                ]
    return passed


def require_same_variants(ours: Path, reference: Path, workload: Workload) -> int:
    """Return how many somatic variants pass; end the run if the two sides differ or found none."""
    found, expected = passed_variants(ours, workload), passed_variants(reference, workload)
    different = [
        f"{target}: {len(found[target])} ours, {len(expected[target])} in the reference"
        for target in found
        if found[target] != expected[target] or not found[target]
    ]
    absent = [name for name in workload.targets if not (reference / name).is_file()]
    if different or absent:
        raise SystemExit("\n".join(["the two sides differ:", *different, *absent]))
    return sum(map(len, found.values()))


def measure_pair(
    folder: Path, workload: Workload, cores: int, reference_first: bool
) -> tuple[Measurement, Measurement, int]:
    """Measure both sides once, each in its own copy of the prepared folder.

    Returns
    -------
    tuple
        Ours, the reference, and the number of somatic variants that both found.
    """
    sides = {"ours": measure_ours, "reference": measure_reference}
    roots = {side: folder / side for side in sides}
    for root in roots.values():
        shutil.copytree(folder / "prepared", root, symlinks=True)
    results = {}
    for side in sorted(sides, reverse=reference_first):
        results[side] = sides[side](roots[side], workload, cores)
    n_variants = require_same_variants(roots["ours"], roots["reference"], workload)
    for root in roots.values():
        shutil.rmtree(root)
    return results["ours"], results["reference"], n_variants


def median(measurements: Sequence[Measurement]) -> Measurement:
    """Take the median of each number."""
    return Measurement(
        statistics.median(one.seconds for one in measurements),
        statistics.median(one.until_first_job for one in measurements),
        {
            rule: statistics.median(one.rules[rule] for one in measurements)
            for rule in measurements[0].rules
        },
    )


def print_table(workload: Workload, ours: Measurement, reference: Measurement) -> None:
    """Print the seconds of each rule, of all its jobs together, and of the whole."""
    print(f"{'step':<28}{'jobs':>6}{'ours (s)':>12}{'bash (s)':>12}{'ratio':>8}")
    rules = [rule for stage in STAGES for chain in stage for rule in chain]
    for rule in rules:
        n_jobs = sum(job.rule == rule for job in workload.timed)
        print_row(rule, str(n_jobs), ours.rules[rule], reference.rules[rule])
    all_jobs = str(len(workload.timed))
    added = [sum(side.rules.values()) for side in (ours, reference)]
    print_row("all jobs, added up", all_jobs, *added)
    print_row("until the first job starts", "", ours.until_first_job, reference.until_first_job)
    print_row("wall time", all_jobs, ours.seconds, reference.seconds)


def print_row(name: str, n_jobs: str, ours: float, reference: float) -> None:
    """Print one row of the table."""
    print(f"{name:<28}{n_jobs:>6}{ours:>12.2f}{reference:>12.2f}{ours / reference:>8.2f}")


def prepare(folder: Path, cores: int, quick: bool) -> Workload:
    """Make ``prepared`` in `folder`: the project, its FASTQ files and the indexed reference."""
    root = folder / "prepared"
    copy_project(root)
    # Snakemake changes global state when it reads a workflow, so it does so in another process.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        workload = pool.submit(plan_workload, root, cores, quick).result()
    snakemake(root, cores, *workload.prepared_files)
    if quick:
        reads = [name for name in workload.prepared_files if name.endswith(".fastq.gz")]
        run(root, "bash", "-c", THIN_READS, "thin", str(cores), *reads)
    return workload


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one patient")
    parser.add_argument("--repeats", type=int, help="median of so many (default: 3, quick 1)")
    parser.add_argument(
        "--cores",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="for both sides (default: all)",
    )
    arguments = parser.parse_args()
    if arguments.repeats is None:
        arguments.repeats = 1 if arguments.quick else 3
    if min(arguments.repeats, arguments.cores) < 1:
        parser.error("--repeats and --cores need to be at least 1")
    return arguments


def main() -> None:
    """Measure both sides and print the table and the JSON line."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="orchestration-") as name:
        folder = Path(name).resolve()
        workload = prepare(folder, arguments.cores, arguments.quick)
        pairs = [
            measure_pair(folder, workload, arguments.cores, reference_first=bool(number % 2))
            for number in range(arguments.repeats)
        ]
    ours = median([pair[0] for pair in pairs])
    reference = median([pair[1] for pair in pairs])
    print_table(workload, ours, reference)
    print(f"Both sides found the same {pairs[0][2]} somatic variants.")
    result = {
        "name": "orchestration",
        "ours": round(ours.seconds, 3),
        "reference": round(reference.seconds, 3),
        "unit": "s",
        "ratio": round(ours.seconds / reference.seconds, 3),
        "reference_is": "bash script with the same commands, options, threads and cores",
        "cores": arguments.cores,
        "n_patients": workload.n_patients,
        "n_jobs": len(workload.timed),
        "repeats": arguments.repeats,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
