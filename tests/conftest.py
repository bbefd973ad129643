"""Copies of the project to run the workflow in, the public test data, and the order of files."""

import os
from pathlib import Path

import pytest

from project_copy import PROJECT, copy_project

# Hundreds of processes import the package: each keeps what it compiled for the next, as Python does
# by itself, though the tests be run with that switched off.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

#: Files that take longest, the longest first.
LONGEST = (
    "workflow/test_demo.py",
    "standards/test_tcga_federation.py",
    "workflow/test_quality_decisions.py",
    "standards/test_public_reads.py",
    "workflow/test_somatic_calling.py",
    "workflow/test_germline_calling.py",
    "hostile/test_killed_approval.py",
    "unit/meta/test_interrupted_intake.py",
    "workflow/test_read_inputs.py",
    "workflow/test_bad_input.py",
    "workflow/test_barrier.py",
    "standards/test_tcga_signatures.py",
    "unit/simulate/test_simulated_reads.py",
)


def pytest_configure(config):
    """Have pytest-xdist hand out files in the order of collection (without it, nothing to do).

    By itself it starts the files of most tests first, and the workflow's, of few long tests, last.
    """
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Start the longest files first, so that no worker waits for another at the end."""
    rank = {PROJECT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def unchanged_project(tmp_path_factory):
    """A copy that no test changes: for looking at the workflow without running it."""
    return copy_project(tmp_path_factory.mktemp("unchanged") / "project")


@pytest.fixture(scope="session")
def shared():
    """The folder with public test data; skips where it is absent."""
    folder = Path(os.environ.get("IHDSI_SHARED", PROJECT.parent / "shared")).resolve()
    if not (folder / "realdata" / "INDEX.tsv").is_file():
        pytest.skip(f"no public test data in {folder}; name their folder in IHDSI_SHARED")
    return folder
