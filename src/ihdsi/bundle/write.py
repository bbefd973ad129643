"""Write a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from ihdsi.bundle.crate import run_crate, workflow_description
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
    canonical_json,
    table_path,
)
from ihdsi.errors import InputError, Problem
from ihdsi.files import PARTIAL, sha256_of, write_text
from ihdsi.summaries import TABLES, write_table

__all__ = ["write_bundle"]


def write_bundle(
    folder: Path | str,
    tables: Mapping[str, pl.DataFrame],
    disclosure: Mapping[str, Any],
    *,
    study: str,
    study_version: str,
    study_hash: str,
    site: str,
    sequence: int = 1,
    earlier_manifests: Sequence[str] = (),
    workflow_version: str,
    workflow_commit: str | None = None,
    created: str | None = None,
    software: Mapping[str, str] | None = None,
    title: str = "",
    permit: str = "",
) -> Manifest:
    """Write cleared tables as a bundle without signatures.

    The same arguments give the same bytes: no clock is read. Files are written one by one, the
    manifest last, so that a bundle that was interrupted does not verify. Signatures of an earlier
    bundle in the folder are removed first.

    Parameters
    ----------
    folder
        Target; it may hold an earlier bundle, which is replaced, and nothing else.
    tables
        All summary tables of the contract, cleared.
    disclosure
        Result of `ihdsi.disclosure.disclosure_summary`.
    study, study_version, study_hash, site
        Protocol and producer.
    workflow_version, workflow_commit
        Software that made the tables.
    sequence
        Number of this release among those of the site, from 1.
    earlier_manifests
        SHA-256 of the manifests of the releases before, in their order.
    created
        Time of the draft, ISO 8601 in UTC to the second (``2026-11-25T09:00:00Z``). Without it
        the bundle's crate has no date and is then not complete.
    software
        Versions of the programs that made the tables, by name; for the crate.
    title
        Title of the study; for the crate.
    permit
        Under which permit or approval the data were used; for the crate.

    Raises
    ------
    InputError
        If a table is missing or unknown, does not fulfil its contract, the folder holds files
        that are no part of a bundle, or the manifest would not be valid.
    """
    target = Path(folder)
    if set(tables) != set(TABLES):
        difference = ", ".join(sorted(set(tables) ^ set(TABLES)))
        raise InputError(
            Problem(
                f"a bundle holds every table of the contract and no other; see: {difference}",
                "Give the cleared tables as disclosure control returns them.",
                file=target,
            )
        )
    paths = {name: table_path(name) for name in TABLES}
    _refuse_foreign_files(
        target, {MANIFEST, MANIFEST_ENVELOPE, CRATE, WORKFLOW, DISCLOSURE, *paths.values()}
    )
    statement = DisclosureStatement.model_validate(dict(disclosure)).model_dump(mode="json")
    document: dict[str, Any] = {
        "format": FORMAT,
        "study": study,
        "study_version": study_version,
        "study_hash": study_hash,
        "site": site,
        "sequence": sequence,
        "earlier_manifests": list(earlier_manifests),
        "created": created,
        "workflow_version": workflow_version,
        "workflow_commit": workflow_commit,
    }
    # Before anything is written or removed: a manifest that no reader accepts is not begun.
    _manifest(document, [], target)
    for old in (MANIFEST_ENVELOPE, MANIFEST):
        (target / old).unlink(missing_ok=True)
    for name, path in paths.items():
        write_table(tables[name], name, target / path)
    write_text(canonical_json(statement).decode(), target / DISCLOSURE)
    files = [_entry(target, DISCLOSURE)] + [
        _entry(target, path).model_copy(
            update={
                "rows": tables[name].height,
                "table": name,
                "table_version": TABLES[name].version,
            }
        )
        for name, path in paths.items()
    ]
    crate = run_crate(
        _manifest(document, files, target), software=software or {}, title=title, permit=permit
    )
    write_text(crate.decode(), target / CRATE)
    write_text(workflow_description().decode(), target / WORKFLOW)
    files += [_entry(target, CRATE), _entry(target, WORKFLOW)]
    manifest = _manifest(document, files, target)
    write_text(canonical_json(manifest.model_dump(mode="json")).decode(), target / MANIFEST)
    return manifest


def _manifest(document: Mapping[str, Any], files: Sequence[FileEntry], folder: Path) -> Manifest:
    try:
        return Manifest(**document, files=sorted(files, key=lambda entry: entry.path))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            Problem(
                f"the manifest would not be valid: {first['msg']}",
                "Correct the argument.",
                file=folder / MANIFEST,
                column=".".join(str(part) for part in first["loc"]) or None,
            )
        ) from None


def _entry(folder: Path, path: str) -> FileEntry:
    return FileEntry(
        path=path, sha256=sha256_of(folder / path), size=(folder / path).stat().st_size
    )


def _refuse_foreign_files(folder: Path, own: set[str]) -> None:
    # What a draft that was killed had not renamed yet (see ihdsi.files.atomic_output).
    for partial in folder.rglob(f"{PARTIAL}*"):
        partial.unlink()
    foreign = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink()
        or (not path.is_dir() and path.relative_to(folder).as_posix() not in own)
    )
    if foreign:
        raise InputError(
            Problem(
                f"the folder holds files that are no part of a bundle: {', '.join(foreign[:5])}",
                "Move them away; only released files may lie in the exchange.",
                file=folder,
            )
        )
