"""What a spreadsheet does to a sheet is refused with the row and the column, not guessed at."""

import pytest

from ihdsi.delimited import fields_of_line, line_of_path, read_delimited
from ihdsi.errors import InputError


@pytest.fixture
def sheet(tmp_path):
    return tmp_path / "sheet.tsv"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    "content",
    ["a\tb\n1\t2\n3\t\n", "a\tb\n1\t2\n3\t", "\ufeffa\tb\n1\t2\n3\t\n", 'a\tb\n"1"\t2\n3\t""\n'],
    ids=["plain", "no last line end", "byte-order mark", "quoted"],
)
def test_a_good_sheet(sheet, content):
    write(sheet, content)
    table = read_delimited(sheet)
    assert table.columns == ("a", "b")
    assert [row.values for row in table.rows] == [{"a": "1", "b": "2"}, {"a": "3", "b": ""}]
    assert [row.line for row in table.rows] == [2, 3]


@pytest.mark.parametrize("separator", [",", ";"])
def test_other_separators(sheet, separator):
    write(sheet, f"a{separator}b\n1,5\t{separator}2\n".replace("1,5\t", "x"))
    assert read_delimited(sheet, separator).rows[0].values == {"a": "x", "b": "2"}


def test_lines_are_those_of_an_editor(sheet):
    # Blank lines are skipped but counted, and so are the lines inside a quoted value.
    write(sheet, 'a\tb\n\n1\t"two\nlines"\n\n5\t6\n')
    assert [row.line for row in read_delimited(sheet).rows] == [3, 6]


def test_a_fault_behind_a_value_of_two_lines_has_its_row(sheet, refused):
    write(sheet, 'a\tb\n1\t"two\nlines"\n3\tx \n')
    refused(lambda: read_delimited(sheet), file=sheet, row=4, column="b", text="'x '")


@pytest.mark.parametrize(
    ("content", "row", "column", "text", "remedy"),
    [
        ("", None, None, "empty", "header line"),
        ("\ufeff", None, None, "empty", "header line"),
        ("\n\n", None, None, "empty", "header line"),
        ("a\tb\n", 1, None, "no rows", "one line per record"),
        ("a\tb", 1, None, "no rows", "one line per record"),
        ("a\tb\n\n\n", 1, None, "no rows", "one line per record"),
        ("a\tb\r\n1\t2\r\n", 1, "b", "Windows line ends", "sed -i"),
        ("a\tb\n1\t2\r\n3\t4\n", 2, "b", "Windows line ends", "sed -i"),
        ("a\tb\n1\t2\n3\r\t4\n", 3, "b", "carriage return", "sed -i"),
        ("a\tb \n1\t2\n", 1, "b", "'b '", "Delete the surrounding spaces"),
        ("a\t b\n1\t2\n", 1, "b", "' b'", "Delete the surrounding spaces"),
        ("a\tb\n1\t2\n3\t4 \n", 3, "b", "'4 '", "Delete the surrounding spaces"),
        ("a\tb\n 1\t2\n", 2, "a", "' 1'", "Delete the surrounding spaces"),
        ("a\tb\n1\u00a0\t2\n", 2, "a", "white space", "Delete the surrounding spaces"),
        ("a\tb\n1\t2\n3\n", 3, None, "1 fields where the header has 2", "Fill the row"),
        ("a\tb\n1\t2\t3\n", 2, None, "3 fields where the header has 2", "Fill the row"),
        ("a\t\tb\n1\t2\t3\n", 1, None, "column number 2 has no name", "Name or remove"),
        ("a\tb\t\n1\t2\t\n", 1, None, "column number 3 has no name", "Name or remove"),
        ("a\tb\ta\n1\t2\t3\n", 1, "a", "occurs twice", "Remove or rename"),
        ("a,b\n1,2\n", 1, None, "no tab", "tab-separated"),
        ("a;b\n1;2\n", 1, None, "no tab", "tab-separated"),
        ('a\tb\n1\t2\n"3\t4\n5\t6\n', 3, None, "quoted value is not closed", "quotation mark"),
        ('a\tb\n"1" mm\t2\n', 2, None, "quoted value is not closed", "quotation mark"),
    ],
)
def test_faults_are_refused_with_their_place(sheet, refused, content, row, column, text, remedy):
    write(sheet, content)
    refused(
        lambda: read_delimited(sheet), file=sheet, row=row, column=column, text=text, remedy=remedy
    )


def test_a_stray_quotation_mark_in_a_large_sheet(sheet, refused):
    # The reader's limit on the length of a value is no traceback either.
    write(sheet, 'a\tb\n1\t"2\n' + "3\t4\n" * 50_000)
    refused(lambda: read_delimited(sheet), file=sheet, row=2, column=None, text="not closed")


@pytest.mark.parametrize(
    ("content", "separator", "row", "column", "byte"),
    [
        (b"a\tb\n1\t2\n3\t\xe9\n", "\t", 3, "b", "0xe9"),
        (b"a\tb\n\xe9t\xe9\t2\n", "\t", 2, "a", "0xe9"),
        (b"a\t\xe2ge\n1\t2\n", "\t", 1, "\ufffdge", "0xe2"),
        (b"\xef\xbb\xbfa\tb\n1\t\xfc\n", "\t", 2, "b", "0xfc"),
        (b"a;b;c\n1;2;3\n1;D\xe9c\xe8s;3\n", ";", 3, "b", "0xe9"),
        (b"a,b\n1,\xe9", ",", 2, "b", "0xe9"),
    ],
    ids=["value", "first column", "header", "byte-order mark", "semicolons", "commas"],
)
def test_another_encoding_names_row_and_column(
    sheet, refused, content, separator, row, column, byte
):
    write(sheet, content)
    refused(
        lambda: read_delimited(sheet, separator),
        file=sheet,
        row=row,
        column=column,
        text=f"byte {byte} is not UTF-8",
        remedy="iconv",
    )


def test_utf_16_of_a_spreadsheet(sheet, refused):
    sheet.write_text("a\tb\n1\t2\n", encoding="utf-16")
    refused(
        lambda: read_delimited(sheet),
        file=sheet,
        row=1,
        column=None,
        text="not UTF-8",
        remedy="iconv -f UTF-16",
    )


def test_no_file_and_a_folder(tmp_path, refused):
    for name, text in (("none.tsv", "does not exist"), (".", "folder")):
        path = tmp_path / name
        refused(lambda path=path: read_delimited(path), file=path, row=None, column=None, text=text)


def test_all_faults_of_the_rows_come_together(sheet):
    write(sheet, "a\tb\n 1\t2\n3\n4\t5 \n")
    with pytest.raises(InputError, match="3 problems in the input") as caught:
        read_delimited(sheet)
    assert [p.row for p in caught.value.problems] == [2, 3, 4]


def test_the_line_that_names_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDER", "/data")
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("sample\tbam\nA\ta.bam\nB\t${FOLDER}/b.bam\n")
    assert line_of_path(sheet, "bam", "a.bam") == 2
    assert line_of_path(sheet, "bam", "/data/b.bam") == 3
    assert line_of_path(sheet, "bam", "c.bam") is None
    assert line_of_path(sheet, "vcf", "a.bam") is None
    assert line_of_path(tmp_path / "absent.tsv", "bam", "a.bam") is None
    monkeypatch.delenv("FOLDER")
    assert line_of_path(sheet, "bam", "c.bam") is None


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('a\t"b\tc"\t\r\n', ["a", "b\tc", ""]),
        ('"a ""quoted"" b"\t5"\n', ['a "quoted" b', '5"']),
        ("\n", []),
    ],
)
def test_fields_of_one_line(line, fields):
    assert fields_of_line(line, "\t") == fields


@pytest.mark.parametrize("line", ['a\t"b\n', 'a\t"b"c\td\n'])
def test_a_quotation_mark_has_to_close_in_its_line(line):
    with pytest.raises(ValueError, match="not closed properly"):
        fields_of_line(line, "\t")
