"""Read YAML documents into typed models, with errors that name the line and the key."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ihdsi.errors import InputError, Problem

__all__ = ["expand_variables", "line_of_key", "load_document", "read_text", "validate_document"]

Model = TypeVar("Model", bound=BaseModel)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def read_text(path: Path | str, separator: str = "\t") -> str:
    """Read a UTF-8 file; a missing file or another encoding is an `InputError` naming the row.

    In text whose first line is divided by `separator`, the error names the column as well.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            Problem("the file does not exist", "Correct the path or create the file.", file=path)
        ) from None
    except IsADirectoryError:
        raise InputError(
            Problem("this is a folder, not a file", "Name the file itself.", file=path)
        ) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error counts from behind a byte-order mark; its own object does so too.
        content = error.object
        row = content.count(b"\n", 0, error.start) + 1
        line_start = content.rfind(b"\n", 0, error.start) + 1
        field = content.count(separator.encode(), line_start, error.start)
        header = content.split(b"\n", 1)[0].decode("utf-8", errors="replace").split(separator)
        # The "Unicode text" of spreadsheets is UTF-16; its bytes show no columns.
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        encoding = "UTF-16" if wide else "ISO-8859-1"
        raise InputError(
            Problem(
                f"byte 0x{content[error.start]:02x} is not UTF-8 text",
                f"Save the file as UTF-8 (for example: iconv -f {encoding} -t UTF-8 IN > OUT).",
                file=path,
                row=row,
                column=header[field]
                if field < len(header) and len(header) > 1 and not wide
                else None,
            )
        ) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice, which YAML otherwise resolves silently to the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the base class refuses it, with its place
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' occurs twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads yes/no/on/off as booleans; clinical code lists use these very words as codes.
_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tfTF")
)


def load_document(path: Path | str, model: type[Model]) -> Model:
    """Read a YAML file as `model`.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 or not YAML, repeats a key, or does not fit `model`;
        each problem carries the line and the dotted key.
    """
    path = Path(path)
    text = read_text(path)
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)
        root = yaml.compose(text, Loader=_UniqueKeyLoader)
    # A date such as 2026-13-01 is a ValueError of the standard library.
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(
            Problem(
                f"not valid YAML: {getattr(error, 'problem', error)}",
                "Correct the syntax at this line.",
                file=path,
                row=mark.line + 1 if mark else None,
            )
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(
            Problem("the document holds no keys", "See config/README.md for its keys.", file=path)
        )
    return validate_document(content, model, path, root)


def validate_document(
    content: Mapping[str, Any],
    model: type[Model],
    path: Path | str,
    root: yaml.Node | None = None,
) -> Model:
    """Turn a mapping into `model`; pydantic's complaints become one `InputError`."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [
            Problem(
                what=_sentence(detail),
                remedy="See config/README.md for this key.",
                file=path,
                row=_line_of(root, detail["loc"]),
                column=".".join(str(part) for part in detail["loc"]) or None,
            )
            for detail in error.errors()
        ]
        raise InputError(problems) from None


def _sentence(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "missing":
        return "this required key is missing"
    if kind == "extra_forbidden":
        return "this key is not known"
    message = str(detail["msg"]).removeprefix("Value error, ")
    given = detail.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return message[:1].lower() + message[1:] + shown


def _line_of(root: yaml.Node | None, location: Sequence[str | int]) -> int | None:
    """Line of the deepest node on the way to `location`; a missing key yields its parent's."""
    node = root
    if node is None:
        return None
    line = int(node.start_mark.line) + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = {str(key.value): (key, value) for key, value in node.value}
            if str(part) not in pairs:
                break
            key, node = pairs[str(part)]
            line = int(key.start_mark.line) + 1
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
        else:
            break
    return line


def line_of_key(path: Path | str, location: Sequence[str | int]) -> int | None:
    """Return the line of a key in a YAML file, for problems found after it fitted its model."""
    return _line_of(yaml.compose(read_text(path), Loader=_UniqueKeyLoader), location)


def expand_variables(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace ``${NAME}`` by environment variables; an unset one is a ``ValueError``.

    Only this one form is recognised, so that a path that holds a plain ``$`` stays as it is.
    """
    values = os.environ if environment is None else environment

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise ValueError(f"the environment variable {name} is not set; export it first")
        return values[name]

    return _VARIABLE.sub(replace, text)
