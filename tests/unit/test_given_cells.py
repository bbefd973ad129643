from ihdsi.given_cells import files_of_cells


def test_a_folder_is_its_files_as_they_are_named(tmp_path):
    for name in ("matrix.mtx", "genes.tsv", "barcodes.tsv.gz"):
        (tmp_path / name).touch()
    expected = [str(tmp_path / name) for name in ("matrix.mtx", "genes.tsv", "barcodes.tsv.gz")]
    assert files_of_cells(str(tmp_path)) == expected


def test_a_folder_that_a_run_makes_is_waited_for(tmp_path):
    folder = tmp_path / "absent"
    names = ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
    assert files_of_cells(str(folder)) == [str(folder / name) for name in names]


def test_a_file_is_itself():
    assert files_of_cells("a/b.h5") == ["a/b.h5"]
    assert files_of_cells("a/b.h5ad") == ["a/b.h5ad"]
