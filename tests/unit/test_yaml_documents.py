"""Documents become models, or an error that names the line and the key."""

import pytest
from pydantic import BaseModel, ConfigDict, Field

from ihdsi.errors import InputError, Problem
from ihdsi.yaml_documents import expand_variables, line_of_key, load_document, validate_document


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    threshold: int = Field(ge=1)
    codes: dict[str, str] = {}


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    flag: bool = False
    inner: Inner | None = None
    items: list[Inner] = []


@pytest.fixture
def document(tmp_path):
    def write(text):
        path = tmp_path / "document.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_good_document(document):
    path = document("# note\nname: été\nflag: true\ninner: {threshold: 3}\n")
    loaded = load_document(path, Document)
    assert (loaded.name, loaded.flag, loaded.inner.threshold) == ("été", True, 3)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Yes", "NO", "y", "n", "Off"])
def test_words_that_yaml_1_1_takes_for_booleans_stay_strings(document, word):
    path = document(f"name: {word}\ninner:\n  threshold: 1\n  codes: {{{word}: {word}}}\n")
    loaded = load_document(path, Document)
    assert loaded.name == word
    assert loaded.inner.codes == {word: word}


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False)])
def test_true_and_false_are_booleans(document, word, value):
    assert load_document(document(f"name: x\nflag: {word}\n"), Document).flag is value


@pytest.mark.parametrize(
    ("text", "row", "column", "what"),
    [
        ("name: a\nthreshhold: 3\n", 2, "threshhold", "this key is not known"),
        ("name: a\ninner:\n  threshold: 1\n  treshold: 2\n", 4, "inner.treshold", "not known"),
        (
            "name: a\nitems:\n  - threshold: 1\n  - threshold: 1\n    x: 2\n",
            5,
            "items.1.x",
            "not known",
        ),
        ("flag: true\ninner: {threshold: 1}\n", 1, "name", "this required key is missing"),
        ("name: a\n\ninner:\n  codes: {}\n", 3, "inner.threshold", "required key is missing"),
        ("name: a\ninner:\n  threshold: 0\n", 3, "inner.threshold", "(given: 0)"),
        ("name: a\nflag: maybe\n", 2, "flag", "(given: 'maybe')"),
        ("name: 1.0\n", 1, "name", "valid string (given: 1.0)"),
        ("name: a\ninner:\n  threshold: 1\n  codes: {1: x}\n", 4, "inner.codes.1.[key]", "string"),
        ("name: a\ninner: 3\n", 2, "inner", "(given: 3)"),
    ],
)
def test_what_does_not_fit_has_its_line_and_key(document, refused, text, row, column, what):
    path = document(text)
    refused(
        lambda: load_document(path, Document),
        file=path,
        row=row,
        column=column,
        text=what,
        remedy="config/README.md",
    )


@pytest.mark.parametrize(
    ("text", "row", "what"),
    [
        ("name: a\nflag: true\nname: b\n", 3, "the key 'name' occurs twice"),
        ("name: a\ninner:\n  threshold: 1\n  threshold: 2\n", 4, "'threshold' occurs twice"),
        ("name: a\ninner: {threshold: 1, codes: {x: a, x: b}}\n", 2, "'x' occurs twice"),
        ("name: a\n\tflag: true\n", 2, "not valid YAML"),
        ("name: [a\nflag: true\n", 2, "not valid YAML"),
        ("name: {{ jinja }}\n", 1, "unhashable key"),
        ("name: a\n---\nname: b\n", 2, "another document"),
    ],
)
def test_what_is_no_yaml_has_its_line(document, refused, text, row, what):
    path = document(text)
    refused(
        lambda: load_document(path, Document),
        file=path,
        row=row,
        column=None,
        text=what,
        remedy="Correct the syntax",
    )


def test_an_impossible_date(document, refused):
    path = document("name: 2026-13-01\n")
    refused(
        lambda: load_document(path, Document), file=path, row=None, column=None, text="month must"
    )


@pytest.mark.parametrize("text", ["", "# only a note\n", "- a\n- b\n", "word\n"])
def test_a_document_without_keys(document, refused, text):
    path = document(text)
    refused(lambda: load_document(path, Document), file=path, row=None, column=None, text="no keys")


def test_another_encoding(tmp_path, refused):
    path = tmp_path / "document.yaml"
    path.write_bytes("flag: true\nname: Hôpital\n".encode("latin-1"))
    refused(
        lambda: load_document(path, Document), file=path, row=2, column=None, text="0xf4 is not"
    )


def test_no_file(tmp_path, refused):
    path = tmp_path / "none.yaml"
    refused(
        lambda: load_document(path, Document), file=path, row=None, column=None, text="not exist"
    )


def test_all_faults_come_together(document):
    path = document("nam: a\nflag: maybe\ninner:\n  threshold: 0\n")
    with pytest.raises(InputError) as caught:
        load_document(path, Document)
    assert {(p.row, p.column) for p in caught.value.problems} == {
        (1, "name"),
        (1, "nam"),
        (2, "flag"),
        (4, "inner.threshold"),
    }


def test_a_mapping_without_a_file_has_no_line(refused):
    refused(
        lambda: validate_document({"name": "a", "x": 1}, Document, "config.yaml"),
        file="config.yaml",
        row=None,
        column="x",
        text="not known",
    )


@pytest.mark.parametrize(
    ("location", "line"),
    [((), 1), (("a",), 1), (("b", "c"), 4), (("b", "none"), 3), (("d", 1), 6), (("e",), 1)],
)
def test_the_line_of_a_key(document, line, location):
    assert line_of_key(document("a: 1\n\nb:\n  c: 2\nd: [1,\n  2]\n"), location) == line


def test_variables():
    environment = {"HOME_1": "/data", "EMPTY": ""}
    assert expand_variables("${HOME_1}/a/${EMPTY}b", environment) == "/data/a/b"
    assert expand_variables("$HOME_1/{HOME_1}/50$", environment) == "$HOME_1/{HOME_1}/50$"
    with pytest.raises(ValueError, match="NOWHERE is not set"):
        expand_variables("${HOME_1}/${NOWHERE}", environment)


def test_variables_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("IHDSI_TEST_FOLDER", "/data")
    assert expand_variables("${IHDSI_TEST_FOLDER}/a") == "/data/a"


def test_many_problems_are_numbered_and_the_rest_is_counted():
    error = InputError([Problem("wrong", "Mend it.", "f", row) for row in range(1, 26)])
    lines = str(error).splitlines()
    assert lines[0] == "25 problems in the input:"
    assert lines[20] == "  20. f, row 20: wrong. Mend it."
    assert lines[21:] == ["  … and 5 more"]


def test_an_error_without_a_problem_is_a_mistake():
    with pytest.raises(ValueError, match="at least one problem"):
        InputError([])
