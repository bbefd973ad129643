"""What a bundle says of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from ihdsi.disclosure_terms import WithheldBand
from ihdsi.study import Identifier

__all__ = [
    "CRATE",
    "DISCLOSURE",
    "FORMAT",
    "MANIFEST",
    "MANIFEST_ENVELOPE",
    "MANIFEST_TYPE",
    "MAXIMUM_EARLIER_MANIFESTS",
    "WORKFLOW",
    "DisclosureStatement",
    "FileEntry",
    "Manifest",
    "MembershipStatement",
    "canonical_json",
    "content_sha256",
    "needs_exception",
    "table_path",
]

#: Version of the bundle's layout and manifest.
FORMAT = "ihdsi-bundle-2"
MANIFEST = "manifest.json"
DISCLOSURE = "disclosure.json"
CRATE = "ro-crate-metadata.json"
#: The workflow in abstract steps, without which the crate would describe a run of nothing.
WORKFLOW = "workflow.cwl"
#: The signatures stand beside the manifest, over its bytes; the manifest cannot list them.
MANIFEST_ENVELOPE = "manifest.dsse.json"
MANIFEST_TYPE = "application/vnd.ihdsi.manifest+json"
#: Some 700 KiB of hashes: a daily release for 27 years.
MAXIMUM_EARLIER_MANIFESTS = 10_000

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _existing_second(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return text


Timestamp = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_existing_second),
]


class _Document(BaseModel):
    """Foreign documents are neither coerced nor trusted with keys nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FileEntry(_Document):
    """One file of the bundle; rows, table and table_version are those of a table's file."""

    path: Text
    sha256: Sha256
    size: int = Field(ge=0)
    rows: Annotated[int, Field(ge=0)] | None = None
    table: str | None = None
    table_version: int | None = None


class Manifest(_Document):
    """Content of ``manifest.json``.

    `sequence` numbers the releases of the site from 1, and `earlier_manifests` holds the SHA-256 of
    the manifests 1 … sequence − 1 in their order: a site that goes back to an old state, or tells
    two histories, contradicts what was accepted. `created` is ISO 8601 in UTC, and only there if it
    was given.
    """

    format: Text
    study: Identifier
    study_version: Text
    study_hash: Sha256
    site: Identifier
    sequence: int = Field(ge=1, le=MAXIMUM_EARLIER_MANIFESTS + 1)
    earlier_manifests: list[Sha256] = Field(max_length=MAXIMUM_EARLIER_MANIFESTS)
    created: Timestamp | None = None
    workflow_version: Text
    workflow_commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")] | None = None
    files: list[FileEntry] = Field(max_length=1000)

    @model_validator(mode="after")
    def _is_a_chain(self) -> Manifest:
        if len(self.earlier_manifests) != self.sequence - 1:
            raise ValueError("earlier_manifests does not hold one hash for each earlier release")
        if len(set(self.earlier_manifests)) != len(self.earlier_manifests):
            raise ValueError("earlier_manifests holds a hash twice")
        return self


Rate = Annotated[float, Field(ge=0, le=1)]


class MembershipStatement(_Document):
    """How well a membership attack would do against the site's germline frequencies.

    `n_frequencies` counts what leaves: a row of germline frequencies is one, with genotype counts
    two. `override` says that a steward signed for a `maximum_power` above the study's. Powers are
    those of an attack on this and all earlier releases of the site together. The others are those
    of `ihdsi.disclosure.frequency_release.MembershipPower`.
    """

    n_patients: Annotated[int, Field(ge=1)] | None
    n_frequencies: int = Field(ge=0)
    power_before: Rate
    power_after: Rate
    area_under_curve: Rate
    maximum_power: Rate
    false_positive_rate: Rate
    exceeded_before: bool = False
    override: bool


def needs_exception(membership: Mapping[str, Any]) -> bool:
    """Whether a steward has to say why a release may leave with its membership power.

    Not where earlier releases alone exceed the limit: then nothing that was not known leaves.

    Parameters
    ----------
    membership
        Fields of `MembershipStatement`, as far as they are known.
    """
    power, limit = membership.get("power_after"), membership.get("maximum_power")
    exceeds = power is not None and limit is not None and power > limit
    return bool(membership.get("override")) or (exceeds and not membership.get("exceeded_before"))


class DisclosureStatement(_Document):
    """Content of ``disclosure.json``: thresholds, and how much was withheld by table and rule.

    How much is a band: that one rare variant was withheld would itself tell of a patient.
    `membership` is there where the site has germline frequencies.
    """

    settings: dict[Text, bool | int | float]
    withheld: dict[Text, dict[Text, WithheldBand]]
    membership: MembershipStatement | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `membership` out rather than write null."""
        document: dict[str, Any] = serialise(self)
        return {key: value for key, value in document.items() if value is not None}


def table_path(table: str) -> str:
    """Path of a table inside the bundle."""
    return f"tables/{table}.parquet"


def content_sha256(manifest: Manifest) -> str:
    """Hash what a release says: the study's hash, and path and hash of the tables.

    Times, software, sequence and the crate do not count, nor does the disclosure statement: beside
    an earlier release, the rule that withholds a row can be another than it was at first. Two
    manifests of equal content release the same numbers under the same protocol, so the later one
    has nothing new.
    """
    files = sorted(
        [entry.path, entry.sha256] for entry in manifest.files if entry.table is not None
    )
    content = {"study_hash": manifest.study_hash, "files": files}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def canonical_json(document: Any) -> bytes:  # noqa: ANN401 - JSON
    """Serialise so that equal documents are equal bytes."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
