"""Tie the patients whom a candidate counts to that candidate.

The ledger keeps whom a release counted, and later releases are compared with it. The table of these
patients stays at the site, so that the bundle's manifest cannot name it. Therefore the producer
signs a document beside the candidate's folder, not in it, that holds the SHA-256 of the manifest
and that of the table's file (a DSSE envelope, as the manifest's). It never leaves the site.
"""

from __future__ import annotations

import hashlib
import io
from datetime import date
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from ihdsi.bundle.foreign_json import read_json
from ihdsi.bundle.manifest import MANIFEST, canonical_json
from ihdsi.bundle.open import read_bounded
from ihdsi.bundle.signature import MAXIMUM_ENVELOPE_BYTES, sign, verify
from ihdsi.bundle.trust import TrustStore
from ihdsi.errors import InputError, Problem
from ihdsi.files import sha256_of, write_text

__all__ = ["POPULATIONS_TYPE", "bind_populations", "binding_path", "read_bound_populations"]

POPULATIONS_TYPE = "application/vnd.ihdsi.populations+json"
#: Two hashes and their names.
_MAXIMUM_BYTES = 2**10
_AGAIN = (
    "Run `snakemake site --forcerun apply_disclosure_control` (and your --configfile), and look at "
    "the new candidate."
)

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Binding(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    manifest_sha256: _Sha256
    populations_sha256: _Sha256


def binding_path(candidate: Path | str) -> Path:
    """Return where the document of a candidate lies: beside its folder, which leaves whole."""
    folder = Path(candidate)
    return folder.with_name(f"{folder.name}.populations.dsse.json")


def bind_populations(candidate: Path | str, populations: Path | str, signer: CryptoSigner) -> None:
    """Write the document that ties a file of patients to a candidate.

    Parameters
    ----------
    candidate
        Folder of the candidate, whole and signed.
    populations
        Parquet file of those whom its tables count.
    signer
        The site's producer key.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    try:
        document = _Binding(
            manifest_sha256=sha256_of(Path(candidate) / MANIFEST),
            populations_sha256=sha256_of(Path(populations)),
        )
    except OSError as error:
        raise _fault(
            f"the file cannot be read ({error.strerror})", Path(error.filename or populations)
        ) from None
    envelope = sign(canonical_json(document.model_dump()), POPULATIONS_TYPE, signer)
    write_text(envelope.decode(), binding_path(candidate))


def read_bound_populations(
    binding: Path | str,
    populations: Path | str,
    *,
    manifest_sha256: str,
    store: TrustStore,
    site: str,
    on: date,
) -> pl.DataFrame:
    """Read a file of patients if the producer signed that it is the one of a candidate.

    Parameters
    ----------
    binding
        The document, as `bind_populations` writes it.
    populations
        Parquet file; the very bytes that were hashed are parsed.
    manifest_sha256
        SHA-256 of the candidate's manifest.
    store, site, on
        Trusted keys, the site whose producer must have signed, and the day on which the key must
        be valid.

    Returns
    -------
    polars.DataFrame
        The patients; columns are not looked at here.

    Raises
    ------
    InputError
        If the document is missing, is signed by anybody else, or names another manifest or file,
        or the file cannot be read.
    """
    path, table = Path(binding), Path(populations)
    try:
        envelope = read_bounded(path.parent, path.name, MAXIMUM_ENVELOPE_BYTES)
    except InputError as error:
        raise _fault(f"whom the candidate counts: {error.problems[0].what}", path) from None
    signed = verify(envelope, POPULATIONS_TYPE, store, site, on, path, ("producer",))
    try:
        document = _Binding.model_validate(read_json(signed.payload, _MAXIMUM_BYTES, 1))
    except (ValidationError, ValueError):
        raise _fault("the signed document is not that of a candidate's populations", path) from None
    if document.manifest_sha256 != manifest_sha256:
        raise _fault("the populations are those of another candidate", path)
    try:
        content = table.read_bytes()
    except OSError as error:
        raise _fault(
            f"the populations of the candidate cannot be read ({error.strerror})", table
        ) from None
    if hashlib.sha256(content).hexdigest() != document.populations_sha256:
        raise _fault("the populations are not those with which the candidate was drafted", table)
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError:
        raise _fault("the populations of the candidate cannot be read", table) from None


def _fault(what: str, file: Path) -> InputError:
    return InputError(Problem(what, _AGAIN, file=file))
