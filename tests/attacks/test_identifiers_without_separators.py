"""An identifier that is written without its separator, or with letters beside it."""

import polars as pl
import pytest

from ihdsi.disclosure import identifiers
from ihdsi.errors import InputError


@pytest.mark.parametrize("text", ["LIH0001", "LIH-0001a", "xLIH0001", "L I H 0001"])
def test_an_identifier_without_its_separator(text):
    table = {"t": pl.DataFrame({"gene_name": [text]})}
    with pytest.MonkeyPatch.context() as off:
        off.setattr(identifiers, "_JOINED_LENGTH", 1000)
        identifiers.refuse_identifiers(table, ["LIH-0001"])
    with pytest.raises(InputError, match="the text is"):
        identifiers.refuse_identifiers(table, ["LIH-0001"])


def test_public_names_are_no_identifiers():
    """Whatever patients are called, as long as they are not called like these themselves."""
    names = [
        *(
            f"{prefix}{number}"
            for prefix in ("LIH-", "P-", "PT ", "BRCA-", "G-")
            for number in ("0001", "0141", "00012", "00000042", "511")
        ),
        "S-0000141510",
        "MIR-12",
        "BRCA-1",
        "T-P53",
        "H-2-0001",
    ]
    public = [
        "TP53",
        "BRCA1",
        "BRCA2",
        "HLA-DRB1",
        "HLA-A",
        "C1orf112",
        "SLC25A10",
        "LINC00511",
        "MIR1234",
        "SNORD115-12",
        "RNU6-1234P",
        "ZNF123",
        "RP11-34P13.7",
        "AC012345.1",
        "P2RX7",
        "ENSG00000141510",
        "ENSG00000141510.18",
        "ENST00000269305",
        "ENSMUSG00000059552",
        "rs7412",
        "rs1800566",
        "cg00000029",
        "P04637",
        "P00012",
        "Q9Y6K9-2",
        "A0A024RBG1",
        "CHEBI:15377",
        "NM_000546.6",
        "NP_000537.3",
        "17:7676154:G:A",
        "high_grade",
        "T2",
        "signature_share_apobec",
        "log2-CPM",
        "GRCh38.p14",
        "in 2026 of 511 patients, 12 had it",
    ]
    table = {"t": pl.DataFrame({"gene_name": public})}
    identifiers.refuse_identifiers(table, names)
