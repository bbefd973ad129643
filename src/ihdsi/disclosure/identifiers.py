"""No identifier of a patient, sample or file may stand in what leaves."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.registry import TABLES

__all__ = [
    "refuse_identifiers",
    "refuse_identifiers_in_document",
    "refuse_identifiers_in_parquet",
]

#: Genome coordinates are made of such values whatever the patients are called.
_COORDINATE = r"(?i)^((chr)?([1-9]|1[0-9]|2[0-2]|x|y|m|mt)|[acgtn]+|\*)$"
#: Shorter identifiers are looked for as whole values only: "A1" is part of many gene names.
_TOKEN_LENGTH = 4
_WORD = re.compile(r"[^\W_]+")
#: Longer runs of letters and digits with so many digits in a row are looked for without regard to
#: separators as well: fewer digits are those of gene families ("BRCA-1").
_JOINED_LENGTH = 5
_NUMBER = re.compile(r"\d{3}")
#: With so many letters before its number a name is one wherever letters adjoin it ("xLIH0001").
_LETTERED = re.compile(r"[^\W\d_]{2}")
#: Public accession numbers are no way to write a name without separators, whatever it is: Ensembl,
#: RefSeq, dbSNP, CpG probes, ChEBI and UniProt.
_PUBLIC = (
    r"(?i)^(ens[a-z]*\d{11}(\.\d+)?|[nx][cgmprtw]_\d+(\.\d+)?|rs\d+|c[gh]\d{8}|chebi:\d+"
    r"|([opq]\d[a-z0-9]{3}\d|[a-nr-z]\d([a-z][a-z0-9]{2}\d){1,2})(-\d+)?)$"
)
#: Combining marks, and characters that do not show (soft hyphen, zero-width space, …).
_INVISIBLE = frozenset({"Mn", "Me", "Cf"})
#: Key under which writers of Parquet keep their schema, base64-encoded.
_ARROW_SCHEMA = "ARROW:schema"


def refuse_identifiers(tables: Mapping[str, pl.DataFrame], identifiers: Collection[str]) -> None:
    """Raise if any text of any table is, or contains as words, an identifier of the site.

    Column names, all string values and all elements of string lists are compared, as Unicode's
    compatibility forms without regard to case, accents, invisible characters and the characters
    that separate words: ``LIH-0001``, ``lih_0001`` and full-width letters are the same. An
    identifier of four characters or more is found inside a longer text as well if no letter or
    digit adjoins it. One with letters and a number of three digits or more is found without its
    separators, too, and with letters after it (``LIH0001``, ``LIH-0001a``) or, if it begins with
    two letters, before it; a digit that adjoins its number makes it another name. Chromosome names,
    alleles and, where separators are missing, public accession numbers are not taken for
    identifiers. Look-alike letters of other scripts, and encodings of an identifier, are not seen.

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

    References
    ----------
    Unicode Standard Annex 15 (NFKC, NFKD); The Unicode Standard, section 3.13 (case folding).
    """
    names = _Names(identifiers)
    if not names:
        return
    problems = []
    for table, frame in tables.items():
        where = f"summary table {table}"
        problems += [
            _problem(where, f"column {index + 1} is named like", None, None)
            for index in names.hits(pl.Series(frame.columns, dtype=pl.String))
        ]
        for column, dtype in frame.schema.items():
            if dtype not in (pl.String, pl.List(pl.String)):
                continue
            text = frame.select(text=pl.col(column)).with_row_index("row")
            if dtype == pl.List(pl.String):
                text = text.explode("text")
            spec = TABLES.get(table)
            if spec and column in spec.schema and spec.column(column).role == "coordinate":
                text = text.filter(~pl.col("text").str.contains(_COORDINATE))
            unique = text.drop_nulls("text").unique("text", keep="first", maintain_order=True)
            rows = unique["row"].gather(names.hits(unique["text"]))
            if rows.len():
                problems.append(_problem(where, "the text is", int(rows.min()) + 1, column))  # type: ignore[arg-type]
    if problems:
        raise InputError(problems)


def refuse_identifiers_in_document(
    document: Any,  # noqa: ANN401 - JSON
    identifiers: Collection[str],
    name: str,
) -> None:
    """Raise if a key or a text of a JSON document holds an identifier of the site.

    Parameters
    ----------
    document
        Mappings, lists, texts, numbers.
    identifiers
        Names of patients, samples and files.
    name
        The document's name, for the error.

    Raises
    ------
    InputError
        With the path of the first text that does.
    """
    names, texts = _Names(identifiers), list(_texts(document, ""))
    hits = names.hits(pl.Series([text for _, text in texts], dtype=pl.String)) if names else []
    if hits:
        # Its path names keys before it only, which are no identifiers: it is the first hit.
        place = texts[hits[0]][0] or "the top"
        raise InputError(_problem(name, f"a text at {place} is", None, None))


def refuse_identifiers_in_parquet(path: Path | str, identifiers: Collection[str]) -> None:
    """Raise if the name, the column names or the metadata of a Parquet file hold an identifier.

    The values of the columns are `refuse_identifiers`' part. The schema that writers keep in the
    metadata, base64-encoded, is looked at as well.

    Raises
    ------
    InputError
        If they do.
    """
    path = Path(path)
    metadata = pl.read_parquet_metadata(path)
    document: dict[str, Any] = {
        "name": path.name,
        "columns": list(pl.read_parquet_schema(path)),
        "metadata keys": list(metadata),
        "metadata": list(metadata.values()),
        "schema": _decoded(metadata.get(_ARROW_SCHEMA, "")),
    }
    refuse_identifiers_in_document(document, identifiers, f"file {path.parent.name}/*.parquet")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Texts of a document and where they are; a key is at the place of its mapping."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield path, str(key)
            yield from _texts(inner, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{path}/{index}")


def _problem(where: str, what: str, row: int | None, column: str | None) -> Problem:
    return Problem(
        f"{what}, or contains, the name of a patient, sample or file of this site",
        "Find where the name enters. If it is a coincidence, give the patient or sample a "
        "pseudonym that is no term of the study.",
        file=where,
        row=row,
        column=column,
    )


def _folded(text: str) -> str:
    """Bring a text to the form in which it is compared: its words, one space between them."""
    if "%" in text:
        text = unquote(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
        text = "".join(
            character
            for character in unicodedata.normalize("NFKD", text)
            if unicodedata.category(character) not in _INVISIBLE
        )
    return " ".join(_WORD.findall(text.casefold()))


class _Names:
    """Identifiers, ready to be looked for."""

    def __init__(self, identifiers: Collection[str]) -> None:
        self._whole = sorted({_folded(name) for name in identifiers} - {""})
        self._within = [f" {name} " for name in self._whole if len(name) >= _TOKEN_LENGTH]
        joined = {name.replace(" ", "") for name in self._whole}
        self._joined = sorted(
            name
            for name in joined
            if len(name) >= _JOINED_LENGTH and _NUMBER.search(name) and not name.isdigit()
        )
        # Of names without letters and digits nothing is left but themselves.
        self._literal = sorted(
            {stripped for name in identifiers if (stripped := name.strip()) and not _folded(name)}
        )

    def __bool__(self) -> bool:
        return bool(self._whole or self._literal)

    def hits(self, texts: pl.Series) -> list[int]:
        """Row numbers of texts that are a name, or hold one as words."""
        folded = pl.Series([_folded(text) for text in texts], dtype=pl.String)
        found = folded.is_in(self._whole) | texts.str.strip_chars().is_in(self._literal)
        if self._within:
            found = found | (" " + folded + " ").str.contains_any(self._within)
        if self._joined:
            near = folded.str.replace_all(" ", "", literal=True).str.contains_any(self._joined)
            public = texts.str.strip_chars().str.contains(_PUBLIC)
            for index in (near & ~found & ~public).arg_true():
                found[int(index)] = self._is_joined(folded[int(index)])
        return [int(index) for index in found.arg_true()]

    def _is_joined(self, folded: str) -> bool:
        """Whether a text, given as words, holds a name that is split into words otherwise."""
        text = folded.replace(" ", "")
        starts, place = {0}, 0
        for word in folded.split(" "):
            place += len(word)
            starts.add(place)
        for name in self._joined:
            first = text.find(name)
            while first >= 0:
                last = first + len(name)
                if last not in starts and text[last].isdigit() and name[-1].isdigit():
                    pass  # another number
                elif first in starts:
                    return True
                elif not starts.isdisjoint(range(first + 1, last)):
                    pass  # the end of one word and the beginning of the next
                elif _LETTERED.match(name):
                    return True
                first = text.find(name, first + 1)
        return False
