"""Which software made a bundle."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["workflow_commit"]

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


def _git(folder: Path | str, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return answer.stdout.strip()
