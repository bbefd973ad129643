"""JSON that somebody else wrote: bounded before it is parsed, and strict."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

__all__ = ["first_fault", "read_json"]


def read_json(data: bytes, limit: int, brackets: int) -> Any:  # noqa: ANN401 - JSON
    """Parse foreign JSON whose size and number of brackets, thus nesting, are bounded before.

    Raises
    ------
    ValueError
        If a bound is passed, a key stands twice, or the bytes are not JSON in UTF-8.
    """
    if len(data) > limit:
        raise ValueError(f"more than {limit} bytes")
    if data.count(b"[") + data.count(b"{") > brackets:
        raise ValueError("nested deeper than any such document")

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            raise ValueError("a key stands twice")
        return document

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested deeper than any such document") from None


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return the place of a model's first fault (at most 80 characters), and what it is."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"])[:80], first["msg"]
