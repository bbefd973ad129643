"""What a summary table is: its columns, their ranges, and what each may disclose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

__all__ = ["ENSEMBL_GENE", "STRATUM_COLUMNS", "Column", "Constraint", "Role", "TableSpec"]

#: What disclosure control has to know of a column. ``key`` names a row in the study's vocabulary,
#: ``coordinate`` names a place or allele of the genome, ``label`` describes the key from public
#: reference data, ``count`` is a number of patients (or samples, alleles), ``statistic`` is
#: computed from several patients' values.
Role = Literal["key", "coordinate", "label", "count", "statistic"]

#: Stable Ensembl gene identifier without version (Ensembl stable ID documentation).
ENSEMBL_GENE = r"^ENS[A-Z]*G\d{11}$"


@dataclass(frozen=True)
class Column:
    """One column of a summary table.

    Parameters
    ----------
    name, dtype
        Name and polars type; nothing is coerced.
    role
        How disclosure control treats the column.
    nullable
        Whether a value may be missing (not estimable, not known, or withheld).
    minimum, maximum
        Inclusive range of numbers.
    positive
        Whether numbers must exceed zero.
    pattern
        Regular expression that strings must match.
    allowed
        The only values that strings may take.
    description
        Meaning and unit.
    """

    name: str
    dtype: Any
    role: Role
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    positive: bool = False
    pattern: str | None = None
    allowed: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Constraint:
    """A relation between columns that every row fulfils (null counts as fulfilled)."""

    column: str
    holds: Callable[[], pl.Expr]
    description: str


@dataclass(frozen=True)
class TableSpec:
    """One table of the contract between sites and coordinator."""

    name: str
    version: int
    description: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    constraints: tuple[Constraint, ...] = field(default=())

    @property
    def schema(self) -> dict[str, Any]:
        """Column names to polars types, in order."""
        return {column.name: column.dtype for column in self.columns}

    def column(self, name: str) -> Column:
        """Return the column of that name."""
        return next(column for column in self.columns if column.name == name)


STRATUM_COLUMNS = (
    Column("stratum_variable", pl.String, "key", description="Clinical variable, or all."),
    Column("stratum", pl.String, "key", description="Level of the variable, or all."),
)
