"""Local codes and units become the study's; what does not is refused with its cell."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from ihdsi.clinical.codebook import load_codebook
from ihdsi.clinical.harmonise import convert_unit, harmonise_clinical
from ihdsi.errors import InputError

CODEBOOK = {
    "patient": "identifiant",
    "decimal": ",",
    "missing": ["", "inconnu"],
    "variables": {
        "sex": {"column": "sexe", "values": {"Femme": "female", "Homme": "male"}, "missing": ["9"]},
        "age": {"column": "âge", "unit": "a"},
        "stage_group": {"column": "stade", "values": {"TVNIM": "NMIBC", "TVIM": "MIBC"}},
        "haemoglobin": {"column": "Hb", "unit": "g/dL"},
        "temperature": {"column": "temp", "unit": "Cel"},
        "survival_time": {"column": "suivi", "unit": "mo"},
        "survival_event": {"column": "décès", "values": {"oui": "yes", "non": "no"}},
    },
}
HEADER = ("identifiant", "sexe", "âge", "stade", "Hb", "temp", "suivi", "décès")
A1 = {
    "identifiant": "A1",
    "sexe": "Femme",
    "âge": "61,5",
    "stade": "TVIM",
    "Hb": "10,9",
    "temp": "36,6",
    "suivi": "30,0",
    "décès": "non",
}


class Hospital:
    """A clinical table and its codebook in the working directory."""

    def __init__(self, study):
        self.study = study
        self.separator = "\t"
        self.document = yaml.safe_load(yaml.safe_dump(CODEBOOK))

    def read(self, *rows, patients=(), header=HEADER):
        lines = [header, *([row[column] for column in header] for row in rows)]
        text = "".join(self.separator.join(line) + "\n" for line in lines)
        Path("clinical.tsv").write_text(text)
        return self.harmonise(patients)

    def harmonise(self, patients=()):
        text = yaml.safe_dump(self.document, sort_keys=False, allow_unicode=True)
        Path("codebook.yaml").write_text(text)
        codebook = load_codebook("codebook.yaml", self.study)
        return harmonise_clinical("clinical.tsv", codebook, self.study, "codebook.yaml", patients)


@pytest.fixture
def hospital(folder, tiny_study):
    return Hospital(tiny_study)


def test_codes_and_units_by_hand(hospital):
    second = A1 | {"identifiant": "A0", "sexe": "Homme", "stade": "TVNIM", "décès": "oui"}
    frame = hospital.read(A1, second)
    assert frame.columns == ["patient", *hospital.study.clinical.variables]
    assert frame["patient"].to_list() == ["A0", "A1"]
    row = frame.row(1, named=True)
    assert row["sex"] == "female"
    assert row["stage_group"] == "MIBC"
    assert row["survival_event"] == "no"
    assert row["age"] == 61.5
    # 10.9 g/dL = 109 g/L; 36.6 °C = 309.75 K; 30 Julian months of 30.4375 d = 913.125 d.
    assert row["haemoglobin"] == pytest.approx(109, rel=1e-12)
    assert row["temperature"] == pytest.approx(309.75, rel=1e-12)
    assert row["survival_time"] == pytest.approx(913.125, rel=1e-12)
    assert frame.row(0, named=True)["sex"] == "male"
    assert frame.row(0, named=True)["survival_event"] == "yes"


@pytest.mark.parametrize(
    ("local", "target", "value", "expected"),
    [
        ("g/dL", "g/L", 10.9, 109.0),
        ("mg/mL", "g/L", 109.0, 109.0),
        ("mo", "d", 12.0, 365.25),
        ("a", "d", 2.0, 730.5),
        ("a", "mo", 2.0, 24.0),
        ("mo", "a", 30.0, 2.5),
        ("wk", "d", 3.0, 21.0),
        ("Cel", "K", 0.0, 273.15),
        ("Cel", "K", 37.0, 310.15),
        ("[degF]", "Cel", 212.0, 100.0),
        ("K", "Cel", 0.0, -273.15),
        ("%", "1", 12.5, 0.125),
        ("cm", "m", 172.0, 1.72),
        ("bogus", "bogus", 5.0, 5.0),
    ],
)
def test_units_by_hand(local, target, value, expected):
    converted = convert_unit(pl.Series([value, None, value]), local, target).to_list()
    assert converted == [pytest.approx(expected, rel=1e-9), None, pytest.approx(expected, rel=1e-9)]


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("mmol/L", "cannot convert 'haemoglobin' from 'mmol/L' to 'g/L'"),
        ("gramme", "cannot convert 'haemoglobin' from 'gramme' to 'g/L'"),
        ("", "cannot convert 'haemoglobin' from '' to 'g/L'"),
    ],
)
def test_a_unit_that_cannot_be_converted(hospital, refused, unit, text):
    hospital.document["variables"]["haemoglobin"]["unit"] = unit
    lines = yaml.safe_dump(hospital.document, sort_keys=False, allow_unicode=True).splitlines()
    column_line = 1 + lines.index("    column: Hb")
    refused(
        lambda: hospital.read(A1),
        file="codebook.yaml",
        row=column_line + 1,
        column="variables.haemoglobin.unit",
        text=text,
        remedy="UCUM unit of the same dimension",
    )


@pytest.mark.parametrize("column", HEADER[1:])
@pytest.mark.parametrize("code", ["", "inconnu"])
def test_unknown_values_are_null(hospital, column, code):
    frame = hospital.read(A1 | {column: code})
    assert sum(frame.null_count().row(0)) == 1


def test_a_code_that_means_unknown_in_one_column_only(hospital, refused):
    assert hospital.read(A1 | {"sexe": "9"})["sex"].to_list() == [None]
    refused(
        lambda: hospital.read(A1 | {"stade": "9"}),
        file="clinical.tsv",
        row=2,
        column="stade",
        text="the code '9'",
    )


def test_a_column_of_unknown_values_only(hospital):
    rows = [A1 | {"identifiant": f"A{i}", "Hb": "", "stade": ""} for i in range(3)]
    frame = hospital.read(*rows)
    assert frame["haemoglobin"].to_list() == [None] * 3
    assert frame["stage_group"].to_list() == [None] * 3
    assert frame.schema["haemoglobin"] == pl.Float64
    assert frame.schema["stage_group"] == pl.String


def test_unmapped_variables_are_null(hospital):
    for name in ("haemoglobin", "stage_group"):
        del hospital.document["variables"][name]
    frame = hospital.read(A1)
    assert frame.schema["haemoglobin"] == pl.Float64
    assert frame.schema["stage_group"] == pl.String
    assert frame.select("haemoglobin", "stage_group").row(0) == (None, None)


def test_no_code_need_mean_unknown(hospital, refused):
    hospital.document["missing"] = []
    assert hospital.read(A1).height == 1
    refused(
        lambda: hospital.read(A1 | {"stade": ""}),
        file="clinical.tsv",
        row=2,
        column="stade",
        text="the code ''",
    )


def test_columns_that_are_not_mapped_are_left_out(hospital):
    frame = hospital.read(A1 | {"nom": "Weber"}, header=("nom", *HEADER))
    assert "Weber" not in frame.row(0)


def test_a_table_with_semicolons(hospital):
    hospital.document["separator"] = hospital.separator = ";"
    assert hospital.read(A1)["age"].to_list() == [61.5]


def test_a_table_with_commas_and_points(hospital):
    hospital.document |= {"separator": ",", "decimal": "."}
    hospital.separator = ","
    row = A1 | {"âge": "61.5", "Hb": "10.9", "temp": "36.6", "suivi": "30.0"}
    assert hospital.read(row)["haemoglobin"].to_list() == [pytest.approx(109)]


@pytest.mark.parametrize(
    ("column", "value", "text", "remedy"),
    [
        ("sexe", "femme", "the code 'femme' is not in the codebook", "(known: Femme, Homme)"),
        ("sexe", "female", "the code 'female'", "variables.sex.values in codebook.yaml"),
        ("décès", "yes", "the code 'yes'", "variables.survival_event.values in codebook.yaml"),
        ("âge", "61.5", "'61.5' is not a number", "',' as decimal sign"),
        ("suivi", "1.234,5", "'1.234,5' is not a number", "',' as decimal sign"),
        ("âge", "61,5,0", "'61,5,0' is not a number", "add the code to 'missing'"),
        ("âge", "NA", "'NA' is not a number", "add the code to 'missing'"),
        ("âge", "61 ans", "'61 ans' is not a number", ""),
        ("âge", "nan", "'nan' is not a number", ""),
        ("âge", "inf", "'inf' is not a number", ""),
        ("âge", "17,9", "17,9 a is 17.9 a, outside the study's range 18 to 110 a of 'age'", "unit"),
        ("âge", "110,1", "outside the study's range 18 to 110 a of 'age'", "Correct the value"),
        ("âge", "-61", "outside the study's range", ""),
        ("Hb", "109", "109 g/dL is 1090 g/L, outside the study's range 40 to 220 g/L", "codebook"),
        ("suivi", "-0,1", "-0,1 mo is -3.04375 d, outside the study's range 0 to inf d", ""),
    ],
)
def test_a_fault_of_a_cell(hospital, refused, column, value, text, remedy):
    good = [A1 | {"identifiant": f"A{i}"} for i in (2, 3)]
    refused(
        lambda: hospital.read(good[0], A1 | {column: value}, good[1]),
        file="clinical.tsv",
        row=3,
        column=column,
        text=text,
        remedy=remedy,
    )


@pytest.mark.parametrize("value", ["61,5", "1,234.5"])
def test_a_decimal_comma_where_points_are_announced(hospital, refused, value):
    hospital.document["decimal"] = "."
    row = A1 | {"âge": value, "Hb": "10.9", "temp": "36.6", "suivi": "30"}
    refused(
        lambda: hospital.read(row),
        file="clinical.tsv",
        row=2,
        column="âge",
        text=f"'{value}' is not a number",
        remedy="'.' as decimal sign",
    )


@pytest.mark.parametrize(("age", "kept"), [("18", 18.0), ("110", 110.0), ("1,8e1", 18.0)])
def test_the_range_includes_its_limits(hospital, age, kept):
    assert hospital.read(A1 | {"âge": age})["age"].to_list() == [kept]


def test_a_patient_of_the_sheet_without_a_row(hospital, refused):
    refused(
        lambda: hospital.read(A1, patients=["A1", "A7"]),
        file="clinical.tsv",
        row=None,
        column="identifiant",
        text="patient 'A7' of the sample sheet has no row",
        remedy="Add the patient's row",
    )


def test_a_patient_without_samples_is_no_part_of_the_study(hospital):
    second = A1 | {"identifiant": "A2"}
    assert hospital.read(A1, second)["patient"].to_list() == ["A1", "A2"]
    assert hospital.read(A1, second, patients=["A2"])["patient"].to_list() == ["A2"]
    # The hospital's other patients need not fit the codebook.
    stranger = A1 | {"identifiant": "Z9", "sexe": "?"}
    assert hospital.read(A1, stranger, patients=["A1"])["patient"].to_list() == ["A1"]


def test_a_patient_twice(hospital, refused):
    refused(
        lambda: hospital.read(A1, A1 | {"identifiant": "A2"}, A1),
        file="clinical.tsv",
        row=4,
        column="identifiant",
        text="patient 'A1' occurs twice",
        remedy="Keep one row",
    )


def test_a_patient_without_a_name(hospital, refused):
    refused(
        lambda: hospital.read(A1, A1 | {"identifiant": ""}),
        file="clinical.tsv",
        row=3,
        column="identifiant",
        text="patient identifier is empty",
        remedy="Fill it or remove the row",
    )


def test_two_patients_without_a_name_are_not_one_patient_twice(hospital):
    with pytest.raises(InputError) as caught:
        hospital.read(*[A1 | {"identifiant": ""}] * 2)
    assert [(p.row, p.what) for p in caught.value.problems] == [
        (2, "the patient identifier is empty"),
        (3, "the patient identifier is empty"),
    ]


@pytest.mark.parametrize("column", HEADER)
def test_a_missing_column(hospital, refused, column):
    key = (
        "patient"
        if column == "identifiant"
        else next(
            f"variables.{name}.column"
            for name, mapping in CODEBOOK["variables"].items()
            if mapping["column"] == column
        )
    )
    refused(
        lambda: hospital.read(A1, header=[c for c in HEADER if c != column]),
        file="clinical.tsv",
        row=1,
        column=column,
        text="this column is missing",
        remedy=f"correct '{key}' in codebook.yaml",
    )


@pytest.mark.parametrize(
    ("old", "new", "row", "column", "text"),
    [
        ("\n", "\r\n", 1, "décès", "Windows line ends"),
        ("Femme\t", "Femme \t", 2, "sexe", "white space"),
        ("stade\t", "stade \t", 1, "stade", "white space"),
        ("\tnon", "", 2, None, "7 fields where the header has 8"),
    ],
)
def test_what_spreadsheets_do(hospital, refused, old, new, row, column, text):
    hospital.read(A1)
    path = Path("clinical.tsv")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    refused(hospital.harmonise, file=path, row=row, column=column, text=text)


def test_an_empty_and_a_header_only_table(hospital, refused):
    for content, row, text in (("", None, "empty"), ("\t".join(HEADER) + "\n", 1, "no rows")):
        Path("clinical.tsv").write_text(content)
        refused(hospital.harmonise, file="clinical.tsv", row=row, column=None, text=text)


def test_a_latin_1_table_with_semicolons(hospital, refused):
    hospital.document["separator"] = ";"
    Path("clinical.tsv").write_bytes("identifiant;sexe\nA1;Femme\nA2;Inconnué\n".encode("latin-1"))
    refused(hospital.harmonise, file="clinical.tsv", row=3, column="sexe", text="0xe9 is not UTF-8")


def test_all_faults_come_together_in_the_order_of_the_rows(hospital):
    with pytest.raises(InputError, match="5 problems") as caught:
        hospital.read(
            A1 | {"sexe": "X", "âge": "1"},
            A1 | {"Hb": "109"},
            A1 | {"identifiant": "A3", "suivi": "?"},
        )
    assert [(p.row, p.column) for p in caught.value.problems] == [
        (2, "sexe"),
        (2, "âge"),
        (3, "Hb"),
        (3, "identifiant"),
        (4, "suivi"),
    ]
    assert {p.file for p in caught.value.problems} == {Path("clinical.tsv")}


def test_a_korean_table(hospital):
    hospital.document = {
        "patient": "환자번호",
        "missing": ["", "미상"],
        "variables": {
            "sex": {"column": "성별", "values": {"1": "male", "2": "female"}},
            "age": {"column": "나이", "unit": "a"},
            "stage_group": {"column": "병기", "values": {"근침윤성": "MIBC"}},
        },
    }
    row = {"환자번호": "N1", "성별": "2", "나이": "65", "병기": "미상"}
    frame = hospital.read(row, header=tuple(row))
    assert frame.row(0)[:4] == ("N1", "female", 65.0, None)
