"""Describe a bundle as a Workflow Run RO-Crate, for readers that know nothing of this pipeline.

The crate follows RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) and version 0.5 of the Workflow Run
Crate profile (https://w3id.org/ro/wfrun/workflow/0.5), with the profiles on which that one stands.
It says which workflow made which files, when, for whom and with which software. It names the site
and no person, host, user or path: it leaves the hospital like everything else in the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ihdsi.bundle.manifest import WORKFLOW, FileEntry, Manifest, canonical_json

if TYPE_CHECKING:
    from rocrate.model import Entity
    from rocrate.rocrate import ROCrate

__all__ = ["run_crate", "workflow_description"]

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_PIPELINE = "IHDSI cohort pipeline"
_LICENCE = "#access"
_FORMATS = {".parquet": "application/vnd.apache.parquet", ".json": "application/json"}
_SOURCE = "https://www.apache.org/licenses/LICENSE-2.0"


def workflow_description() -> bytes:
    """Return the abstract description of the workflow (Common Workflow Language 1.2)."""
    return files("ihdsi.bundle").joinpath(WORKFLOW).read_bytes()


def run_crate(
    manifest: Manifest,
    *,
    software: Mapping[str, str] | None = None,
    title: str = "",
    permit: str = "",
) -> bytes:
    """Return ``ro-crate-metadata.json`` of a bundle.

    Equal arguments give equal bytes: no clock, no random identifier and no machine is asked.

    Parameters
    ----------
    manifest
        The bundle's manifest, without the crate's own entry. Its `created` becomes the date of
        publication and the end of the run; without it the crate has neither and does not fulfil
        the profile.
    software
        Versions of the programs that were used, by name.
    title
        Title of the study.
    permit
        Under which permit or approval the data were used.
    """
    # Slow to import, and only who writes a bundle needs it.
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    root = crate.root_dataset
    study = f"study {manifest.study} {manifest.study_version}"
    root["name"] = f"Summary statistics of site {manifest.site}, {study}"
    root["description"] = (
        f"Release {manifest.sequence} of site {manifest.site} for {title or study}: statistics "
        "over patients after statistical disclosure control; no patient-level data."
    )
    root["identifier"] = f"{manifest.study_hash}/{manifest.site}/{manifest.sequence}"
    root["conformsTo"] = [
        _entity(crate, identifier, "CreativeWork", name=name, version=identifier.rpartition("/")[2])
        for identifier, name in _PROFILES.items()
    ]
    site = _entity(crate, f"#site-{manifest.site}", "Organization", name=manifest.site)
    root["license"] = _entity(
        crate,
        _LICENCE,
        "CreativeWork",
        name="Conditions of access",
        description=_conditions(title or study, permit),
    )
    root["author"] = root["publisher"] = site
    results = [_file(crate, entry) for entry in manifest.files]
    workflow = _workflow(crate, manifest, software or {})
    run = crate.add_action(
        workflow,
        identifier=f"#run-{manifest.sequence}",
        result=results,
        properties={
            "name": f"Run of the workflow at site {manifest.site}",
            "description": "Summary statistics, disclosure control and the draft of this release",
            "agent": {"@id": site.id},
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    root["mentions"] = run
    # rocrate has entered the present time.
    del root["datePublished"]
    if manifest.created is not None:
        # The validator of the profile knows an offset, and not the Z of the same meaning.
        time = manifest.created.removesuffix("Z") + "+00:00"
        root["datePublished"] = run["startTime"] = run["endTime"] = time
    crate.metadata["conformsTo"] = [
        {"@id": "https://w3id.org/ro/crate/1.1"},
        {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
    ]
    # No term of RO-Crate 1.1, but one of the profile.
    crate.metadata.extra_terms["sha256"] = "https://w3id.org/ro/terms/workflow-run#sha256"
    document: dict[str, Any] = crate.metadata.generate()
    document["@graph"].sort(key=lambda entity: str(entity["@id"]))
    return canonical_json(document)


def _conditions(study: str, permit: str) -> str:
    text = (
        f"For the coordinator of {study} and its purpose only. Attempts to identify patients, and "
        "passing the tables on, are not allowed."
    )
    return f"{text} Used under: {permit}" if permit else text


def _entity(crate: ROCrate, identifier: str, kind: str | list[str], **properties: object) -> Entity:
    from rocrate.model import ContextEntity

    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))


def _file(crate: ROCrate, entry: FileEntry) -> Entity:
    properties: dict[str, object] = {
        "name": entry.table or entry.path,
        "contentSize": str(entry.size),
        "encodingFormat": next(
            kind for suffix, kind in _FORMATS.items() if entry.path.endswith(suffix)
        ),
        "sha256": entry.sha256,
    }
    if entry.table is not None:
        properties["description"] = (
            f"Summary table {entry.table}, version {entry.table_version}, {entry.rows} rows"
        )
    else:
        properties["description"] = "Thresholds of disclosure control, and how much it withheld"
    return crate.add_file(dest_path=entry.path, properties=properties)


def _workflow(crate: ROCrate, manifest: Manifest, software: Mapping[str, str]) -> Entity:
    description = workflow_description()
    workflow: Entity = crate.add_workflow(
        dest_path=WORKFLOW,
        main=True,
        lang="cwl",
        lang_version="v1.2",
        properties={
            "name": "Summary statistics of one hospital's cohort that may leave",
            "description": "Abstract description of the Snakemake workflow that was run",
            "contentSize": str(len(description)),
            "encodingFormat": "text/plain",
            "license": {"@id": _SOURCE},
            "version": manifest.workflow_version,
            "conformsTo": {
                "@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
            },
        },
    )
    _entity(crate, _SOURCE, "CreativeWork", name="Apache License 2.0")
    programs = {**software, _PIPELINE: manifest.workflow_version}
    requirements = []
    for name, version in sorted(programs.items()):
        properties = {"name": name, "softwareVersion": version}
        if name == _PIPELINE and manifest.workflow_commit is not None:
            properties["description"] = f"git commit {manifest.workflow_commit}"
        identifier = f"#software-{quote(name, safe='')}"
        requirements.append(_entity(crate, identifier, "SoftwareApplication", **properties))
    workflow["softwareRequirements"] = requirements[0] if len(requirements) == 1 else requirements
    return workflow
