"""Plates: codes that tell nothing of their names, rare ones, and the design they enter."""

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.matrices.plates import code_levels, plate_faults, read_plates, with_site_covariates
from ihdsi.study import ClinicalVariable, Contrast, MatrixSettings
from ihdsi.summaries.design import contrast_design, refusal

SETTINGS = MatrixSettings(feature="f", unit="1", covariates=("plate",))
VARIABLES = {"stage": ClinicalVariable(type="categorical", levels=("low", "high"))}
CONTRAST = Contrast(variable="stage", case="high", control="low")


def coded(levels, minimum, **changes):
    chosen = SETTINGS.model_copy(update=changes)
    return code_levels(pl.Series(levels), "plate", minimum, chosen, "plates.tsv").to_list()


def test_codes_go_by_the_order_of_the_table_and_hold_no_name():
    assert coded(["Müller"] * 2 + ["B"] * 2 + ["Müller", "A", "A"], 2) == [
        *["plate_1"] * 2,
        *["plate_2"] * 2,
        *["plate_1", "plate_3", "plate_3"],
    ]


def test_rare_levels_count_as_one_or_are_refused(caplog):
    levels = ["A"] * 6 + ["B"] * 5 + ["C"] * 2 + ["D"] * 3
    merged = ["plate_1"] * 6 + ["plate_2"] * 5 + ["plate_rare"] * 5
    assert coded(levels, 5) == merged
    assert "2 levels with few samples count as one: C, D" in caplog.text
    # Two samples are too few even together, so that the smallest other plate joins them.
    assert coded(levels[:12], 5) == ["plate_1"] * 6 + ["plate_rare"] * 6
    assert coded(["A"] * 2 + ["B"], 5) == ["plate_rare"] * 3
    with pytest.raises(InputError, match="'C' has 2 samples, fewer than 5") as caught:
        coded(levels, 5, rare_levels="refuse")
    assert [p.column for p in caught.value.problems] == ["plate", "plate"]


def test_tables_of_plates(tmp_path):
    path = tmp_path / "plates.tsv"
    path.write_text("sample\tplate\tcomment\nS2\tx y\t\nother\t\t\nS1\tz\t\n")
    found = read_plates(path, ("plate",), ["S1", "S2"])
    assert found.rows() == [("S2", "x y"), ("S1", "z")]
    path.write_text("sample\tplate\nS1\t\nS1\tz\n")
    faults = plate_faults(path, ("plate",), {"S1": 4, "S2": 5}, tmp_path / "samples.tsv")
    assert [(p.what, p.row) for p in faults] == [
        ("sample 'S1' has no plate", 2),
        ("sample 'S1' occurs twice", 3),
        ("sample 'S2' is missing", None),
    ]
    (lacking,) = plate_faults(path, ("batch",), {"S1": 4}, path)
    assert (lacking.column, lacking.row) == ("batch", 1)
    (absent,) = plate_faults(tmp_path / "no.tsv", ("plate",), {"S1": 4}, path)
    assert "no.tsv" in str(absent)


def cohort(plates):
    n = len(plates)
    patients = [f"p{i}" for i in range(n)]
    clinical = pl.DataFrame({"patient": patients, "stage": ["low", "high"] * (n // 2)})
    covariates = pl.DataFrame({"patient": patients, "site:protein_plate": plates})
    return clinical, covariates


def test_plates_become_terms_of_the_design():
    clinical, covariates = cohort(["plate_1"] * 8 + ["plate_2"] * 6 + ["plate_rare"] * 6)
    frame, contrast, variables = with_site_covariates(clinical, CONTRAST, VARIABLES, covariates)
    design = contrast_design(frame, clinical["patient"].to_list(), contrast, variables, True)
    assert design.terms == (
        *("intercept", "case"),
        *("site:protein_plate=plate_2", "site:protein_plate=plate_rare"),
    )
    np.testing.assert_array_equal(design.matrix.sum(axis=0), [20, 10, 6, 6])
    assert refusal(design, 5) is None
    assert CONTRAST.covariates == ()


def test_one_plate_is_the_intercept():
    clinical, covariates = cohort(["plate_1"] * 8)
    for given in (covariates, None):
        model = with_site_covariates(clinical, CONTRAST, VARIABLES, given)
        assert model[1].covariates == ()
        assert model[0].equals(clinical)


def test_a_plate_that_is_the_contrast_is_named():
    clinical, covariates = cohort(["plate_1", "plate_2"] * 20)
    frame, contrast, variables = with_site_covariates(clinical, CONTRAST, VARIABLES, covariates)
    design = contrast_design(frame, clinical["patient"].to_list(), contrast, variables, True)
    assert refusal(design, 5) == (
        "the design is rank deficient: site:protein_plate=plate_2 is determined by case"
    )
