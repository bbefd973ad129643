"""How commands say what went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ihdsi.errors import InputError

__all__ = ["errors_in_words"]


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Print an error of the input without a traceback and end the command with status 1."""
    try:
        yield
    except (InputError, OSError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
