"""What a summary table is: its columns, their ranges, and what each may disclose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

__all__ = [
    "CONTRAST_COLUMN",
    "ENDPOINT_COLUMN",
    "ENSEMBL_GENE",
    "GENE_COLUMNS",
    "STRATUM_COLUMNS",
    "UNIT_OF_ROW",
    "UNIT_OF_ROW_SQUARED",
    "UNIT_OF_TERMS",
    "WALD_TEST_COLUMNS",
    "Column",
    "Constraint",
    "Predecessor",
    "Role",
    "TableSpec",
]

#: What disclosure control has to know of a column. ``key`` names a row in the study's vocabulary,
#: ``coordinate`` names a place or allele of the genome, ``label`` describes the key from public
#: reference data, ``count`` is a number of patients (or samples, alleles), ``statistic`` is
#: computed from several patients' values.
Role = Literal["key", "coordinate", "label", "count", "statistic"]

#: Stable Ensembl gene identifier without version (Ensembl stable ID documentation).
ENSEMBL_GENE = r"^ENS[A-Z]*G\d{11}$"

#: Units that differ from row to row: the row's column ``unit`` tells, or the model's terms do.
UNIT_OF_ROW = "as `unit`"
UNIT_OF_ROW_SQUARED = "as `unit`, squared"
UNIT_OF_TERMS = "of the terms"


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
    unit
        UCUM code of numbers (``1`` for counts, ratios and logarithms), or one of `UNIT_OF_ROW`,
        `UNIT_OF_ROW_SQUARED`, `UNIT_OF_TERMS`; empty for text.
    description
        Meaning.
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
    unit: str = ""
    description: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers, or lists of them."""
        inner = self.dtype.inner if isinstance(self.dtype, pl.List) else self.dtype
        return inner in (pl.Int64, pl.Float64)


@dataclass(frozen=True)
class Constraint:
    """A relation between columns that every row fulfils (null counts as fulfilled)."""

    column: str
    holds: Callable[[], pl.Expr]
    description: str


@dataclass(frozen=True)
class Predecessor:
    """The version of a table that readers of the next version still accept.

    Parameters
    ----------
    spec
        The whole contract of that version; a file of it is checked against nothing less.
    upgrade
        Makes a frame of that version one of the next. It depends on the frame alone.
    description
        What the upgrade does, for readers of the documentation.
    """

    spec: TableSpec
    upgrade: Callable[[pl.DataFrame], pl.DataFrame]
    description: str


@dataclass(frozen=True)
class TableSpec:
    """One table of the contract between sites and coordinator.

    A reader accepts files of `version`, and of the version before where `predecessor` has it.
    """

    name: str
    version: int
    description: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    constraints: tuple[Constraint, ...] = field(default=())
    predecessor: Predecessor | None = None

    def __post_init__(self) -> None:
        """Refuse a predecessor that is another table or not the version before."""
        before = self.predecessor and self.predecessor.spec
        if before and (before.name, before.version) != (self.name, self.version - 1):
            raise ValueError(f"{before.name} {before.version} does not precede {self.name}")

    def of_version(self, version: object) -> TableSpec | None:
        """Return the contract of a version that readers accept; None for any other."""
        before = None if self.predecessor is None else self.predecessor.spec
        accepted = (self, before) if before is not None else (self,)
        return next((spec for spec in accepted if spec.version == version), None)

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

CONTRAST_COLUMN = Column("contrast", pl.String, "key", description="Contrast of the study.")
ENDPOINT_COLUMN = Column("endpoint", pl.String, "key", description="Endpoint of the study.")

GENE_COLUMNS = (
    Column(
        "gene_id",
        pl.String,
        "key",
        pattern=ENSEMBL_GENE,
        description="Ensembl gene without version.",
    ),
    Column("gene_name", pl.String, "label", description="HGNC symbol."),
)

#: Estimate's standard error and the test of the estimate against zero.
WALD_TEST_COLUMNS = (
    Column(
        "standard_error",
        pl.Float64,
        "statistic",
        nullable=True,
        positive=True,
        unit="1",
        description="Of the estimate; null where that is.",
    ),
    Column(
        "statistic",
        pl.Float64,
        "statistic",
        nullable=True,
        unit="1",
        description="Wald statistic.",
    ),
    Column(
        "p_value",
        pl.Float64,
        "statistic",
        nullable=True,
        minimum=0,
        maximum=1,
        unit="1",
        description="Two-sided, of the Wald test.",
    ),
)
