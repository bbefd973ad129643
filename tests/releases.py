"""Candidates and sealed releases of site north, honest and hostile, for tests."""

import hashlib
import json
from collections import Counter

import polars as pl

import signed_bundles as bundles
from ihdsi.bundle import write_bundle
from ihdsi.bundle.manifest import MANIFEST, MANIFEST_ENVELOPE, MANIFEST_TYPE, canonical_json
from ihdsi.bundle.release import (
    SEAL,
    open_release,
    seal_release,
    sealed_name,
    sign_candidate,
)
from ihdsi.bundle.signature import add_signature, sign
from ihdsi.summaries import TABLES, empty_table

STUDY_HASH = "ab" * 32
DISCLOSURE = {
    "settings": {"minimum_n": 10, "zero_cells_allowed": True, "maximum_parameter_share": 0.2},
    "withheld": {"gene_alterations": {"minimum_cell_count": "1 to 9"}},
}
#: How many hostile bundles were tried in this process; told at the end of the tests.
HOSTILE = Counter()
CREATED = "2026-06-01T09:00:00Z"


def tables(mean=3.25):
    """Empty tables, and one row of mutation burden."""
    burden = pl.DataFrame(
        {
            "measure": ["nonsynonymous_mutations"],
            "unit": ["1/Mb"],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n": [40],
            "mean": [mean],
            "variance": [1.5],
        }
    )
    return {name: empty_table(name) for name in TABLES} | {"mutation_burden": burden}


def draft(folder, *, mean=3.25, signer=bundles.NORTH.producer, **changes):
    """Write a candidate of site north with the producer's signature; return its manifest."""
    arguments = {
        "study": bundles.STUDY,
        "study_version": "1.0",
        "study_hash": STUDY_HASH,
        "site": "north",
        "workflow_version": "0.1.0",
        "workflow_commit": "c" * 40,
        "created": CREATED,
    } | changes
    manifest = write_bundle(folder, tables(mean), DISCLOSURE, **arguments)
    sign_candidate(folder, signer)
    return manifest


def publish(candidate, exchange, **changes):
    """Add the steward's signature to a candidate and seal it."""
    arguments = {
        "steward": bundles.NORTH.steward,
        "sender": bundles.NORTH.transport,
        "recipient": bundles.COORDINATOR.public,
    } | changes
    return seal_release(candidate, exchange, **arguments)


def opened(exchange, working, **changes):
    arguments = {
        "store": bundles.trust_store(),
        "study": bundles.STUDY,
        "study_hash": STUDY_HASH,
        "site": "north",
        "recipient": bundles.COORDINATOR,
        "on": bundles.TODAY,
        "working": working,
    } | changes
    return open_release(exchange, **arguments)


def files_of(folder):
    """Content of each file of a folder by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def relisted(files, **changes):
    """The files with a manifest that lists them as they are, `changes` apart."""
    document = json.loads(files[MANIFEST])
    for entry in document["files"]:
        content = files[entry["path"]]
        entry["size"], entry["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    return files | {MANIFEST: canonical_json(document | changes)}


def resigned(files, first=bundles.NORTH.producer, second=bundles.NORTH.steward):
    """The files with both signatures over their manifest, whatever that is."""
    envelope = sign(files[MANIFEST], MANIFEST_TYPE, first)
    return files | {MANIFEST_ENVELOPE: add_signature(envelope, MANIFEST_TYPE, second)}


def put(exchange, files, **changes):
    """Seal any files as a hostile site with valid keys can; `changes` are fields of the seal."""
    archive = bundles.archive(bundles.members(files))
    put_archive(exchange, archive, files.get(MANIFEST, b""), **changes)


def put_archive(exchange, archive, manifest=b"", steward=bundles.NORTH.steward, **changes):
    """Seal any bytes in place of the archive."""
    ciphertext = bundles.encrypted(archive)
    fields = {"manifest_sha256": hashlib.sha256(manifest).hexdigest()} | changes
    document = bundles.document(archive, ciphertext, **fields)
    exchange.mkdir(parents=True, exist_ok=True)
    (exchange / sealed_name(document["sequence"])).write_bytes(ciphertext)
    (exchange / SEAL).write_bytes(bundles.signed(canonical_json(document), steward))
