"""What the documentation says exists: keys, schemas, commands, files, versions."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import ihdsi
from ihdsi.schemas import document_schemas

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "workflow/schemas").glob("*.schema.json"))
PAGES = ("README.md", "config/README.md", "CHANGELOG.md")
#: Written by a run, or by git, so absent from a fresh copy.
MADE_BY_A_RUN = ("results/", "exchange/")

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"\bmake ([a-z][a-z_-]*)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str) -> str:
    """Everything that a page sets as code: fenced blocks and code spans."""
    text = text_of(page)
    spans = CODE_SPAN.findall(FENCE.sub("", text))
    return "\n".join([*FENCE.findall(text), *spans])


def property_names(schema: object) -> Iterator[str]:
    """Names of all properties of a JSON Schema, nested definitions included.

    A `properties` below `properties` is a property of that name, and is followed like any other.
    """
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("properties", "$defs") and isinstance(value, dict):
                if key == "properties":
                    yield from value
                for part in value.values():
                    yield from property_names(part)
            else:
                yield from property_names(value)
    elif isinstance(schema, list):
        for part in schema:
            yield from property_names(part)


def anchors(text: str) -> set[str]:
    """Anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_is_a_schema_of_each_document():
    assert {path.name.removesuffix(".schema.json") for path in SCHEMAS} == set(document_schemas())


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_file_is_that_of_the_models(path):
    name = path.name.removesuffix(".schema.json")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == document_schemas()[name], "run: make schemas"


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_configuration_page_names_every_property(path):
    documented = set(CODE_SPAN.findall(FENCE.sub("", text_of("config/README.md"))))
    names = set(property_names(json.loads(path.read_text(encoding="utf-8"))))
    assert names, "the schema has no properties"
    assert not names - documented


def test_readme_names_make_targets_that_exist():
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z][a-z_-]*):", makefile, re.MULTILINE))
    named = {name for page in PAGES for name in MAKE.findall(code_of(page))}
    assert {"demo", "test"} <= named
    assert not named - targets


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files_and_headings_that_exist(page):
    text = FENCE.sub("", text_of(page))
    broken = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        name = target.relative_to(ROOT).as_posix()
        if name.startswith(MADE_BY_A_RUN):
            continue
        headings = anchors(target.read_text(encoding="utf-8")) if target.suffix == ".md" else set()
        if not target.exists() or (anchor and anchor not in headings):
            broken.append(link)
    assert not broken


def test_files_that_the_readme_names_exist():
    """Code spans that are paths of the project; placeholders and made files are left out."""
    folders = {entry.name for entry in ROOT.iterdir() if entry.is_dir()} - {"results", "exchange"}
    spans = CODE_SPAN.findall(FENCE.sub("", text_of("README.md")))
    paths = {s for s in spans if "/" in s and " " not in s and s.partition("/")[0] in folders}
    assert paths, "the page names no file"
    assert not {p for p in paths if not any(c in p for c in "<*$") and not (ROOT / p).exists()}


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == ihdsi.__version__ == project["version"]
    assert citation["license"] == project["license"]
    assert f"## [{ihdsi.__version__}]" in text_of("CHANGELOG.md")
