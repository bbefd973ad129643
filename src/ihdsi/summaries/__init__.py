"""The summary tables that may leave a site: their contract and how they are built.

Importing this package is light, because a workflow only needs the names of the tables; pandera,
PyDESeq2 and scipy are imported by the functions that use them.
"""

from ihdsi.summaries.parquet import (
    check_table_footer,
    empty_table,
    read_table,
    read_table_bytes,
    validate_table,
    write_table,
)
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.table import Column, TableSpec

__all__ = [
    "TABLES",
    "Column",
    "TableSpec",
    "check_table_footer",
    "empty_table",
    "read_table",
    "read_table_bytes",
    "validate_table",
    "write_table",
]
