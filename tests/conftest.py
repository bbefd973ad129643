"""Copies of the project to run the workflow in, and the folder of public test data."""

import os
from pathlib import Path

import pytest

from project_copy import PROJECT, copy_project


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
