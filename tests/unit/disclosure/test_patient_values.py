"""Digests tell whether a patient is counted with the same values, and nothing else."""

import polars as pl
import pytest

from ihdsi.disclosure.patient_values import with_patient_values
from ihdsi.study import ClinicalDictionary, ClinicalVariable, Contrast, Endpoint, Study

STUDY = Study.model_construct(
    contrasts={
        "invasion": Contrast(variable="stage", case="high", control="low", covariates=("age",))
    },
    endpoints={"survival": Endpoint(time="time", event="event")},
    clinical=ClinicalDictionary(
        variables={
            "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
            "age": ClinicalVariable(type="number", unit="a"),
        }
    ),
)
KINDS = (
    "design:invasion",
    "contrast:invasion",
    "endpoint:survival",
    "curve:survival",
    "clinical:stage",
    "clinical:age",
    "burden",
    "signatures",
    "matrix:1:protein:invasion",
    "cell_contrast:T cell:CD8:invasion",
    "cells",
    "germline",
    "quality:dna",
)
ROWS = pl.DataFrame(
    {
        "population": [kind for kind in KINDS for _ in "ab"],
        "stratum_variable": "all",
        "stratum": "all",
        "patient": ["a", "b"] * len(KINDS),
    }
)
FRAMES = {
    "clinical": pl.DataFrame(
        {
            "patient": ["a", "b"],
            "stage": ["low", "high"],
            "age": [61.0, None],
            "time": [100.0, 200.0],
            "event": ["yes", "no"],
        }
    ),
    "counts": pl.DataFrame(
        {
            "gene_id": ["ENSG1", "ENSG2"],
            "gene_name": ["x", "y"],
            "a": [10.0, 3.0],
            "b": [1.0, 0.0],
        }
    ),
    "assessed": pl.DataFrame({"patient": ["a", "b"], "callable_megabases": [30.0, 31.0]}),
    "variants": pl.DataFrame({"patient": ["a", "a", "b"], "position": [1, 2, 3]}),
}
MATRIX = pl.DataFrame({"feature": ["P1", "P2"], "a": [1.5, None], "b": [2.5, 3.5]})
CELLS = pl.DataFrame({"patient": ["a", "b"], "T cell:CD8": [5, 6]})


def values(frames=FRAMES, matrix=MATRIX, cells=CELLS, populations=ROWS):
    found = with_patient_values(
        populations,
        STUDY,
        frames
        | {"matrices": {"protein": matrix}, "cells": cells}
        | {"pseudobulk": {"T cell:CD8": FRAMES["counts"]}},
    )
    assert found.drop("value").equals(populations)
    return {(row[0], row[3]): row[4] for row in found.iter_rows()}


def changed(name, frame):
    now = values(FRAMES | {name: frame})
    return {key for key, value in values().items() if now[key] != value}


def test_only_counts_have_no_value():
    lacking = {population for (population, _), value in values().items() if value is None}
    assert lacking == {"germline", "quality:dna"}


def test_values_do_not_depend_on_order_or_on_parts_of_a_read():
    counts = FRAMES["counts"].with_columns(a=pl.col("a") + 0.3)
    shuffled = {name: frame.reverse() for name, frame in FRAMES.items()} | {
        "counts": counts.reverse().select("gene_id", "gene_name", "b", "a")
    }
    assert values(shuffled, MATRIX.reverse(), CELLS.reverse()) == values()


@pytest.mark.parametrize(
    ("name", "frame", "kinds"),
    [
        (
            "counts",
            FRAMES["counts"].with_columns(a=pl.col("a") + 1),
            {"design:invasion", "contrast:invasion", "endpoint:survival"},
        ),
        (
            "clinical",
            FRAMES["clinical"].with_columns(age=pl.Series([62.0, None])),
            {
                "design:invasion",
                "contrast:invasion",
                "clinical:age",
                "matrix:1:protein:invasion",
                "cell_contrast:T cell:CD8:invasion",
            },
        ),
        (
            "clinical",
            FRAMES["clinical"].with_columns(time=pl.Series([101.0, 200.0])),
            {"endpoint:survival", "curve:survival"},
        ),
        (
            "variants",
            FRAMES["variants"].with_columns(position=pl.Series([1, 4, 3])),
            {"burden", "signatures"},
        ),
    ],
)
def test_a_change_shows_where_the_value_enters_and_at_the_patient_only(name, frame, kinds):
    assert changed(name, frame) == {(kind, "a") for kind in kinds}


def test_a_missing_value_of_a_matrix_is_a_value():
    now = values(matrix=MATRIX.with_columns(a=pl.Series([1.5, 0.0])))
    assert {key for key, value in values().items() if now[key] != value} == {
        ("matrix:1:protein:invasion", "a")
    }


def test_nobody_is_no_fault():
    assert values(populations=ROWS.clear()) == {}
