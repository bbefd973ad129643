"""What a bundle says of itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ihdsi.disclosure_terms import WithheldBand
from ihdsi.study import Identifier

__all__ = [
    "DISCLOSURE",
    "FORMAT",
    "MANIFEST",
    "DisclosureStatement",
    "FileEntry",
    "Manifest",
    "canonical_json",
    "table_path",
]

#: Version of the bundle's layout and manifest.
FORMAT = "ihdsi-bundle-1"
MANIFEST = "manifest.json"
DISCLOSURE = "disclosure.json"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Document(BaseModel):
    """Foreign documents are neither coerced nor trusted with keys nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileEntry(_Document):
    """One file of the bundle; rows, table and table_version are those of a table's file."""

    path: Text
    sha256: Sha256
    size: int = Field(ge=0)
    rows: Annotated[int, Field(ge=0)] | None = None
    table: str | None = None
    table_version: int | None = None


class Manifest(_Document):
    """Content of ``manifest.json``; `created` is ISO 8601, and only there if it was given."""

    format: Text
    study: Identifier
    study_version: Text
    study_hash: Sha256
    site: Identifier
    created: Text | None = None
    workflow_version: Text
    workflow_commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")] | None = None
    files: list[FileEntry] = Field(max_length=1000)


class DisclosureStatement(_Document):
    """Content of ``disclosure.json``: thresholds, and how much was withheld by table and rule.

    How much is a band: that one rare variant was withheld would itself tell of a patient.
    """

    settings: dict[Text, bool | int | float]
    withheld: dict[Text, dict[Text, WithheldBand]]


def table_path(table: str) -> str:
    """Path of a table inside the bundle."""
    return f"tables/{table}.parquet"


def canonical_json(document: Any) -> bytes:  # noqa: ANN401 - JSON
    """Serialise so that equal documents are equal bytes."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
