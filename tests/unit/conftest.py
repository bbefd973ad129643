"""A small study, files in a folder of their own, and one way to check a refusal."""

import copy
from pathlib import Path

import pytest
import yaml

from ihdsi.errors import InputError
from ihdsi.study import Study

STUDY = {
    "study": "tiny",
    "version": "1.0",
    "title": "A tiny study",
    "simulation": {"seed": 1},
    "participants": ["alpha", "beta"],
    "reference": {"name": "build-1", "sha256": {"genome": "0" * 64}},
    "clinical": {
        "variables": {
            "sex": {"type": "categorical", "levels": ["female", "male"], "required": True},
            "age": {
                "type": "number",
                "unit": "a",
                "minimum": 18,
                "maximum": 110,
                "bins": [18, 65, 111],
                "required": True,
            },
            "stage_group": {"type": "categorical", "levels": ["NMIBC", "MIBC"]},
            "haemoglobin": {"type": "number", "unit": "g/L", "minimum": 40, "maximum": 220},
            "temperature": {"type": "number", "unit": "K"},
            "survival_time": {"type": "number", "unit": "d", "minimum": 0},
            "survival_event": {"type": "categorical", "levels": ["no", "yes"]},
        }
    },
    "strata": ["stage_group"],
    "contrasts": {
        "invasion": {
            "variable": "stage_group",
            "case": "MIBC",
            "control": "NMIBC",
            "covariates": ["sex"],
        }
    },
    "endpoints": {
        "survival": {"time": "survival_time", "event": "survival_event", "covariates": ["age"]}
    },
    "disclosure": {"minimum_n": 10, "minimum_cell_count": 5},
    "quality_control": {
        "mapped_percent": {"assay": "dna", "unit": "%", "minimum": 90, "bins": [0, 90, 101]},
        "duplicate_percent": {"assay": "dna", "unit": "%", "maximum": 40, "bins": [0, 40, 101]},
    },
    "biomarkers": {
        "tiers": [
            {"name": "tier 1", "maximum_fdr": 0.05, "maximum_i_squared": 0.5, "minimum_sites": 2}
        ]
    },
}


@pytest.fixture
def study_document():
    """The tiny study as a document to be changed."""
    return copy.deepcopy(STUDY)


@pytest.fixture
def tiny_study():
    return Study.model_validate(STUDY)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own as working directory, so that sheets hold short relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_yaml(tmp_path):
    def write(document, name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")
        return path

    return write


@pytest.fixture
def refused():
    """Check that a call raises one `InputError` of one problem, and where that says it is."""

    def check(call, *, file, row, column, text, remedy=""):
        with pytest.raises(InputError) as caught:
            call()
        message = str(caught.value)
        assert len(caught.value.problems) == 1, message
        (problem,) = caught.value.problems
        assert problem.file is not None
        assert (Path(problem.file), problem.row, problem.column) == (Path(file), row, column)
        assert text in problem.what
        assert problem.remedy
        assert remedy in problem.remedy
        assert "\n" not in message
        assert message.startswith(str(problem.file))
        assert row is None or f"row {row}" in message
        assert column is None or f"column '{column}'" in message

    return check
