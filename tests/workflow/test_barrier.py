"""No coordinator job has an ancestor file that did not pass through exchange/."""

import re
from collections import deque

import pytest

from ihdsi.plan import Plan
from ihdsi.study import RunConfig, load_study

pytestmark = pytest.mark.workflow

COORDINATOR = ("results/demo/meta/", "results/demo/report/")
RELEASED = "exchange/demo/"


def job_graph(project):
    """Inputs of every output file of the demo study, from the whole job graph."""
    return {file: job["inputs"] for job in project.jobs() for file in job["outputs"]}


def breaches(graph):
    """Files that a coordinator file is made from without a release in between."""
    waiting = deque(file for file in graph if file.startswith(COORDINATOR))
    seen = set(waiting)
    while waiting:
        for parent in graph.get(waiting.popleft(), []):
            if parent not in seen and not parent.startswith(RELEASED):
                seen.add(parent)
                waiting.append(parent)
    return sorted(file for file in seen if not file.startswith(COORDINATOR))


def test_the_graph_is_whole(unchanged_project):
    graph = job_graph(unchanged_project)
    released = [file for file in graph if file.startswith(RELEASED)]
    assert {file.split("/")[2] for file in released} == {"lih", "ncck"}
    assert "results/demo/report/index.html" in graph
    # The walk would find patient-level files: they are the releases' own ancestors.
    assert any("sites/lih/cleared/" in parent for file in released for parent in graph[file])


def test_coordinator_jobs_see_released_files_only(unchanged_project):
    assert breaches(job_graph(unchanged_project)) == []


@pytest.mark.parametrize(
    ("rules", "old", "new", "breach"),
    [
        (
            "meta",
            'expression_effects=ACCEPTED["expression_effects"],\n    output:\n        "results',
            'expression_effects=ACCEPTED["expression_effects"],\n'
            '        peek="results/demo/sites/lih/expression/gene_counts.parquet",\n'
            '    output:\n        "results',
            "results/demo/sites/lih/expression/gene_counts.parquet",
        ),
        (
            "report",
            '        biomarkers=f"{META}/biomarkers.parquet",\n    output:\n        cohort',
            '        biomarkers=f"{META}/biomarkers.parquet",\n'
            '        peek="results/demo/sites/ncck/summaries/cohort_profile.parquet",\n'
            "    output:\n        cohort",
            "results/demo/sites/ncck/summaries/cohort_profile.parquet",
        ),
        (
            "meta",
            'seal=released_seal(STUDY, "{site}"),\n',
            'seal=released_seal(STUDY, "{site}"),\n        peek="config/sites/lih/clinical.tsv",\n',
            "config/sites/lih/clinical.tsv",
        ),
    ],
)
def test_a_rule_that_reads_up_the_barrier_is_found(project, rules, old, new, breach):
    project.edit(f"workflow/rules/{rules}.smk", old, new)
    assert breach in breaches(job_graph(project))


def test_only_the_simulated_demo_compares_results_with_patients(unchanged_project):
    """The recovery table reads patient-level files and pooled results: it is of the demo alone."""
    graph = job_graph(unchanged_project)
    beyond = [
        file
        for file, parents in graph.items()
        if any(parent.startswith(COORDINATOR) for parent in parents)
        and not file.startswith(COORDINATOR)
    ]
    assert beyond == ["results/demo/recovery.json"]


def test_a_coordinator_alone_has_no_site_rules(project):
    for site in ("lih", "ncck"):
        project.edit("config/config.yaml", f"  - config/sites/{site}/site.yaml\n", "")
    project.edit("config/config.yaml", "sites:\n", "")
    rules = set(project.run("--list-rules").split())
    assert {"intake_bundle", "build_report"} <= rules
    assert rules.isdisjoint(
        {
            "draft_release",
            "approve_simulated_release",
            "align_reads",
            "simulate_cohort",
            "evaluate_recovery",
        }
    )
    answer = project.snakemake("--dry-run", "meta")
    assert answer.returncode != 0
    assert "the release of 'lih' has not arrived" in answer.stdout
    assert "results/demo/simulated/keys/coordinator/transport does not exist" in answer.stdout


def test_no_rule_releases_what_a_real_site_has_drafted(unchanged_project):
    """The one rule that writes to the exchange is in a file of simulated studies alone."""
    rules = unchanged_project.root / "workflow/rules"
    writing = {
        path.name
        for path in rules.glob("*.smk")
        if re.search(r"output:\n\s+[^\n]*(exchange/|released_seal)", path.read_text())
    }
    assert writing == {"simulated_release.smk"}
    simulated = load_study(unchanged_project.root / "config/studies/demo.yaml")
    real = simulated.model_copy(update={"simulated": False})
    run = RunConfig(study="demo.yaml")
    stages = [Plan(run, study, {"lih": None}, {}, True).stages for study in (simulated, real)]
    assert set(stages[0]) - set(stages[1]) == {"simulate", "simulated_release"}


def test_a_site_without_keys_is_told_before_any_job(project):
    path = project.root / "config/sites/lih/site.yaml"
    path.write_text(path.read_text().partition("# Practice keys")[0])
    answer = project.snakemake("--dry-run", "site")
    assert answer.returncode != 0
    assert "config/sites/lih/site.yaml, column 'release': the key 'release' is missing" in (
        answer.stdout
    )
    # What needs no key is still made.
    project.run("--dry-run", "results/demo/sites/lih/cleared/cohort_profile.parquet")


def test_a_hospital_that_coordinates_takes_the_others_bundles_from_the_exchange(project):
    project.edit("config/config.yaml", "  - config/sites/ncck/site.yaml\n", "")
    released = project.root / "exchange/demo/ncck"
    released.mkdir(parents=True)
    (released / "seal.dsse.json").touch()
    jobs = project.jobs("meta")
    made = {file for job in jobs for file in job["outputs"]}
    assert "exchange/demo/lih/seal.dsse.json" in made
    assert not any(
        file.startswith(("exchange/demo/ncck/", "results/demo/sites/ncck/")) for file in made
    )
    graph = {file: job["inputs"] for job in jobs for file in job["outputs"]}
    assert (
        "exchange/demo/ncck/seal.dsse.json" in graph["results/demo/meta/intake/ncck/accepted.json"]
    )
    assert breaches(graph) == []
