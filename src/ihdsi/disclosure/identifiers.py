"""No identifier of a patient, sample or file may stand in what leaves."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.registry import TABLES

__all__ = ["refuse_identifiers"]

#: Genome coordinates are made of such values whatever the patients are called.
_COORDINATE = r"(?i)^((chr)?([1-9]|1[0-9]|2[0-2]|x|y|m|mt)|[acgtn]+|\*)$"
#: Shorter identifiers are looked for as whole values only: "A1" is part of many gene names.
_TOKEN_LENGTH = 4


def refuse_identifiers(tables: Mapping[str, pl.DataFrame], identifiers: Collection[str]) -> None:
    """Raise if any text of any table is, or contains as a word, an identifier of the site.

    Column names, all string values and all elements of string lists are compared, without regard
    to case. An identifier of four characters or more is found inside a longer text as well
    if no letter or digit adjoins it. Chromosome names and alleles are not taken for identifiers.

    Parameters
    ----------
    tables
        Summary tables by name.
    identifiers
        Names of patients, samples and files.

    Raises
    ------
    InputError
        With table, column and row of each hit; the identifier itself is not repeated.
    """
    names = sorted({name.strip().lower() for name in identifiers} - {""})
    if not names:
        return
    problems = []
    for table, frame in tables.items():
        columns = pl.DataFrame({"text": frame.columns}, schema={"text": pl.String})
        problems += [
            _problem(table, f"column {int(row) + 1} is named like", None, None)
            for row in _hits(columns, names)
        ]
        for column, dtype in frame.schema.items():
            if dtype not in (pl.String, pl.List(pl.String)):
                continue
            text = (
                frame.select(text=pl.col(column)).with_row_index("row")
                if dtype == pl.String
                else frame.select(text=pl.col(column)).with_row_index("row").explode("text")
            )
            spec = TABLES.get(table)
            if spec and column in spec.schema and spec.column(column).role == "coordinate":
                text = text.filter(~pl.col("text").str.contains(_COORDINATE))
            unique = text.drop_nulls("text").unique("text", keep="first", maintain_order=True)
            rows = unique["row"].gather(_hits(unique, names))
            if rows.len():
                problems.append(_problem(table, "the text is", int(rows.min()) + 1, column))  # type: ignore[arg-type]
    if problems:
        raise InputError(problems)


def _problem(table: str, what: str, row: int | None, column: str | None) -> Problem:
    return Problem(
        f"{what}, or contains, the name of a patient, sample or file of this site",
        "Find where the name enters this table. If it is a coincidence, give the patient or sample "
        "a pseudonym that is no term of the study.",
        file=f"summary table {table}",
        row=row,
        column=column,
    )


def _hits(texts: pl.DataFrame, names: list[str]) -> list[int]:
    """Row numbers of texts that hold a name."""
    lower = texts["text"].str.strip_chars().str.to_lowercase()
    exact = lower.is_in(names)
    long = [name for name in names if len(name) >= _TOKEN_LENGTH]
    # Plain search over all names at once finds the few candidates that deserve a closer look.
    found = lower.str.contains_any(long) if long else lower.is_in([])
    candidate = found.cast(pl.Boolean) & ~exact
    hits = set(exact.arg_true())
    for index in candidate.arg_true():
        text = lower[int(index)]
        if any(
            name in text and re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text)
            for name in long
        ):
            hits.add(index)
    return sorted(int(index) for index in hits)
