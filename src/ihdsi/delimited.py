"""Strict reading of delimited text: what a spreadsheet did to a sheet is said, not guessed at."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ihdsi.errors import InputError, Problem
from ihdsi.yaml_documents import expand_variables, read_text

__all__ = ["DelimitedTable", "Row", "fields_of_line", "line_of_path", "read_delimited"]


@dataclass(frozen=True)
class Row:
    """One record with the line number that an editor shows for it."""

    line: int
    values: dict[str, str]


@dataclass(frozen=True)
class DelimitedTable:
    """The header and the records of a delimited text file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_delimited(path: Path | str, separator: str = "\t") -> DelimitedTable:
    r"""Read UTF-8 delimited text whose first line is the header.

    Raises
    ------
    InputError
        If the file is absent, not UTF-8, empty, has Windows line ends, an unnamed or repeated
        column, a row with another number of fields, an unbalanced quotation mark, or white space
        around a value. White space and ``\r`` are refused rather than stripped, because every
        other tool that reads the same sheet would see them as part of an identifier.
    """
    path = Path(path)
    text = read_text(path, separator)
    _refuse_windows_line_ends(path, text, separator)
    records = _records(path, text, separator)
    if not records:
        raise InputError(
            Problem("the sheet is empty", "Write a header line and one line per record.", file=path)
        )
    header = tuple(records[0][1])
    problems = _header_problems(path, header, separator)
    if problems:
        raise InputError(problems)
    rows = []
    for line, record in records[1:]:
        if len(record) != len(header):
            problems.append(
                Problem(
                    f"{len(record)} fields where the header has {len(header)}",
                    "Fill the row to the same number of columns (an empty value is fine).",
                    file=path,
                    row=line,
                )
            )
            continue
        problems += [
            Problem(
                f"the value {value!r} has white space at its start or end",
                "Delete the surrounding spaces.",
                file=path,
                row=line,
                column=column,
            )
            for column, value in zip(header, record, strict=True)
            if value != value.strip()
        ]
        rows.append(Row(line, dict(zip(header, record, strict=True))))
    if problems:
        raise InputError(problems)
    if not rows:
        raise InputError(
            Problem(
                "the sheet has a header but no rows", "Write one line per record.", file=path, row=1
            )
        )
    return DelimitedTable(path, header, tuple(rows))


def fields_of_line(line: str, separator: str) -> list[str]:
    r"""Split one line of delimited text; a quoted value may hold the separator.

    Raises
    ------
    ValueError
        If a quoted value does not end in the line, or goes on behind its quotation mark.
    """
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"a quoted value is not closed properly: {error}") from None


def _records(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the records that are not blank, each with the line on which it begins."""
    # The module splits on bare new lines only once "\r" has been refused.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records = []
    line = 1
    try:
        for record in reader:
            if record:
                records.append((line, record))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            Problem(
                f"a quoted value is not closed properly ({error})",
                "Delete the quotation mark, or write it as two inside a quoted value.",
                file=path,
                row=line,
            )
        ) from None
    return records


def _refuse_windows_line_ends(path: Path, text: str, separator: str) -> None:
    position = text.find("\r")
    if position < 0:
        return
    header = text.split("\n", 1)[0].rstrip("\r").split(separator)
    raise InputError(
        Problem(
            "the file has Windows line ends (carriage returns)",
            f"Convert it, for example: sed -i 's/\\r$//' {path}",
            file=path,
            row=text.count("\n", 0, position) + 1,
            column=header[-1],
        )
    )


def _header_problems(path: Path, header: tuple[str, ...], separator: str) -> list[Problem]:
    problems = []
    seen: set[str] = set()
    for number, name in enumerate(header, 1):
        if name != name.strip():
            problems.append(
                Problem(
                    f"the column name {name!r} has white space at its start or end",
                    "Delete the surrounding spaces.",
                    file=path,
                    row=1,
                    column=name.strip(),
                )
            )
        elif not name:
            problems.append(
                Problem(f"column number {number} has no name", "Name or remove it.", path, 1)
            )
        elif name in seen:
            problems.append(
                Problem("the column occurs twice", "Remove or rename one.", path, 1, name)
            )
        seen.add(name.strip())
    if len(header) == 1 and separator == "\t" and ("," in header[0] or ";" in header[0]):
        problems.append(
            Problem(
                "the header holds no tab", "Save the sheet as tab-separated text (TSV).", path, 1
            )
        )
    return problems


def line_of_path(table: Path | str, column: str, path: str) -> int | None:
    """Find the line of a sheet that names a file.

    Jobs look it up when they begin instead of being told, because a line number among a rule's
    parameters would run the job anew, and all that follows, when a row is added above.

    Returns
    -------
    int or None
        The line as an editor shows it; None where the sheet does not name the file (any more).
    """
    try:
        rows = read_delimited(table).rows
        return next(
            (r.line for r in rows if expand_variables(r.values.get(column, "")) == path), None
        )
    except ValueError:
        return None
