"""Open a bundle that somebody else made: bounds and hashes before any parsing."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ihdsi.bundle import unpacking
from ihdsi.bundle.foreign_json import first_fault, read_json
from ihdsi.bundle.manifest import (
    CRATE,
    DISCLOSURE,
    FORMAT,
    MANIFEST,
    MANIFEST_ENVELOPE,
    WORKFLOW,
    DisclosureStatement,
    FileEntry,
    Manifest,
    table_path,
)
from ihdsi.errors import InputError, LocalFaultError, Problem
from ihdsi.summaries import TABLES, check_table_footer, read_table_bytes

__all__ = [
    "BUNDLE_FILES",
    "MAXIMUM_BUNDLE_BYTES",
    "MAXIMUM_MANIFEST_BYTES",
    "Bundle",
    "check_tree",
    "open_bundle",
    "parse_document",
    "read_bounded",
]

MAXIMUM_MANIFEST_BYTES = 2**20
#: Disclosure statement, crate and description of the workflow; those of the demo have 10 KiB.
MAXIMUM_DOCUMENT_BYTES = 2**20
#: All files together, as they are in the folder. A million variants by ten strata have some
#: 100 MiB.
MAXIMUM_BUNDLE_BYTES = 2**29
MAXIMUM_TABLE_ROWS = 20_000_000
MAXIMUM_ENTRIES = 100

#: The files that a manifest lists, and the tables that they hold.
BUNDLE_FILES: dict[str, str | None] = {
    DISCLOSURE: None,
    CRATE: None,
    WORKFLOW: None,
    **{table_path(name): name for name in TABLES},
}

_AGAIN = "Ask the site to release the bundle again; nothing of it was used."

Document = TypeVar("Document", bound=BaseModel)


class CrateDocument(BaseModel):
    """All that is asked of a foreign crate: JSON-LD of this form. Nothing of it is interpreted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    context: Any = Field(alias="@context")
    graph: list[dict[str, Any]] = Field(alias="@graph")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; `upgraded` names the tables whose files are of the version before."""

    manifest: Manifest
    disclosure: dict[str, Any]
    tables: dict[str, pl.DataFrame]
    upgraded: tuple[str, ...] = ()


def open_bundle(
    folder: Path | str, study_hash: str, site: str, *, manifest_bytes: bytes | None = None
) -> Bundle:
    """Verify a bundle completely and return its tables.

    In this order: the folder holds regular files at the expected places and nothing else; the
    manifest is small, strict JSON; study and site are the expected ones; it lists exactly the
    files of the contract; sizes; hashes; then the tables are unpacked from the very bytes that
    were hashed, first by a process of bounded memory, and validated against the contract. This
    shows that a bundle is whole and of this study; who made it is said by its signatures, for
    which see `ihdsi.bundle.release`. The envelope ``manifest.dsse.json`` may lie in the folder and
    is not looked at here.

    Parameters
    ----------
    folder
        The bundle.
    study_hash
        Hash of the reader's protocol.
    site
        Site whose bundle this must be.
    manifest_bytes
        The manifest as it was signed; the folder must hold these very bytes.

    Raises
    ------
    InputError
        At the first fault.
    """
    root = Path(folder)
    expected = BUNDLE_FILES
    check_tree(root, {MANIFEST, *expected}, {MANIFEST_ENVELOPE})
    content = read_bounded(root, MANIFEST, MAXIMUM_MANIFEST_BYTES)
    if manifest_bytes is not None and content != manifest_bytes:
        raise _fault(root / MANIFEST, "the manifest is not the one that was signed")
    manifest = parse_document(content, Manifest, root / MANIFEST)
    _check_manifest(manifest, root, study_hash, site, expected)
    contents = {entry.path: _verified(root, entry) for entry in manifest.files}
    parse_document(contents[CRATE], CrateDocument, root / CRATE)
    disclosure = parse_document(contents[DISCLOSURE], DisclosureStatement, root / DISCLOSURE)
    unknown = sorted(set(disclosure.withheld) - set(TABLES))
    if unknown:
        raise _fault(root / DISCLOSURE, f"'{unknown[0][:80]}' is not a summary table")
    entries = {entry.table: entry for entry in manifest.files if entry.table is not None}
    _check_unpacking(root, entries, contents)
    tables: dict[str, pl.DataFrame] = {}
    upgraded: list[str] = []
    for name, entry in entries.items():
        data, path = contents.pop(entry.path), root / entry.path
        try:
            tables[name] = read_table_bytes(data, name, path, entry.rows, entry.table_version)
        except InputError:
            raise
        # Whatever a parser or a check raises at foreign bytes; polars' panics are no Exception.
        except (Exception, pl.exceptions.PanicException) as error:
            raise _fault(path, "the table cannot be validated") from error
        if entry.table_version != TABLES[name].version:
            upgraded.append(name)
    return Bundle(manifest, disclosure.model_dump(mode="json"), tables, tuple(upgraded))


def _check_unpacking(
    root: Path, entries: Mapping[str, FileEntry], contents: Mapping[str, bytes]
) -> None:
    """Refuse tables that this process could not unpack in bounded memory."""
    try:
        failure = unpacking.try_unpacking(
            {name: contents[entry.path] for name, entry in entries.items()},
            memory=unpacking.MAXIMUM_MEMORY,
            unpacked=unpacking.MAXIMUM_UNPACKED_BYTES,
            seconds=unpacking.MAXIMUM_SECONDS,
        )
    except OSError as error:
        raise LocalFaultError(
            Problem(
                f"no process can be started to unpack the tables ({error.strerror})",
                "Make memory and processes available and try again.",
                file=root,
            )
        ) from error
    if failure is None:
        return
    entry = entries[failure.table]
    if failure.stage != "footer":
        # All footers could be read; one that announces something else says more.
        for name, other in entries.items():
            check_table_footer(
                contents[other.path], name, root / other.path, other.rows, other.table_version
            )
    raise _fault(
        root / entry.path,
        {
            "footer": "the file is not readable Parquet",
            "columns": "the columns cannot be read in the memory and time that a bundle may take",
            "size": "the tables are larger than a bundle's may be",
        }[failure.stage],
    )


def _fault(path: Path, what: str, column: str | None = None) -> InputError:
    return InputError(Problem(what, _AGAIN, file=path, column=column))


def check_tree(
    root: Path, expected: Collection[str], allowed: Collection[str] = frozenset()
) -> None:
    """Refuse a folder that holds anything but regular files at the `expected` paths, all of them.

    Files at `allowed` paths may be there. At most `MAXIMUM_ENTRIES` entries are looked at.
    """
    missing = set(expected)
    try:
        for count, (path, mode) in enumerate(_walk(root, root)):
            name = path.relative_to(root).as_posix()
            if count >= MAXIMUM_ENTRIES:
                raise _fault(root, f"the bundle holds more than {MAXIMUM_ENTRIES} entries")
            if stat.S_ISLNK(mode):
                raise _fault(path, "links are not allowed in a bundle")
            if stat.S_ISDIR(mode):
                if name != "tables":
                    raise _fault(path, "the bundle holds a folder that is no part of it")
            elif not stat.S_ISREG(mode):
                raise _fault(path, "only regular files are allowed in a bundle")
            elif name not in missing and name not in allowed:
                raise _fault(path, "the bundle holds a file that is no part of it")
            else:
                missing.discard(name)
    except OSError as error:
        raise _fault(root, f"the bundle cannot be read ({error.strerror})") from error
    if missing:
        raise _fault(root / min(missing), "the bundle lacks this file")


def _walk(root: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            yield Path(entry.path), mode
            # Nothing lies deeper than tables/, so nothing deeper is looked at.
            if stat.S_ISDIR(mode) and folder == root and entry.name == "tables":
                yield from _walk(root, Path(entry.path))


def read_bounded(root: Path, path: str, limit: int) -> bytes:
    """Read at most `limit` bytes of a regular file, without following a link."""
    try:
        handle = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _fault(root / path, f"the file cannot be read ({error.strerror})") from error
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _fault(root / path, "only regular files are allowed in a bundle")
        if status.st_size > limit:
            raise _fault(root / path, f"{status.st_size} bytes; at most {limit} are expected")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise _fault(root / path, f"more than {limit} bytes")
    return data


def parse_document(data: bytes, model: type[Document], path: Path) -> Document:
    """Parse foreign JSON strictly: UTF-8, no NaN, no key twice, and exactly the model's fields.

    Raises
    ------
    InputError
        At the first fault, with `path` as its file.
    """
    try:
        return model.model_validate(read_json(data, len(data), len(data)))
    except ValidationError as error:
        place, what = first_fault(error)
        raise _fault(path, what, place or None) from error
    except ValueError as error:
        raise _fault(path, "the file is not the JSON that a bundle holds") from error


def _check_manifest(
    manifest: Manifest, root: Path, study_hash: str, site: str, expected: dict[str, str | None]
) -> None:
    path = root / MANIFEST
    if manifest.format != FORMAT:
        raise _fault(path, f"format '{manifest.format}', expected '{FORMAT}'", "format")
    if manifest.study_hash != study_hash:
        raise InputError(
            Problem(
                f"the bundle was made under another protocol (study '{manifest.study}' version "
                f"'{manifest.study_version}', hash {manifest.study_hash[:12]}…, expected "
                f"{study_hash[:12]}…)",
                "Site and coordinator need the same study file; release again under it.",
                file=path,
                column="study_hash",
            )
        )
    if manifest.site != site:
        raise _fault(path, f"a bundle of site '{manifest.site}', expected '{site}'", "site")
    listed = [entry.path for entry in manifest.files]
    if sorted(listed) != sorted(expected):
        raise _fault(path, "the listed files are not those of the contract", "files")
    if sum(entry.size for entry in manifest.files) > MAXIMUM_BUNDLE_BYTES:
        raise _fault(path, f"at most {MAXIMUM_BUNDLE_BYTES} bytes are expected", "files")
    for entry in manifest.files:
        name = expected[entry.path]
        if name is None and entry.size > MAXIMUM_DOCUMENT_BYTES:
            what = f"{entry.path}: at most {MAXIMUM_DOCUMENT_BYTES} bytes are expected"
            raise _fault(path, what, "files")
        accepted = (
            entry.table_version is None
            if name is None
            else TABLES[name].of_version(entry.table_version) is not None
        )
        if entry.table != name or not accepted:
            raise _fault(path, f"{entry.path} is listed as another table or version", "files")
        if (entry.rows is None) != (name is None) or (entry.rows or 0) > MAXIMUM_TABLE_ROWS:
            raise _fault(path, f"{entry.path} is listed with an impossible number of rows", "files")


def _verified(root: Path, entry: FileEntry) -> bytes:
    data = read_bounded(root, entry.path, entry.size)
    if len(data) != entry.size:
        raise _fault(root / entry.path, f"{len(data)} bytes, the manifest says {entry.size}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _fault(root / entry.path, "the file's SHA-256 is not the manifest's")
    return data
