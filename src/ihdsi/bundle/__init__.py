"""Bundles: the only thing that crosses from a site to the coordinator.

A bundle is a folder with ``manifest.json``, ``disclosure.json``, ``tables/<table>.parquet`` for
every summary table, and a description of the run (``ro-crate-metadata.json``, ``workflow.cwl``).
The hashes in the manifest show damage and mixing of files; the signatures in
``manifest.dsse.json``, over the manifest's bytes, show who made and who approved it. A release is
a bundle with both signatures, sealed for the coordinator (`ihdsi.bundle.release`).
"""

from ihdsi.bundle.manifest import FORMAT, FileEntry, Manifest, content_sha256
from ihdsi.bundle.open import Bundle, open_bundle
from ihdsi.bundle.provenance import workflow_commit
from ihdsi.bundle.write import write_bundle

__all__ = [
    "FORMAT",
    "Bundle",
    "FileEntry",
    "Manifest",
    "content_sha256",
    "open_bundle",
    "workflow_commit",
    "write_bundle",
]
