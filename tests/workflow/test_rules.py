"""What experts expect of every rule, and that each tool a rule calls can be installed."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from ihdsi.alignment.aligners import ALIGNERS
from project_copy import PROJECT, need_tools

pytestmark = pytest.mark.workflow

RULE_FILES = sorted((PROJECT / "workflow/rules").glob("*.smk"))
TRIVIAL = {"site", "meta", "all"}
#: Commands of every Debian and POSIX system.
BASE = {
    "awk", "bash", "case", "cat", "cp", "do", "done", "echo", "esac", "export", "for", "gzip", "ln",
    "mktemp", "printf", "realpath", "rm", "sed", "set", "sort", "test", "trap",
    "ulimit",
}  # fmt: skip


def rules():
    """Text of every rule by name."""
    found = {}
    for file in RULE_FILES:
        for block in re.split(r"^(?=(?:rule|localrules|if|for)\b)", file.read_text(), flags=re.M):
            if match := re.match(r"rule (\w+):", block):
                found[match.group(1)] = block
    return found


RULES = rules()
#: Aligners that Debian does not have; those who choose one run with conda (config/README.md).
CONDA_ONLY = {aligner.name for aligner in ALIGNERS.values() if not aligner.in_debian}
SCRIPT = re.compile(r"^    script:", flags=re.M)


@pytest.mark.parametrize("name", sorted(set(RULES) - TRIVIAL))
def test_every_rule_says_what_it_needs(name):
    directives = set(re.findall(r"^    (\w+):", RULES[name], flags=re.M))
    needed = {"input", "output", "log", "benchmark", "threads", "resources", "conda", "message"}
    # Keys are made of nothing but chance.
    assert needed - ({"input"} if name == "create_practice_keys" else set()) <= directives
    assert directives & {"shell", "script"}
    for resource in ("mem_mb", "runtime"):
        amount = rf"{resource}=lambda wildcards, attempt: (\d+|ALIGNER\.memory_mb) \* attempt"
        assert re.search(amount, RULES[name])


@pytest.mark.parametrize("name", sorted(name for name in RULES if SCRIPT.search(RULES[name])))
def test_the_script_of_a_rule_bears_its_name(name):
    match = re.search(r"\.\./\.\./scripts/(\w+)/(\w+)\.py", RULES[name])
    assert match.group(2) == name
    assert (PROJECT / "scripts" / match.group(1) / f"{name}.py").is_file()


def test_no_script_is_left_without_a_rule():
    scripts = {path.stem for path in (PROJECT / "scripts").glob("*/*.py")}
    assert scripts == {name for name in RULES if SCRIPT.search(RULES[name])}


@pytest.mark.parametrize("path", sorted((PROJECT / "scripts").glob("*/*.py")), ids=lambda p: p.stem)
def test_glue_stays_glue(path):
    text = path.read_text()
    assert not re.search(r"^\s*(def|class|while) ", text, flags=re.M)
    assert len(text.splitlines()) <= 45
    assert not re.search(r"import (scanpy|pydeseq2)", text)


def debian_packages():
    """Commands of envs/debian.txt, with their package."""
    lines = (PROJECT / "envs/debian.txt").read_text().splitlines()
    pairs = [line.split("  # ") for line in lines if not line.startswith("#")]
    return {command: package for package, commands in pairs for command in commands.split()}


def commands_of(shell):
    """Names of the programs that a shell command starts, seen at the places where one can stand."""
    text = re.sub(r"'[^']*'", "''", shell)
    starts = re.split(r"\$\(|<\(|\|\|?|&&|;|\(|(?<=\bin)\b", text)
    words = [
        match.group(1)
        for part in starts
        if (match := re.match(r"\s*([a-z][\w.-]*)(?=[\s)]|$)", part))
    ]
    return {word for word in words if "=" not in word}


def test_every_tool_is_in_its_conda_file_and_in_the_debian_list(unchanged_project):
    debian = debian_packages()
    seen = {}
    for job in unchanged_project.jobs():
        if job["shell"]:
            environment = PROJECT / "envs" / job["conda"].rsplit("/", 1)[1]
            for command in commands_of(job["shell"]) - BASE:
                seen.setdefault(environment, set()).add(command)
    assert {"bwa", "samtools"} <= seen[PROJECT / "envs/alignment.yaml"]
    packages = {
        environment: {
            item.split()[0]
            for item in yaml.safe_load(environment.read_text())["dependencies"]
            if isinstance(item, str)
        }
        for environment in seen
    }
    for environment, commands in seen.items():
        for command in commands:
            package = {"tabix": "htslib", "bgzip": "htslib", "cnvkit.py": "cnvkit"}.get(
                command, command
            )
            assert package in packages[environment], f"{command} is not in {environment.name}"
            # These are Python packages, so that envs/requirements.lock brings them.
            from_lock = {"multiqc", "cnvkit.py"}
            assert command in {*debian, *from_lock}, f"{command} is not in debian.txt"


def test_every_aligner_can_be_installed():
    """Only one of them is in the demo's jobs, so the others are looked for here."""
    dependencies = yaml.safe_load((PROJECT / "envs/alignment.yaml").read_text())["dependencies"]
    assert {*ALIGNERS} <= {item.split()[0] for item in dependencies}
    assert {*ALIGNERS} - CONDA_ONLY <= set(debian_packages())
    assert not CONDA_ONLY & set(debian_packages())
    assert {"bwa-mem2"} == CONDA_ONLY


def test_conda_files_pin_what_they_name():
    for path in (PROJECT / "envs").glob("*.yaml"):
        for item in yaml.safe_load(path.read_text())["dependencies"]:
            if isinstance(item, str) and item != "pip":
                assert re.fullmatch(r"[a-z0-9-]+ =[0-9.]+", item), f"{path.name}: {item}"


def test_debian_and_conda_are_of_the_same_version_family():
    need_tools("dpkg-query")
    packages = {
        "bwa",
        "minimap2",
        "samtools",
        "bcftools",
        "freebayes",
        "fastp",
        "mosdepth",
        "salmon",
        "gffread",
    }
    for path in (PROJECT / "envs").glob("*.yaml"):
        for item in yaml.safe_load(path.read_text())["dependencies"]:
            name, _, version = item.partition(" =") if isinstance(item, str) else ("", "", "")
            if name not in packages:
                continue
            answer = subprocess.run(
                ["dpkg-query", "--show", "--showformat", "${Version}", name],
                capture_output=True,
                text=True,
            )
            if answer.returncode == 0 and answer.stdout:
                assert answer.stdout.startswith(version), f"{path.name}: {item}, {answer.stdout}"


@pytest.mark.parametrize(
    ("program", "arguments", "good"),
    [
        ("snakemake", ["--lint"], "your workflow is in a good condition"),
        ("snakefmt", ["--check", "Snakefile", "workflow"], ""),
    ],
)
def test_snakemake_lint_and_snakefmt_are_clean(program, arguments, good):
    command = [shutil.which(program, path=str(PROJECT / ".venv/bin")) or program, *arguments]
    answer = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert good in answer.stdout + answer.stderr


def test_a_dry_run_needs_nothing_downloaded_and_picks_up_the_profile(unchanged_project):
    text = unchanged_project.run("--dry-run", PATH="/usr/bin:/bin")
    assert "Using workflow specific profile profiles/default" in text
    assert "build_report" in text
    assert not (unchanged_project.root / "results").exists()


def test_planning_a_run_is_light():
    """The job graph is built without the packages that only jobs need."""
    heavy = ["pydeseq2", "scanpy", "pandera", "statsmodels", "matplotlib", "altair", "pytximport"]
    heavy += ["scipy.stats", "scipy.optimize"]
    program = (
        "import sys; from ihdsi.plan import load_plan; from ihdsi.summaries import TABLES; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr
