import os
from pathlib import Path

import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.simulate.public_cohort import split_cohort_by_site

SHARED = Path(os.environ.get("IHDSI_SHARED", "../shared")) / "realdata/tcga_blca"


@pytest.fixture
def cohort(tmp_path):
    maf = tmp_path / "maf.tsv"
    maf.write_text(
        "Hugo_Symbol\tTumor_Sample_Barcode\tProtein_Change\n"
        'TP53\tTCGA-AA-0001\tp.R1H\nTTN\tTCGA-AA-0001\t\nRB1\tTCGA-BB-0001\tp."x\n'
    )
    clinical = tmp_path / "clinical.tsv"
    clinical.write_text(
        "Tumor_Sample_Barcode\ttissue_source_site\tgender\n"
        "TCGA-AA-0001\tAA\tMALE\nTCGA-AA-0002\tAA\tNA\nTCGA-BB-0001\tBB\tFEMALE\n"
    )
    return maf, clinical


def test_every_patient_is_in_the_sheet_of_their_site(cohort, tmp_path):
    summary = split_cohort_by_site(*cohort, tmp_path / "out")
    assert summary.rows() == [("tss_aa", "AA", 2, 2), ("tss_bb", "BB", 1, 1)]
    sheet = pl.read_csv(tmp_path / "out/tss_aa/samples.tsv", separator="\t")
    assert sheet["patient"].to_list() == ["TCGA-AA-0001", "TCGA-AA-0002"]
    assert sheet["maf_sample"].equals(sheet["patient"], check_names=False)
    assert sheet["maf"].unique().to_list() == [(tmp_path / "out/tss_aa/maf.tsv.gz").as_posix()]
    maf = pl.read_csv(tmp_path / "out/tss_bb/maf.tsv.gz", separator="\t", quote_char=None)
    assert maf.rows() == [("RB1", "TCGA-BB-0001", 'p."x')]
    clinical = pl.read_csv(tmp_path / "out/tss_aa/clinical.tsv", separator="\t")
    assert clinical["gender"].to_list() == ["MALE", None]


def test_small_sites_can_be_left_out(cohort, tmp_path):
    summary = split_cohort_by_site(*cohort, tmp_path / "out", minimum_patients=2)
    assert summary["site"].to_list() == ["tss_aa"]
    assert not (tmp_path / "out/tss_bb").exists()


def test_mutations_without_clinical_row_are_refused(cohort, tmp_path):
    maf, clinical = cohort
    clinical.write_text("\n".join(clinical.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match="TCGA-BB-0001"):
        split_cohort_by_site(maf, clinical, tmp_path / "out")


def test_missing_column_is_named(cohort, tmp_path):
    maf, clinical = cohort
    clinical.write_text("Tumor_Sample_Barcode\tgender\nTCGA-AA-0001\tMALE\n")
    with pytest.raises(InputError, match="tissue_source_site"):
        split_cohort_by_site(maf, clinical, tmp_path / "out")


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.exists(), reason="IHDSI_SHARED holds no tcga_blca")
def test_tcga_bladder_cohort(tmp_path):
    summary = split_cohort_by_site(
        SHARED / "tcga_blca.maf.tsv.gz",
        SHARED / "tcga_blca.clinical.tsv.gz",
        tmp_path,
        survival_path=SHARED / "TCGA-BLCA.survival.tsv",
    )
    assert summary.height == 35
    assert summary["n_patients"].sum() == 394
    assert summary["n_mutations"].sum() == 92_275
    assert summary.row(0)[:3] == ("tss_dk", "DK", 52)
    mutations = pl.concat(
        [
            pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
            for path in sorted(tmp_path.glob("*/maf.tsv.gz"))
        ]
    )
    mutated = mutations.group_by("Hugo_Symbol").agg(pl.col("Tumor_Sample_Barcode").n_unique())
    counts = dict(mutated.iter_rows())
    assert (counts["TP53"], counts["KDM6A"], counts["FGFR3"]) == (196, 103, 56)
    clinical = pl.read_csv(tmp_path / "tss_dk/clinical.tsv", separator="\t", infer_schema=False)
    assert set(clinical["overall_survival_event"].drop_nulls()) == {"yes", "no"}
