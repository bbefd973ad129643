"""The crate of a bundle under the validators of its own standards.

roc-validator needs another release of rich than the workflow's environment, so it gets one of its
own, made once and kept in the user's cache folder.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import releases

REQUIREMENTS = ("roc-validator==0.13.*", "cwltool==3.*")
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
#: Puts the context into the validator's cache, under the key that it will look for.
SEED = """
import io, sys
from pathlib import Path
import requests, urllib3
from requests_cache import CachedSession

class Local(requests.adapters.HTTPAdapter):
    def send(self, request, **options):
        head = {"Content-Type": "application/ld+json"}
        body = io.BytesIO(Path(sys.argv[2]).read_bytes())
        raw = urllib3.HTTPResponse(body, head, 200, preload_content=False, request_url=request.url)
        return self.build_response(request, raw)

session = CachedSession(sys.argv[3], backend="sqlite", expire_after=-1)
session.mount("https://", Local())
session.get(sys.argv[1])
assert session.get(sys.argv[1]).from_cache
"""


def run(*command):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="session")
def validators():
    """Folder with the programs of an environment that holds the validators alone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ihdsi-tests"
    folder = cache / f"validators-{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    if not (complete.is_file() and complete.read_text() == repr(REQUIREMENTS)):
        made = run(sys.executable, "-m", "venv", "--clear", folder)
        if made.returncode:
            pytest.skip(f"no virtual environment can be made: {made.stderr[-300:]}")
        answer = run(folder / "bin" / "pip", "install", "-q", *REQUIREMENTS)
        if answer.returncode:
            pytest.skip(f"the validators cannot be installed from an index: {answer.stderr[-300:]}")
        complete.write_text(repr(REQUIREMENTS))
    return folder / "bin"


@pytest.fixture(scope="session")
def validate(validators, shared, tmp_path_factory):
    """Return the profile's violations in a crate; nothing is asked of the network."""
    context = shared / "standards/ro-crate-contexts/docs/_specification/1.1/context.jsonld"
    if not context.is_file():
        pytest.skip(f"no {context}")
    work = tmp_path_factory.mktemp("validator")
    seeded = run(validators / "python", "-c", SEED, CONTEXT, context, work / "http")
    assert seeded.returncode == 0, seeded.stderr

    def violations(folder):
        report = work / "report.json"
        report.unlink(missing_ok=True)
        answer = run(
            validators / "rocrate-validator",
            *("-y", "validate", "--offline", "--cache-path", work / "http"),
            *("--profile-identifier", "workflow-run-crate-0.5"),
            *("--requirement-severity", "required", "--output-format", "json"),
            *("--output-file", report, folder),
        )
        assert report.is_file(), answer.stdout + answer.stderr
        result = json.loads(report.read_text())
        assert "workflow-run-crate-0.5" in result["statistics"]["profiles"]
        assert result["passed"] == (not result["issues"])
        return {issue["check"]["identifier"]: issue["message"] for issue in result["issues"]}

    return violations


@pytest.mark.realdata
def test_a_bundle_is_a_workflow_run_crate(validate, tmp_path):
    releases.draft(
        tmp_path / "bundle",
        title="A study of β-catenin",
        permit="Permit 2026-1",
        software={"polars": "2.1.0", "Snakemake": "9.10"},
    )
    assert validate(tmp_path / "bundle") == {}


@pytest.mark.realdata
def test_the_validator_sees_what_is_missing(validate, tmp_path):
    # Without `created` a bundle has no date; the rest is taken away.
    releases.draft(tmp_path / "bundle", created=None)
    path = tmp_path / "bundle" / "ro-crate-metadata.json"
    document = json.loads(path.read_text())
    root = next(entity for entity in document["@graph"] if entity["@id"] == "./")
    for key in ("license", "conformsTo", "mentions"):
        assert root.pop(key)
    root["mainEntity"] = {"@id": "disclosure.json"}
    path.write_text(json.dumps(document))
    messages = " ".join(validate(tmp_path / "bundle").values())
    for word in ("datePublished", "license", "Workflow Run Crate profile", "instrument"):
        assert word in messages, messages


def test_the_description_of_the_workflow_is_valid_cwl(validators, tmp_path):
    releases.draft(tmp_path / "bundle")
    answer = run(validators / "cwltool", "--validate", tmp_path / "bundle" / "workflow.cwl")
    assert answer.returncode == 0, answer.stderr
    path = tmp_path / "broken.cwl"
    text = (tmp_path / "bundle" / "workflow.cwl").read_text()
    path.write_text(text.replace("source: control_disclosure/tables", "source: nowhere/tables"))
    path.write_text(path.read_text().replace("outputSource: control", "outputSource: no"))
    assert run(validators / "cwltool", "--validate", path).returncode != 0
