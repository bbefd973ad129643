"""Which software made a bundle."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["software_versions", "workflow_commit"]

#: Programs that make what is summarised, with the argument at which each tells its version.
_PROGRAMS = {
    "bcftools": ("--version",),
    "bwa": (),
    "fastp": ("--version",),
    "freebayes": ("--version",),
    "mosdepth": ("--version",),
    "salmon": ("--version",),
    "samtools": ("--version",),
}
_PACKAGES = ("cnvkit", "numpy", "polars", "pydeseq2", "pysam", "scipy", "snakemake", "statsmodels")
_VERSION = re.compile(r"\bv?(\d+\.\d+(?:\.\d+)*\S*)")

#: What the workflow consists of; a change elsewhere (configuration, tests) makes no other software.
_SOFTWARE = ("Snakefile", "workflow", "scripts", "src", "envs")


def workflow_commit(project: Path | str) -> str | None:
    """Commit of the project's git checkout, if the software is what was committed.

    Returns None where the project is no checkout of its own (a repository that merely encloses it
    says nothing of it), or where tracked or new files of the software differ from the commit.
    """
    try:
        top = _git(project, "rev-parse", "--show-toplevel")
        if Path(top) != Path(project).resolve():
            return None
        if _git(project, "status", "--porcelain", "--", *_SOFTWARE):
            return None
        return _git(project, "rev-parse", "HEAD") or None
    except (OSError, subprocess.SubprocessError):
        return None


def software_versions() -> dict[str, str]:
    """Versions of Python, of the packages and of the programs behind the summaries, by name.

    Programs that are not on the path of this job (a cluster brings them to their own jobs alone)
    are left out rather than guessed.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name, arguments in _PROGRAMS.items():
        if shutil.which(name) is None:
            continue
        try:
            answer = subprocess.run(
                [name, *arguments], capture_output=True, timeout=30, check=False
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if match := _VERSION.search((answer.stdout + answer.stderr).decode("utf-8", "replace")):
            found[name] = match.group(1)
    return found


def _git(folder: Path | str, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return answer.stdout.strip()
