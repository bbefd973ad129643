"""Try to get a patient's name past the check."""

import json

import polars as pl
import pytest

from ihdsi.disclosure import (
    apply_disclosure_control,
    refuse_identifiers,
    refuse_identifiers_in_document,
    refuse_identifiers_in_parquet,
)
from ihdsi.errors import InputError
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES, empty_table, write_table

NAME = "LIH-0001"
DISGUISES = [
    "LIH-0001",
    "lih-0001",
    "\u00a0LIH-0001\u2003",  # other spaces around it
    "ＬＩＨ－０００１",  # full-width letters and digits
    "LIH\u20110001",  # non-breaking hyphen
    "LIH\u20130001",  # en dash
    "LIH_0001",
    "LIH 0001",
    "LIH.0001",
    "LIH/0001",
    "LIH\u200b-0001",  # zero-width space
    "L\u00adIH-00\u00ad01",  # soft hyphens
    "\ufeffLIH-0001",  # byte-order mark
    "LI\u0301H-0001",  # a combining accent
    "ℒIH-0001",  # letter-like symbol
    "LIH-⁰⁰⁰¹",  # superscripts
    "𝐋𝐈𝐇-𝟎𝟎𝟎𝟏",  # mathematical bold
    "LIH%2D0001",
    "tumour (LIH-0001), second",
    "x=LIH-0001;y",
    "/data/LIH-0001.bam",
    "sample:LIH-0001\n",
    "L I H 0001",
    "LIH0001",
    "lih0001",
    "LIH-0001a",
    "LIH0001_rep",
    "xLIH0001",
]
INNOCENT = ["LIH-00012", "XLIH-0001", "LIH", "0001", "LIH-0002", "LIH-1", "LIH00012", ""]


def of_text(text):
    return {"t": pl.DataFrame({"gene_name": [text]})}


@pytest.mark.parametrize("text", DISGUISES)
def test_disguises_are_seen_wherever_they_stand(text, tmp_path):
    with pytest.raises(InputError) as caught:
        refuse_identifiers(of_text(text), [NAME])
    assert text.strip() not in str(caught.value)
    with pytest.raises(InputError):
        refuse_identifiers({"t": pl.DataFrame({"terms": [["intercept", text]]})}, [NAME])
    with pytest.raises(InputError, match="column 2"):
        refuse_identifiers({"t": pl.DataFrame({"n": [1], text: [2]})}, [NAME])
    for document in ({"a": [{"b": text}]}, {"a": {text: 1}}, [text], text):
        with pytest.raises(InputError):
            refuse_identifiers_in_document(document, [NAME], "disclosure.json")
    path = tmp_path / "t.parquet"
    for metadata in ({"note": text}, {text: "note"}):
        pl.DataFrame({"n": [1]}).write_parquet(path, metadata=metadata)
        with pytest.raises(InputError):
            refuse_identifiers_in_parquet(path, [NAME])


@pytest.mark.parametrize("name", DISGUISES[:17])
def test_names_that_are_written_like_that_are_seen_in_plain_text(name):
    with pytest.raises(InputError):
        refuse_identifiers(of_text("LIH-0001"), [name])


@pytest.mark.parametrize("text", INNOCENT)
def test_other_texts_pass(text, tmp_path):
    refuse_identifiers(of_text(text), [NAME])
    refuse_identifiers_in_document({"a": text, text: 1}, [NAME], "disclosure.json")
    pl.DataFrame({"n": [1]}).write_parquet(tmp_path / "t.parquet", metadata={"note": text})
    refuse_identifiers_in_parquet(tmp_path / "t.parquet", [NAME])


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Straße 7", "STRASSE 7", True),
        ("Müller", "mu\u0308ller", True),
        ("Müller", "Muller", True),
        ("Ελενα", "ελενα", True),
        ("患者1234", "患者1234", True),
        ("患者1234", "患者12345", False),
        ("İpek", "ipek", True),
        ("S1", "ｓ１", True),
        ("S1", "gene S1", False),  # too short to be looked for within texts
        ("S-1", "S 1", True),
        ("***", "***", True),
        ("***", "** *", False),
        ("", "", False),
    ],
)
def test_names_of_all_kinds(name, text, found):
    if not found:
        refuse_identifiers(of_text(text), [name])
        return
    with pytest.raises(InputError):
        refuse_identifiers(of_text(text), [name])


def test_a_column_of_a_file_named_like_a_patient_is_seen(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({NAME: [1]}).write_parquet(path)
    with pytest.raises(InputError, match="columns"):
        refuse_identifiers_in_parquet(path, [NAME])


def test_a_name_in_the_schema_that_another_writer_kept_is_seen(tmp_path):
    """Files keep a schema in their metadata, base64-encoded, whose columns have metadata."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    field = arrow.field("n", arrow.int64(), metadata={"note": f"of {NAME}"})
    parquet.write_table(
        arrow.table([arrow.array([1])], schema=arrow.schema([field])), tmp_path / "t.parquet"
    )
    refuse_identifiers_in_parquet(tmp_path / "t.parquet", ["LIH-0002"])
    with pytest.raises(InputError, match="schema"):
        refuse_identifiers_in_parquet(tmp_path / "t.parquet", [NAME])


def test_a_file_named_like_a_patient_is_refused_without_repeating_the_name(tmp_path):
    path = tmp_path / f"{NAME}.parquet"
    pl.DataFrame({"n": [1]}).write_parquet(path)
    with pytest.raises(InputError) as caught:
        refuse_identifiers_in_parquet(path, [NAME])
    assert NAME not in str(caught.value)


@pytest.mark.parametrize("table", TABLES)
def test_files_of_the_pipeline_pass(table, tmp_path):
    write_table(empty_table(table), table, tmp_path / f"{table}.parquet")
    refuse_identifiers_in_parquet(tmp_path / f"{table}.parquet", [NAME, "p1", "A"])


def test_the_disclosure_summary_is_looked_at(monkeypatch):
    table = pl.DataFrame(
        [("all_mutations", "1/Mb", "all", "all", 3, 3.0, 1.0)],
        schema=TABLES["mutation_burden"].schema,
        orient="row",
    )
    tables = {"mutation_burden": table}
    _, log = apply_disclosure_control(tables, DisclosureSettings(), [NAME], {})
    assert log["rule"].to_list() == ["minimum_n"]
    # A patient who is called like a rule would stand in disclosure.json.
    with pytest.raises(InputError, match=r"disclosure\.json"):
        apply_disclosure_control(tables, DisclosureSettings(), ["Minimum-N"], {})


def test_many_names_and_texts(tmp_path):
    names = [f"S{number:05d}-T" for number in range(3000)]
    texts = [f"c.{number}A>T" for number in range(30000)]
    frame = pl.DataFrame({"hgvs": [*texts, "see s02999 t"]})
    with pytest.raises(InputError) as caught:
        refuse_identifiers({"t": frame}, names)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == (30001, "hgvs")
    refuse_identifiers_in_document(json.loads(json.dumps({"texts": texts[:500]})), names, "d")
