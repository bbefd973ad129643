"""Take a released bundle in: everything in it, verified, or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import polars as pl

from ihdsi.bundle import open_bundle
from ihdsi.files import sha256_of, write_text
from ihdsi.summaries import write_table

__all__ = ["accept_bundle"]


def accept_bundle(
    folder: Path | str, study_hash: str, site: str, destination: Path | str
) -> dict[str, object]:
    """Verify a bundle and copy its tables to the coordinator's intake.

    The bundle is verified where it lies, copied beside the destination, and the copy is verified
    again, so that what is read later is what was verified even if the exchange folder changes in
    between. Tables of the version before are written in the present one. Only then does the copy
    replace the destination, in one rename.

    Parameters
    ----------
    folder
        Folder of the bundle in the exchange.
    study_hash
        Hash of the coordinator's protocol; a bundle made under another one is refused.
    site
        Site whose bundle this must be.
    destination
        Intake folder of the site; replaced as a whole.

    Returns
    -------
    dict
        The record that is also written to `accepted.json`: site, study_hash, manifest_sha256,
        manifest, and per table rows and SHA-256.

    Raises
    ------
    InputError
        If the bundle does not verify; the destination stays as it was.
    """
    source, target = Path(folder), Path(destination)
    open_bundle(source, study_hash, site)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".intake-") as scratch:
        copy = Path(scratch) / "bundle"
        shutil.copytree(source, copy, symlinks=True)
        bundle = open_bundle(copy, study_hash, site)
        accepted = Path(scratch) / site
        accepted.mkdir()
        tables = sorted((copy / "tables").glob("*.parquet"))
        for table in tables:
            table.rename(accepted / table.name)
        # What comes after intake knows the present versions only.
        for name in bundle.upgraded:
            write_table(bundle.tables[name], name, accepted / f"{name}.parquet")
        (copy / "disclosure.json").rename(accepted / "disclosure.json")
        record: dict[str, object] = {
            "site": site,
            "study_hash": study_hash,
            "manifest_sha256": sha256_of(copy / "manifest.json"),
            "manifest": json.loads((copy / "manifest.json").read_text(encoding="utf-8")),
            "tables": {
                table.stem: {
                    "rows": pl.scan_parquet(accepted / table.name)
                    .select(pl.len())
                    .collect()
                    .item(),
                    "sha256": sha256_of(accepted / table.name),
                }
                for table in tables
            },
        }
        write_text(
            json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
            accepted / "accepted.json",
        )
        previous = Path(scratch) / "previous"
        if target.exists():
            target.rename(previous)
        try:
            accepted.rename(target)
        except OSError:
            if previous.exists():
                previous.rename(target)
            raise
    return record
