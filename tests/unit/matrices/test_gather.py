"""One assay of a site from all of its files: what is kept, what is left out and named."""

import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.matrices.gather import gather_matrix, read_assays
from ihdsi.study import MatrixSettings

SETTINGS = MatrixSettings(
    feature="id", gene_id="gene", unit="1", minimum_values=2, minimum_level_samples=2
)


@pytest.fixture
def files(tmp_path):
    """Two files; b lacks F1, a lacks F4, patient p3 has no value."""
    (tmp_path / "a.tsv").write_text(
        "id\tgene\tS1\tS2\tS3\n"
        "F3\t\t1\t2\t\nF1\tENSG00000000001\t3\t4\t\nF2\tENSG00000000002\t5\t\t\n"
    )
    (tmp_path / "b.csv").write_text("id,gene,S4,S5\nF2,ENSG00000000002,6,\nF3,,7,8\nF4,,9,\n")
    return [
        (tmp_path / "a.tsv", {"S1": "p1", "S2": "p2", "S3": "p3"}),
        (tmp_path / "b.csv", {"S4": "p4", "S5": "p5"}),
    ]


SAMPLES = {f"p{i}": f"S{i}" for i in range(1, 6)}


def test_files_stand_side_by_side_and_nothing_is_imputed(files, caplog):
    caplog.set_level("INFO")
    table = gather_matrix("protein", files, SETTINGS, SAMPLES)
    assert table.values.equals(
        pl.DataFrame(
            {
                "feature": ["F1", "F2", "F3"],
                "feature_name": [None, None, None],
                "gene_id": ["ENSG00000000001", "ENSG00000000002", None],
                "p1": [3.0, 5.0, 1.0],
                "p2": [4.0, None, 2.0],
                "p4": [None, 6.0, 7.0],
                "p5": [None, None, 8.0],
            },
            schema_overrides={"feature_name": pl.String},
        )
    )
    reason = "fail: protein usable values 0.0 (above 0), the sample has no value"
    assert f"S3 of p3: {reason}" in caplog.text
    assert "1 of 4 features have fewer than 2 values" in caplog.text  # F4
    assert "3 features in 4 patients; 4 of 12 values are missing" in caplog.text
    assert table.covariates.columns == ["patient"]
    account = table.samples.select("patient", "n_values", "n_missing", "decision").rows()
    assert account == [
        ("p1", 3, 1, "kept"),
        ("p2", 2, 2, "kept"),
        ("p3", 0, 4, "left out"),
        ("p4", 3, 1, "kept"),
        ("p5", 1, 3, "kept"),
    ]
    assert table.samples["reasons"].to_list() == ["", "", reason, "", ""]


def test_plates_come_as_codes_and_the_account_tells_which_is_which(files, tmp_path):
    plates = tmp_path / "plates.tsv"
    plates.write_text(
        "sample\tplate\nS5\tMonday\nS4\tMonday\nS3\tnobody\nS1\tTuesday\nS2\tTuesday\n"
    )
    settings = SETTINGS.model_copy(update={"covariates": ("plate",)})
    table = gather_matrix("protein", files, settings, SAMPLES, plates)
    assert dict(table.covariates.iter_rows()) == {
        "p1": "plate_2",
        "p2": "plate_2",
        "p4": "plate_1",
        "p5": "plate_1",
    }
    assert table.covariates.columns == ["patient", "site:protein_plate"]
    assert table.samples.filter(patient="p4").row(0)[-2:] == ("Monday", "plate_1")
    # A site's own minimum makes both plates rare, and one plate is no covariate.
    strict = gather_matrix("protein", files, settings, SAMPLES, plates, minimum_n=3)
    assert strict.covariates["site:protein_plate"].unique().to_list() == ["plate_rare"]


def test_files_must_agree_on_genes(files):
    files[1][0].write_text("id,gene,S4,S5\nF2,ENSG00000000009,6,1\n")
    with pytest.raises(InputError, match=r"1 features have another gene than in .*a\.tsv: F2"):
        gather_matrix("protein", files, SETTINGS, SAMPLES)


def test_tables_are_found_by_assay(tmp_path):
    for assay in ("protein", "metabolite"):
        (tmp_path / assay).mkdir()
        pl.DataFrame({"a": [assay]}).write_parquet(tmp_path / assay / "values.parquet")
    found = read_assays([tmp_path / a / "values.parquet" for a in ("protein", "metabolite")])
    assert {name: frame.item() for name, frame in found.items()} == {
        "protein": "protein",
        "metabolite": "metabolite",
    }
