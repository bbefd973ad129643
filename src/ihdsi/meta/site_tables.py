"""Read accepted tables of several sites."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

__all__ = ["read_site_tables"]


def read_site_tables(paths: Iterable[Path | str]) -> dict[str, pl.DataFrame]:
    """Read one accepted table of several sites; the site is the name of the table's folder."""
    return {Path(path).parent.name: pl.read_parquet(path) for path in paths}
