"""A steward's signature for more membership power than the study allows.

The study limits the power of a membership attack on the released germline frequencies. A site may
go above it only with a document that its data steward signed: for one study (by its hash), one
site, one limit, with a reason and a last day. The form is DSSE, as for bundles; the document is of
a type of its own, so that no other signature of the steward passes for it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from ihdsi.bundle.manifest import canonical_json
from ihdsi.bundle.signature import sign
from ihdsi.bundle.trust import TrustStore
from ihdsi.errors import InputError, Problem
from ihdsi.files import write_text
from ihdsi.study import DisclosureSettings, Identifier, Share

__all__ = [
    "OVERRIDE_TYPE",
    "MembershipOverride",
    "create_override",
    "maximum_power_in_force",
    "verify_override",
]

OVERRIDE_TYPE = "application/vnd.ihdsi.override+json"
