"""Quality metrics of samples of a matrix, and what follows from them."""

import numpy as np
import polars as pl
import pytest

from ihdsi.matrices.gather import gather_matrix
from ihdsi.matrices.quality import matrix_metrics
from ihdsi.quality_control import METRICS_SCHEMA
from ihdsi.study import MatrixSettings, QualityMetric

SETTINGS = MatrixSettings(feature="id", unit="1", minimum_values=2, minimum_level_samples=1)
LIMITS = {
    "protein_missing_percent": QualityMetric(
        assay="protein", unit="%", maximum=50, warn_maximum=30, bins=(0, 50, 100)
    )
}


def part(**columns):
    """One file's table; patients are columns of values by feature."""
    n = len(next(iter(columns.values())))
    labels = {"feature": [f"F{i}" for i in range(n)], "feature_name": None, "gene_id": None}
    schema = dict.fromkeys(columns, pl.Float64)
    return pl.DataFrame(labels | columns, schema_overrides=schema)


def measured(*parts):
    """Values of each patient's metrics."""
    joined = pl.concat([table.drop("feature_name", "gene_id") for table in parts], how="align")
    names = {name: f"{name}-P" for table in parts for name in table.columns[3:]}
    metrics = matrix_metrics("protein", parts, joined, names)
    assert metrics.schema == METRICS_SCHEMA
    assert set(metrics["assay"]) == {"protein"}
    assert (metrics["sample"] == metrics["patient"] + "-P").all()
    return {(p, m.removeprefix("protein_")): (v, n) for p, _, _, m, v, n in metrics.iter_rows()}


def test_missing_values_are_of_what_the_file_measures_and_medians_of_what_is_there():
    """The second file has fewer features, which its sample does not miss."""
    found = measured(
        part(a=[1, 2, 30, None, None], b=[None, None, 3, 5, None]),
        part(c=[7.0, 9.0]),
    )
    assert found["a", "missing_percent"] == (25.0, None)  # the fifth feature nobody has
    assert found["b", "missing_percent"] == (50.0, None)
    assert found["c", "missing_percent"] == (0.0, None)
    assert [found[p, "median_value"][0] for p in "abc"] == [2.0, 4.0, 8.0]
    assert [found[p, "usable_values"][0] for p in "abc"] == [3.0, 2.0, 2.0]
    assert not any(name == "outlier_score" for _, name in found)  # of three samples


def test_samples_without_values_or_without_differences_have_none_that_is_usable():
    found = measured(part(a=[1, 2, 3], b=[None, None, None], c=[0, 0, 0], d=[4, 4, None]))
    assert found["b", "usable_values"] == (0.0, "the sample has no value")
    assert found["b", "missing_percent"] == (100.0, None)
    assert found["c", "usable_values"] == (0.0, "all 3 values are 0")
    assert found["d", "usable_values"] == (2.0, None)  # two values may be the same by chance
    assert ("b", "median_value") not in found
    assert ("c", "median_value") not in found
    assert measured(part(a=[None, None]))["a", "missing_percent"] == (100.0, None)


def test_a_sample_unlike_the_others_is_far_from_them_whatever_else_is_missing():
    rng = np.random.default_rng(5)
    values = rng.normal(20, 1, (80, 14)) + rng.normal(0, 3, (80, 1))
    values[:, 3] = rng.permutation(values[:, 3])
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 9] = np.nan
    table = part(**{f"p{i}": values[:, i] for i in range(14)})
    table = table.with_columns(pl.selectors.float().fill_nan(None))
    found = measured(table)
    scores = {p: value for (p, name), (value, _) in found.items() if name == "outlier_score"}
    assert len(scores) == 13
    assert "p9" not in scores
    assert scores.pop("p3") > 6
    assert max(scores.values()) < 4


@pytest.fixture
def file(tmp_path):
    """Sample S4 has two of six values, S5 has four, S6 is zero throughout."""
    rows = ["id\tS1\tS2\tS3\tS4\tS5\tS6"]
    for i in range(6):
        few, some = (f"{i}" if i < 2 else "", f"{i}" if i < 4 else "")
        third = str(i) if i != 1 else ""
        rows.append(f"F{i}\t{i}\t{i + 1 if i != 1 else ''}\t{third}\t{few}\t{some}\t0")
    (tmp_path / "m.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "m.tsv", {f"S{i}": f"p{i}" for i in range(1, 7)}


SAMPLES = {f"p{i}": f"S{i}" for i in range(1, 7)}


def test_failed_samples_leave_before_features_are_counted_and_warned_ones_stay(file, caplog):
    table = gather_matrix("protein", [file], SETTINGS, SAMPLES, limits=LIMITS)
    assert table.values.columns[3:] == ["p1", "p2", "p3", "p5"]
    account = dict(table.samples.select("patient", "decision").iter_rows())
    assert account == {p: "left out" if p in ("p4", "p6") else "kept" for p in SAMPLES}
    reasons = dict(table.samples.select("patient", "reasons").iter_rows())
    assert reasons["p4"] == ("fail: protein missing 66.67 % (at most 50, warning above 30)")
    assert reasons["p6"] == "fail: protein usable values 0.0 (above 0), all 6 values are 0"
    assert table.covariates["patient"].to_list() == ["p1", "p2", "p3", "p5"]
    assert "S5 of p5: warn: protein missing 33.33 %" in caplog.text
    # F1 has a value in p1 and p5; three values would need p4, who is out.
    strict = SETTINGS.model_copy(update={"minimum_values": 3})
    left = gather_matrix("protein", [file], strict, SAMPLES, limits=LIMITS).values
    assert left["feature"].to_list() == ["F0", "F2", "F3", "F4", "F5"]
    # All samples are measured, those that fail too.
    assert set(table.metrics["patient"]) == set(SAMPLES)


def test_without_limits_only_unusable_samples_leave(file):
    table = gather_matrix("protein", [file], SETTINGS, SAMPLES)
    assert table.values.columns[3:] == ["p1", "p2", "p3", "p4", "p5"]


def test_plates_are_counted_in_those_who_stay(file, tmp_path):
    """S4 and S5 share a plate of two; when S4 fails, the plate is rare."""
    plates = tmp_path / "plates.tsv"
    lines = [f"S{i}\t{'two' if i in (4, 5) else 'one'}" for i in range(1, 7)]
    plates.write_text("\n".join(["sample\tplate", *lines]) + "\n")
    settings = SETTINGS.model_copy(update={"covariates": ("plate",), "minimum_level_samples": 2})

    def codes(limits):
        table = gather_matrix("protein", [file], settings, SAMPLES, plates, limits=limits)
        return dict(table.covariates.iter_rows())

    assert codes({})["p5"] == "plate_2"
    assert set(codes(LIMITS).values()) == {"plate_rare"}


def test_every_sample_failed_leaves_a_table_without_patients(file):
    limits = {
        "protein_median_value": QualityMetric(assay="protein", unit="1", minimum=99, bins=(0, 1))
    }
    table = gather_matrix("protein", [file], SETTINGS, SAMPLES, limits=limits)
    assert table.values.columns == ["feature", "feature_name", "gene_id"]
    assert table.values.is_empty()
    assert table.covariates.is_empty()
