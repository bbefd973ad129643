"""The commit in a bundle is that of the software that made it, or none."""

import subprocess

import pytest

from ihdsi.bundle import workflow_commit


@pytest.fixture
def checkout(tmp_path):
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src/a.py").write_text("1\n")
    (project / "notes.txt").write_text("1\n")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", project, *command], check=True)
    return project


def head(project):
    command = ["git", "-C", project, "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_of_clean_software(checkout):
    assert workflow_commit(checkout) == head(checkout)
    (checkout / "notes.txt").write_text("2\n")
    assert workflow_commit(checkout) == head(checkout)


@pytest.mark.parametrize("name", ["src/a.py", "src/new.py"])
def test_changed_or_new_software_has_no_commit(checkout, name):
    (checkout / name).write_text("2\n")
    assert workflow_commit(checkout) is None


def test_an_enclosing_repository_and_no_repository_say_nothing(checkout, tmp_path):
    assert workflow_commit(checkout / "src") is None
    assert workflow_commit(tmp_path) is None
