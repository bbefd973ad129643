"""Which software made a bundle."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["workflow_commit"]


def workflow_commit(folder: Path | str) -> str | None:
    """Commit of the git checkout that holds `folder`; None where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
