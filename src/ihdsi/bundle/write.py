"""Write a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.bundle.manifest import (
    DISCLOSURE,
    FORMAT,
    MANIFEST,
    DisclosureStatement,
    FileEntry,
    Manifest,
    canonical_json,
    table_path,
)
from ihdsi.errors import InputError, Problem
from ihdsi.files import sha256_of, write_text
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
    workflow_version: str,
    workflow_commit: str | None = None,
    created: str | None = None,
) -> Manifest:
    """Write cleared tables as a bundle.

    The same arguments give the same bytes: no clock is read. Files are written one by one, the
    manifest last, so that a bundle that was interrupted does not verify.

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
    created
        Time stamp, if one is wanted in the manifest.

    Raises
    ------
    InputError
        If a table is missing or unknown, does not fulfil its contract, or the folder holds
        files that are no part of a bundle.
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
    _refuse_foreign_files(target, {MANIFEST, DISCLOSURE, *paths.values()})
    statement = DisclosureStatement.model_validate(dict(disclosure)).model_dump(mode="json")
    (target / MANIFEST).unlink(missing_ok=True)
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
    manifest = Manifest(
        format=FORMAT,
        study=study,
        study_version=study_version,
        study_hash=study_hash,
        site=site,
        created=created,
        workflow_version=workflow_version,
        workflow_commit=workflow_commit,
        files=sorted(files, key=lambda entry: entry.path),
    )
    write_text(canonical_json(manifest.model_dump(mode="json")).decode(), target / MANIFEST)
    return manifest


def _entry(folder: Path, path: str) -> FileEntry:
    return FileEntry(
        path=path, sha256=sha256_of(folder / path), size=(folder / path).stat().st_size
    )


def _refuse_foreign_files(folder: Path, own: set[str]) -> None:
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
