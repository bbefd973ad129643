"""What a study may say of its matrices."""

import pytest
from pydantic import ValidationError

from ihdsi.study import MatrixSettings, Study, study_hash

PROTEIN = {"feature": "id", "unit": "ug/L"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"gene_id": "id"}, "must be different columns"),
        ({"unit": ""}, "at least 1 character"),
        ({"unit": "µg/L"}, "should match pattern"),
        ({"unit": " ug"}, "should match pattern"),
        ({"unit": "x" * 41}, "at most 40 characters"),
        ({"covariates": ["plate", "plate"]}, "listed twice"),
        ({"covariates": ["operator"]}, "'plate' or 'batch'"),
        ({"transform": "ln"}, "'none', 'log2' or 'm_value'"),
        ({"beta_clip": 0.5}, "less than 0.5"),
        ({"minimum_values": 0}, "greater than 0"),
        ({"imputation": "mean"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant(changes, text):
    with pytest.raises(ValidationError, match=text):
        MatrixSettings(**PROTEIN | changes)


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({}, "ug/L"),
        ({"transform": "log2"}, "log2(ug/L)"),
        ({"unit": "1", "transform": "m_value"}, "M value"),
        ({"unit": "ratio to the pool"}, "ratio to the pool"),
    ],
)
def test_the_unit_of_the_model(changes, unit):
    assert MatrixSettings(**PROTEIN | changes).modelled_unit == unit


def test_matrices_are_part_of_the_protocol(study_document):
    plain = Study.model_validate(study_document)
    study_document["matrices"] = {"protein": PROTEIN}
    with_protein = Study.model_validate(study_document)
    assert study_hash(plain) != study_hash(with_protein)
    study_document["matrices"] = {"protein": PROTEIN | {"unit": "1", "transform": "m_value"}}
    with pytest.raises(ValidationError, match="only methylation has M values"):
        Study.model_validate(study_document)
    study_document["matrices"] = {"lipid": PROTEIN}
    with pytest.raises(ValidationError, match="'protein', 'methylation' or 'metabolite'"):
        Study.model_validate(study_document)
