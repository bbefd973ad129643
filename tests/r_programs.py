"""Programs in R that tests compare results with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from project_copy import PROJECT


def run_r(program: str, folder: Path, package: str) -> None:
    """Run an R program in a folder; skip, saying why, where the package that it loads is absent."""
    asked = f"quit(status = !nzchar(system.file(package = '{package}')))"
    if (
        shutil.which("Rscript") is None
        or subprocess.run(["Rscript", "--vanilla", "-e", asked], capture_output=True).returncode
    ):
        lines = (PROJECT / "envs/debian-tests.txt").read_text().splitlines()
        (debian,) = (name for name, _, brings in map(_parted, lines) if brings == package)
        pytest.skip(
            f"the R package {package} is not installed (make test installs Debian's {debian} as "
            "root; see envs/debian-tests.txt)"
        )
    file = folder / "program.R"
    file.write_text(f"options(digits = 17)\nsuppressMessages(library({package}))\n{program}")
    answer = subprocess.run(
        ["Rscript", "--vanilla", file.name], cwd=folder, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition("  # ")
