"""A steward's signature for more membership power than the study allows.

The study limits the power of a membership attack on the released germline frequencies. A site may
go above it only with a document that its data steward signed: for one study (by its hash), one
site, one limit, with a reason and a last day. The limit is that of all releases of the site
together: what left under an override counts in every later release, and without one nothing is
added to it (see `ihdsi.disclosure.frequency_release`). The form is DSSE, as for bundles; the
document is of a type of its own, so that no other signature of the steward passes for it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from ihdsi.bundle.manifest import canonical_json
from ihdsi.bundle.signature import MAXIMUM_ENVELOPE_BYTES, sign, verify
from ihdsi.bundle.trust import TrustStore, load_trust_store
from ihdsi.disclosure.settings import stricter_of
from ihdsi.errors import InputError, Problem
from ihdsi.files import write_text
from ihdsi.study import DisclosureSettings, Identifier, Share, Site, Study
from ihdsi.study import study_hash as hash_of_study

__all__ = [
    "OVERRIDE_TYPE",
    "MembershipOverride",
    "create_override",
    "maximum_power_in_force",
    "settings_in_force",
    "verify_override",
]

OVERRIDE_TYPE = "application/vnd.ihdsi.override+json"

_Text = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class MembershipOverride(BaseModel):
    """What the steward signs; `valid_until` is the last day on which it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Identifier
    study_hash: _Hash
    site: Identifier
    maximum_membership_power: Share = Field(description="Limit in place of the study's.")
    reason: _Text = Field(description="Why more may leave; the steward's own words.")
    valid_until: date


def create_override(path: Path | str, override: MembershipOverride, steward: CryptoSigner) -> None:
    """Sign an override and write it to `path` as a DSSE envelope.

    Parameters
    ----------
    path
        File of the envelope; an earlier one is replaced.
    override
        What is allowed.
    steward
        The steward's key.
    """
    payload = canonical_json(override.model_dump(mode="json"))
    write_text(sign(payload, OVERRIDE_TYPE, steward).decode(), path)


def verify_override(
    path: Path | str, store: TrustStore, study_hash: str, site: str, on: date
) -> MembershipOverride:
    """Return an override that holds: of this study and site, signed by its steward, and in time.

    Parameters
    ----------
    path
        The envelope.
    store
        Trusted keys.
    study_hash, site
        The protocol in force, and the site that releases.
    on
        Day of the release.

    Raises
    ------
    InputError
        In every other case.
    """
    payload = verify(
        _content(path), OVERRIDE_TYPE, store, site, on, path, roles=("steward",)
    ).payload
    try:
        # The payload was signed by the site's own steward: it is parsed after that is known.
        override = MembershipOverride.model_validate_json(payload)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise _refused(path, f"the override is malformed at '{place[:80]}'") from None
    if override.study_hash != study_hash:
        raise _refused(path, "the override was signed for another study or another version of it")
    if override.site != site:
        raise _refused(path, f"the override was signed for site '{override.site}'")
    if on > override.valid_until:
        raise _refused(path, f"the override expired after {override.valid_until}")
    return override


def maximum_power_in_force(
    settings: DisclosureSettings,
    override_path: Path | str | None,
    store: TrustStore | None,
    study_hash: str,
    site: str,
    on: date,
) -> tuple[DisclosureSettings, bool]:
    """Put a signed override in the place of the limit of the membership attack's power.

    Parameters
    ----------
    settings
        The thresholds in force without an override (see `stricter_of`).
    override_path
        The site's override, if it has one.
    store
        Trusted keys; needed for an override.
    study_hash, site, on
        As in `verify_override`.

    Returns
    -------
    tuple
        The thresholds, and whether an override raised the limit. An override below the limit
        changes nothing, because a site tightens it in its own file.

    Raises
    ------
    InputError
        If there is an override that does not hold: a run that goes on with the study's limit would
        hide that the steward's will was not done.
    """
    if override_path is None:
        return settings, False
    if store is None:
        raise _refused(override_path, "no trust store tells whose signature counts")
    override = verify_override(override_path, store, study_hash, site, on)
    if override.maximum_membership_power <= settings.maximum_membership_power:
        return settings, False
    limit = {"maximum_membership_power": override.maximum_membership_power}
    return settings.model_copy(update=limit), True


def settings_in_force(study: Study, site: Site, on: date) -> tuple[DisclosureSettings, bool]:
    """Combine the study's thresholds, the site's, and a signed override that the site file names.

    Parameters
    ----------
    study, site
        The protocol, with its trust store, and the site.
    on
        Day of the release.

    Returns
    -------
    tuple
        As `maximum_power_in_force`.

    Raises
    ------
    InputError
        If the override does not hold.
    """
    path = None if site.release is None else site.release.membership_override
    store = None if path is None or study.trust_store is None else study.trust_store
    return maximum_power_in_force(
        stricter_of(study.disclosure, site.disclosure),
        path,
        None if store is None else load_trust_store(store),
        hash_of_study(study),
        site.site,
        on,
    )


def _content(path: Path | str) -> bytes:
    """Read the envelope, of which no more is read than one may hold."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(MAXIMUM_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"the override cannot be read ({error.strerror})") from error


def _refused(path: Path | str, what: str) -> InputError:
    return InputError(
        Problem(
            what,
            "Have the steward sign one for this study and site, or name none in the site file.",
            file=path,
        )
    )
