"""The one error that users see when their input is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FaultyFileError", "InputError", "LocalFaultError", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One fault in one input file, with what to do about it.

    Parameters
    ----------
    what
        What is wrong, in one sentence without a final full stop.
    remedy
        What the user should do, as an imperative sentence.
    file
        The file that holds the fault.
    row
        Line number in the file as an editor shows it (the header of a table is line 1).
    column
        Name of the table column, or the dotted key of a YAML document.
    """

    what: str
    remedy: str
    file: Path | str | None = None
    row: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        """Render as ``file, row, column: what. remedy``."""
        place = ", ".join(
            part
            for part in (
                str(self.file) if self.file is not None else "",
                f"row {self.row}" if self.row is not None else "",
                f"column '{self.column}'" if self.column is not None else "",
            )
            if part
        )
        return f"{place + ': ' if place else ''}{self.what}. {self.remedy}"


class InputError(ValueError):
    """Input that the pipeline refuses, before any job has started.

    All problems found in one pass are reported together, so that a sheet is mended in one go.
    """

    shown = 20

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (
            (problems,) if isinstance(problems, Problem) else tuple(problems)
        )
        if not self.problems:
            raise ValueError("InputError needs at least one problem")
        super().__init__(self._message())

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Problem, ...]]]:
        """Travel whole from a process of a pool to its parent."""
        return type(self), (self.problems,)

    def _message(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{len(self.problems)} problems in the input:"]
        lines += [f"  {number}. {p}" for number, p in enumerate(self.problems[: self.shown], 1)]
        if len(self.problems) > self.shown:
            lines.append(f"  … and {len(self.problems) - self.shown} more")
        return "\n".join(lines)


class LocalFaultError(InputError):
    """The machine could not do its part, whatever the input: no space, no memory, no process.

    Nobody's input is to blame, so that nothing is refused or logged as somebody's fault.
    """


class FaultyFileError(ValueError):
    """A file that cannot be used, said by who does not know which row of a sheet names it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        """Render the fault alone."""
        return self.what

    def at(self, file: Path | str | None, row: int | None, column: str) -> Problem:
        """Return the problem with its place."""
        return Problem(self.what, self.remedy, file, row, column)
