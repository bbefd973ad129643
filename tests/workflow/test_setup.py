"""Set-up: installs with root, says what to do without, and runs no job in between."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from project_copy import PROJECT

pytestmark = pytest.mark.workflow

#: What the script itself uses; everything else is absent from the PATH of the tests.
OWN = ("bash", "cat", "cut", "dirname", "env", "mktemp", "rm", "sed", "sha256sum")


@pytest.fixture
def bare(tmp_path):
    """A project folder and a PATH on which only the shell's own tools are."""
    folder = tmp_path / "bare"
    shutil.copytree(PROJECT / "envs", folder / "project/envs")
    (folder / "bin").mkdir()
    for name in OWN:
        (folder / "bin" / name).symlink_to(shutil.which(name))
    return folder


def script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def setup(bare, *arguments):
    return subprocess.run(
        ["/bin/bash", "envs/setup.sh", *arguments],
        cwd=bare / "project",
        env={"PATH": str(bare / "bin"), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
    )


def test_without_root_it_names_what_is_missing_and_how_to_get_it(bare):
    script(bare / "bin/id", "echo 1000")
    script(bare / "bin/apt-get", "echo apt-get was called; exit 1")
    script(bare / "bin/bwa", "exit 0")
    answer = setup(bare)
    assert answer.returncode != 0
    assert "apt-get was called" not in answer.stdout + answer.stderr
    missing = next(line for line in answer.stderr.splitlines() if "are missing" in line)
    assert "samtools" in missing
    assert "bwa" not in missing
    assert "python3 (3.11 or newer, with venv)" in missing
    assert "snakemake --software-deployment-method conda" in answer.stderr
    assert "module load" in answer.stderr
    assert "No job was run." in answer.stderr


def test_with_root_it_installs_exactly_what_is_missing(bare):
    script(bare / "bin/id", "echo 0")
    script(bare / "bin/bwa", "exit 0")
    script(bare / "bin/apt-get", f'echo "$@" >> {bare}/calls; exit 0')
    answer = setup(bare)
    calls = (bare / "calls").read_text().splitlines()
    assert calls[0] == "update -qq"
    installed = calls[1].split()
    assert {"samtools", "freebayes", "mosdepth", "libhts-dev"} <= set(installed)
    assert "bwa" not in installed
    # apt-get here installs nothing, and that is noticed.
    assert answer.returncode != 0
    assert "These commands are missing" in answer.stderr


def test_a_failed_installation_is_shown(bare):
    script(bare / "bin/id", "echo 0")
    script(bare / "bin/apt-get", "echo E: no network >&2; exit 100")
    answer = setup(bare)
    assert answer.returncode != 0
    assert "E: no network" in answer.stderr


@pytest.fixture
def equipped(bare):
    """All tools are there, and a .venv is; R is not."""
    wanted = (bare / "project/envs/debian.txt").read_text().splitlines()
    for line in wanted:
        for command in line.partition("  # ")[2].split() if not line.startswith("#") else ():
            script(bare / "bin" / command, "exit 0")
    script(bare / "bin/python3.11", "exit 0")
    lock = hashlib.sha256((bare / "project/envs/requirements.lock").read_bytes()).hexdigest()
    (bare / "project/.venv").mkdir()
    (bare / "project/.venv/installed").write_text(f"{lock} {bare / 'project'}\n")
    return bare


def test_r_packages_of_the_tests_are_installed_for_the_tests_only(equipped):
    script(equipped / "bin/id", "echo 0")
    installs = f'echo "$@" >> {equipped}/calls; printf "#!/bin/bash\\n" > {equipped}/bin/Rscript'
    script(equipped / "bin/apt-get", f"{installs}; /bin/chmod 755 {equipped}/bin/Rscript")
    assert setup(equipped).returncode == 0
    assert not (equipped / "calls").exists()
    answer = setup(equipped, "tests")
    assert answer.returncode == 0, answer.stderr
    assert (equipped / "calls").read_text().splitlines()[1].endswith(" r-bioc-limma")
    assert (answer.stdout, answer.stderr) == ("Installing Debian packages: r-bioc-limma\n", "")
    again = setup(equipped, "tests")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len((equipped / "calls").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("user", "apt"), [(1000, "echo called >&2; exit 1"), (0, "echo E: no network >&2; exit 100")]
)
def test_tests_run_without_the_r_packages_and_it_says_so(equipped, user, apt):
    script(equipped / "bin/id", f"echo {user}")
    script(equipped / "bin/apt-get", apt)
    answer = setup(equipped, "tests")
    assert answer.returncode == 0
    assert "R packages that are missing: limma (Debian: r-bioc-limma)." in answer.stderr
    assert "called" not in answer.stderr
    assert ("E: no network" in answer.stderr) == (user == 0)


def test_the_demo_stops_before_any_job_when_a_tool_is_missing(bare, project):
    shutil.copy(PROJECT / "Makefile", project.root / "Makefile")
    script(bare / "bin/id", "echo 1000")
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    answer = subprocess.run(
        [make, "SHELL=/bin/bash", "demo"],
        cwd=project.root,
        env={"PATH": str(bare / "bin")},
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    assert "No job was run." in answer.stderr
    assert not (project.root / "results").exists()


def test_the_lock_file_is_pinned_hashed_and_names_no_host():
    text = (PROJECT / "envs/requirements.lock").read_text()
    assert "://" not in text
    requirements = text.replace("\\\n", " ").strip().splitlines()
    for line in requirements:
        if not line.lstrip().startswith("#"):
            assert "==" in line.split(" --hash")[0], line
            assert "--hash=sha256:" in line, line
