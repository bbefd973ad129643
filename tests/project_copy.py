"""A copy of the project to run the workflow in, as a new user would have it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config", "envs", "resources", "scripts", "src", "workflow")


@dataclass(frozen=True)
class Project:
    """A copy of the project in a folder of its own."""

    root: Path

    def snakemake(self, *arguments, **environment):
        """Run Snakemake there; the answer's stdout holds everything that it printed."""
        return subprocess.run(
            [Path(sys.executable).with_name("snakemake"), *map(str, arguments)],
            cwd=self.root,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3000,
        )

    def run(self, *arguments, **environment):
        """Run Snakemake there and fail with its last lines if it fails."""
        answer = self.snakemake(*arguments, **environment)
        assert answer.returncode == 0, answer.stdout[-6000:]
        return answer.stdout

    def jobs(self, *targets):
        """All jobs that the targets need, from an empty folder on (see workflow/job_graph.py)."""
        answer = subprocess.run(
            [sys.executable, PROJECT / "tests/workflow/job_graph.py", *targets],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert answer.returncode == 0, answer.stderr[-6000:]
        return json.loads(answer.stdout)

    def edit(self, path, old, new):
        """Replace a text that occurs in a file."""
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")


def copy_project(root: Path) -> Project:
    """Copy what a clone holds; results and caches stay behind."""
    root.mkdir(parents=True)
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / part)
    (root / "profiles").symlink_to("workflow/profiles")
    return Project(root)


def need_tools(*commands):
    """Skip, saying why, where a command is not installed."""
    absent = [command for command in commands if shutil.which(command) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (envs/setup.sh installs them)")
