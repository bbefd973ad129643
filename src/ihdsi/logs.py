"""Send what a job prints to the log file that its rule names."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import TracebackType

from ihdsi.errors import InputError

__all__ = ["log_to"]


def log_to(path: str) -> None:
    """Redirect stdout, stderr, logging and warnings of this process to `path`.

    The stream is line buffered, so that the log of a job that is killed ends where the job did,
    and uncaught tracebacks land in it because the interpreter prints them to `sys.stderr`. Input
    that a job refuses is said as before a run: the place, the fault and the remedy, no traceback.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    stream = Path(path).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115 - lives as long as the process
    sys.stdout = stream
    sys.stderr = stream
    logging.basicConfig(
        stream=stream, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.captureWarnings(True)
    sys.excepthook = _say


def _say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, InputError):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
