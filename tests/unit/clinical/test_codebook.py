"""A codebook maps to what the study knows, or names the key that does not."""

import pytest

from ihdsi.clinical.codebook import load_codebook
from ihdsi.errors import InputError

CODEBOOK = """\
patient: id
decimal: ","
missing: ["", NA]
variables:
  sex: {column: sexe, values: {F: female, H: male}, missing: ["9"]}
  age: {column: âge, unit: a}
  survival_event:
    column: décès
    values:
      oui: yes
      non: no
"""


@pytest.fixture
def codebook(tmp_path):
    def write(*changes):
        text = CODEBOOK
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "codebook.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_good_codebook(codebook, tiny_study):
    loaded = load_codebook(codebook(), tiny_study)
    assert (loaded.patient, loaded.separator, loaded.decimal) == ("id", "\t", ",")
    assert loaded.missing == ("", "NA")
    assert loaded.variables["sex"].missing == ("9",)
    assert loaded.variables["age"].column == "âge"
    # yes and no are levels here, not booleans.
    assert loaded.variables["survival_event"].values == {"oui": "yes", "non": "no"}


def test_defaults(codebook, tiny_study):
    path = codebook(('decimal: ","\n', ""), ('missing: ["", NA]\n', ""))
    loaded = load_codebook(path, tiny_study)
    assert (loaded.decimal, loaded.missing) == (".", ("",))


@pytest.mark.parametrize(
    ("old", "new", "row", "column", "text", "remedy"),
    [
        (
            "  survival_event:",
            "  death:",
            7,
            "variables.death",
            "the study has no variable 'death'",
            "Use one of: sex, age",
        ),
        (
            "F: female",
            "F: woman",
            5,
            "variables.sex.values.F",
            "'woman' is not a level of 'sex'",
            "female, male",
        ),
        (
            "      non: no",
            "      non: false_",
            11,
            "variables.survival_event.values.non",
            "'false_' is not a level",
            "no, yes",
        ),
        (
            "values: {F: female, H: male}",
            "values: {}",
            5,
            "variables.sex.values",
            "no codes are given",
            "Map every local code",
        ),
        (", unit: a", "", 6, "variables.age.unit", "the local unit is missing", "study uses a"),
        (
            "unit: a",
            "unit: a, values: {x: y}",
            6,
            "variables.age.values",
            "'age' is a number and has no codes",
            "Remove",
        ),
        (
            "  age: {column: âge, unit: a}\n",
            "",
            4,
            "variables.age",
            "required variable is not mapped",
            "Add its column",
        ),
        ("patient: id\n", "", 1, "patient", "required key is missing", "config/README.md"),
        ('decimal: ","', 'decimal: "·"', 2, "decimal", "'.' or ','", "config/README.md"),
        ("patient: id", "pacient: id\npatient: id", 1, "pacient", "not known", ""),
        ("F: female, H", "1: female, H", 5, "variables.sex.values.1.[key]", "valid string", ""),
        ("H: male", "F: male", 5, None, "the key 'F' occurs twice", "Correct the syntax"),
        (
            "      oui: yes",
            "      oui: true",
            10,
            "variables.survival_event.values.oui",
            "valid string (given: True)",
            "",
        ),
    ],
)
def test_faults_have_their_line_and_key(
    codebook, tiny_study, refused, old, new, row, column, text, remedy
):
    path = codebook((old, new))
    refused(
        lambda: load_codebook(path, tiny_study),
        file=path,
        row=row,
        column=column,
        text=text,
        remedy=remedy,
    )


def test_a_misspelt_key_is_unknown_and_missing(codebook, tiny_study):
    with pytest.raises(InputError) as caught:
        load_codebook(codebook(("column: âge", "colum: âge")), tiny_study)
    assert {(p.row, p.column) for p in caught.value.problems} == {
        (6, "variables.age.column"),
        (6, "variables.age.colum"),
    }


def test_all_faults_come_together(codebook, tiny_study):
    path = codebook(("F: female", "F: woman"), (", unit: a", ""), ("non: no", "non: jamais"))
    with pytest.raises(InputError, match="3 problems") as caught:
        load_codebook(path, tiny_study)
    assert [(p.row, p.column) for p in caught.value.problems] == [
        (5, "variables.sex.values.F"),
        (6, "variables.age.unit"),
        (11, "variables.survival_event.values.non"),
    ]


def test_no_codebook(tmp_path, tiny_study, refused):
    path = tmp_path / "none.yaml"
    refused(
        lambda: load_codebook(path, tiny_study),
        file=path,
        row=None,
        column=None,
        text="does not exist",
    )
