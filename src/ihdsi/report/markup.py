"""What every page is made with: templates that escape, embedded data, and the security policy."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = [
    "content_security_policy",
    "script_json",
    "template_environment",
    "template_text",
    "visible",
]

#: General categories of Unicode whose characters show nothing, or change the order of what is
#: shown: controls, format characters (zero width, bidirectional), separators of lines.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})


def template_environment() -> jinja2.Environment:
    """Return the environment of the report's templates: all is escaped, nothing undefined."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ihdsi.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template_text(*names: str) -> str:
    """Return the text of style sheets or scripts that lie beside the templates, joined."""
    folder = Path(__file__).parent / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def script_json(value: Any) -> Markup:  # noqa: ANN401 - any JSON
    """Serialise for a script element: no `<` of the data may end or open one."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def visible(text: object) -> str:
    r"""Write characters that a reader would not see as their code, such as `\u{202e}`."""
    return "".join(
        f"\\u{{{ord(character):04x}}}" if unicodedata.category(character) in _UNSEEN else character
        for character in str(text)
    )


def content_security_policy(style: str, script: str | None = None) -> str:
    """State what a page may do: its own style and script, known by their hashes, and nothing else.

    Parameters
    ----------
    style, script
        Content of the page's only style element and of its only script element, if it has one
        (elements with data are not run and need no hash).

    Returns
    -------
    str
        A policy by W3C Content Security Policy Level 3, for a meta element.
    """

    def source(content: str) -> str:
        digest = hashlib.sha256(content.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    parts = ["default-src 'none'", f"style-src {source(style)}"]
    if script is not None:
        parts.append(f"script-src {source(script)}")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])
