"""JSON Schemas of the documents that users write, made from the typed models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ihdsi.clinical.codebook import Codebook
from ihdsi.files import write_text
from ihdsi.sheets import ENTRIES_OF_ASSAY, NAME, OPTIONAL_COLUMNS, REQUIRED_COLUMNS, TISSUES
from ihdsi.study import RunConfig, Site, Study

__all__ = ["document_schemas", "write_schemas"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def document_schemas() -> dict[str, dict[str, Any]]:
    """Build the schema of each document (JSON Schema 2020-12), by name.

    Returns
    -------
    dict
        config, study, site, codebook (YAML documents) and samples (one row of a sample sheet).
    """
    models: dict[str, type[BaseModel]] = {
        "config": RunConfig,
        "study": Study,
        "site": Site,
        "codebook": Codebook,
    }
    schemas = {name: model.model_json_schema() for name, model in models.items()}
    return {
        name: {"$schema": DIALECT, **schema}
        for name, schema in {**schemas, "samples": _sample_row_schema()}.items()
    }


def _sample_row_schema() -> dict[str, Any]:
    name = {"type": "string", "pattern": f"^{NAME.pattern}$"}
    properties: dict[str, Any] = {
        column: {"type": "string"} for column in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    }
    properties |= {
        "patient": name,
        "sample": name,
        "tissue": {"enum": list(TISSUES)},
        "assay": {"enum": list(ENTRIES_OF_ASSAY)},
    }
    return {
        "title": "Sample sheet",
        "description": "One row of a sample sheet: a sample, or one lane of a FASTQ sample.",
        "type": "object",
        "properties": properties,
        "required": list(REQUIRED_COLUMNS),
        "additionalProperties": False,
    }


def write_schemas(folder: Path | str) -> None:
    """Write each schema as ``<folder>/<name>.schema.json``."""
    for name, schema in document_schemas().items():
        write_text(
            json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
            Path(folder) / f"{name}.schema.json",
        )
