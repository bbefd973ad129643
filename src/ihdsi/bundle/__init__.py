"""Bundles: the only thing that crosses from a site to the coordinator.

A bundle is a folder with ``manifest.json``, ``disclosure.json`` and ``tables/<table>.parquet`` for
every summary table. Bundles are not signed yet: the hashes in the manifest show damage and mixing
of files, not who made them. Signatures will stand beside the manifest, over its bytes.
"""

from ihdsi.bundle.manifest import FORMAT, FileEntry, Manifest
from ihdsi.bundle.open import Bundle, open_bundle
from ihdsi.bundle.provenance import workflow_commit
from ihdsi.bundle.write import write_bundle

__all__ = [
    "FORMAT",
    "Bundle",
    "FileEntry",
    "Manifest",
    "open_bundle",
    "workflow_commit",
    "write_bundle",
]
