"""Command line of keys, releases and the audit log: what stewards and the coordinator type."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ihdsi.cli_errors import errors_in_words
from ihdsi.errors import InputError, Problem

__all__ = ["audit", "keys", "release", "trust"]

keys = typer.Typer(help="Keys of workflows, stewards and the coordinator.", no_args_is_help=True)
trust = typer.Typer(help="The coordinator's trust store.", no_args_is_help=True)
release = typer.Typer(help="Releases of a site: the data steward decides.", no_args_is_help=True)
audit = typer.Typer(help="The coordinator's log of releases.", no_args_is_help=True)

Config = Annotated[Path, typer.Option("--configfile", help="Run configuration.")]
SiteId = Annotated[str, typer.Argument(help="Id of the site, for example lih.")]
StewardKey = Annotated[Path, typer.Option("--key", help="The steward's private key.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words; kept in the ledger.")]
Reviewed = Annotated[
    str, typer.Option("--manifest", help="SHA-256 of the manifest that the review page names.")
]
DEFAULT = Path("config/config.yaml")
EXCHANGE = Path("exchange")


@keys.command("new")
def create_key(
    path: Annotated[Path, typer.Argument(help="File of the private key; PATH.pub is made, too.")],
    transport: Annotated[
        bool, typer.Option("--transport", help="A key for sealing, not for signing.")
    ] = False,
) -> None:
    """Create a key, on the machine and by the person that will use it.

    A signing key (Ed25519) is for the producer or the steward, a transport key (Crypt4GH) for a
    site or the coordinator. Set IHDSI_KEY_PASSPHRASE to encrypt the private file. Send the
    printed line to whoever keeps the trust store, and compare it over a second channel.
    """
    from ihdsi.bundle.keys import create_signing_key, create_transport_key, public_key_text

    with errors_in_words():
        path.parent.mkdir(parents=True, exist_ok=True)
        public = create_transport_key(path) if transport else create_signing_key(path)
        print(public_key_text(public))


@keys.command("show")
def show_key(path: Annotated[Path, typer.Argument(help="A file that ends in .pub.")]) -> None:
    """Print a public key in the one-line form of the trust store."""
    from ihdsi.bundle.keys import public_key_text

    with errors_in_words():
        print(public_key_text(path))


@trust.command("check")
def check_trust_store(
    path: Annotated[Path, typer.Argument(help="The trust store (YAML).")],
) -> None:
    """Check a trust store and list whose keys count today."""
    from ihdsi.bundle.trust import list_keys, load_trust_store

    with errors_in_words():
        _print_table(list_keys(load_trust_store(path), datetime.now(UTC).date()))


@release.command("approve")
def approve_release(
    site: SiteId,
    key: StewardKey,
    reason: Reason,
    manifest: Reviewed,
    override: Annotated[
        str | None,
        typer.Option(
            "--override",
            help="Why a power of membership inference above the study's maximum is acceptable.",
        ),
    ] = None,
    configfile: Config = DEFAULT,
) -> None:
    """Sign, seal and publish the release candidate of a site, after its review."""
    from ihdsi.bundle.approval import approve
    from ihdsi.bundle.keys import load_signing_key, load_transport_key
    from ihdsi.bundle.places import places_of_site
    from ihdsi.bundle.trust import load_trust_store
    from ihdsi.study import study_hash

    with errors_in_words():
        places = places_of_site(configfile, site)
        approval = approve(
            places.candidate,
            places.release.ledger,
            EXCHANGE,
            populations=places.populations,
            store=load_trust_store(places.trust_store),
            study=places.study.study,
            study_hash=study_hash(places.study),
            site=site,
            steward_signer=load_signing_key(key, steward=True),
            reason=reason,
            sender=load_transport_key(places.release.transport_key),
            now=datetime.now(UTC),
            override=override,
            reviewed=manifest,
        )
        print(f"Manifest {approval.manifest_sha256}")
        print(f"Released: number {approval.sequence} of {site}, in {approval.published}")


@release.command("reject")
def reject_release(
    site: SiteId,
    key: StewardKey,
    reason: Reason,
    manifest: Reviewed,
    configfile: Config = DEFAULT,
) -> None:
    """Reject the release candidate of a site; nothing leaves, and the ledger keeps the reason."""
    from ihdsi.bundle.approval import reject
    from ihdsi.bundle.keys import load_signing_key
    from ihdsi.bundle.places import places_of_site
    from ihdsi.bundle.trust import load_trust_store
    from ihdsi.study import study_hash

    with errors_in_words():
        places = places_of_site(configfile, site)
        rejection = reject(
            places.candidate,
            places.release.ledger,
            EXCHANGE,
            store=load_trust_store(places.trust_store),
            study=places.study.study,
            study_hash=study_hash(places.study),
            site=site,
            steward_signer=load_signing_key(key, steward=True),
            reason=reason,
            now=datetime.now(UTC),
            reviewed=manifest,
        )
        print(f"Manifest {rejection.manifest_sha256}")
        print(f"Rejected: the candidate of {site} stays where it is, and cannot be released")


@release.command("override")
def sign_override(
    site: SiteId,
    output: Annotated[Path, typer.Argument(help="File of the signed document.")],
    maximum: Annotated[float, typer.Option(help="Largest power of membership inference.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day it counts.")],
    key: StewardKey,
    reason: Reason,
    configfile: Config = DEFAULT,
) -> None:
    """Sign that more germline frequencies may leave a site than the study allows.

    Name the file in the site file as release.membership_override. Releases drafted with it still
    have to be approved one by one, with --override.
    """
    from ihdsi.bundle.keys import load_signing_key
    from ihdsi.bundle.places import places_of_site
    from ihdsi.bundle.trust import load_trust_store
    from ihdsi.disclosure.override import MembershipOverride, create_override, verify_override
    from ihdsi.files import atomic_output
    from ihdsi.study import study_hash
    from ihdsi.yaml_documents import validate_document

    with errors_in_words():
        places = places_of_site(configfile, site)
        protocol = study_hash(places.study)
        document = {
            "study": places.study.study,
            "study_hash": protocol,
            "site": site,
            "maximum_membership_power": maximum,
            "reason": reason,
            "valid_until": until.date(),
        }
        override = validate_document(document, MembershipOverride, output)
        store, signer = load_trust_store(places.trust_store), load_signing_key(key, steward=True)
        with atomic_output(output) as temporary:
            create_override(temporary, override, signer)
            verify_override(temporary, store, protocol, site, datetime.now(UTC).date())
        print(f"Power up to {maximum:g} until {until.date()}: {output}")


@release.command("resume")
def resume_release(site: SiteId, configfile: Config = DEFAULT) -> None:
    """Finish what was approved and then interrupted; put back what the exchange has lost."""
    from ihdsi.bundle.approval import publish_pending
    from ihdsi.bundle.places import places_of_site

    with errors_in_words():
        places = places_of_site(configfile, site)
        found = publish_pending(places.release.ledger, EXCHANGE)
        if found is None:
            print("Nothing has been approved yet")
        elif found.restored:
            print(f"Release {found.sequence}: put into {found.folder}: {', '.join(found.restored)}")
        else:
            print(f"Release {found.sequence} is whole in {found.folder}")


@release.command("verify")
def verify_ledger(site: SiteId, configfile: Config = DEFAULT) -> None:
    """Check the ledger of a site: every decision is signed by a steward, nothing is missing."""
    from ihdsi.bundle.approval import verify_decisions
    from ihdsi.bundle.places import places_of_site
    from ihdsi.bundle.trust import load_trust_store

    with errors_in_words():
        places = places_of_site(configfile, site)
        store = load_trust_store(places.trust_store)
        number = verify_decisions(places.release.ledger, store=store, site=site)
        print(f"Intact: {number} decisions, all signed by a steward of {site}")


@release.command("history")
def show_history(site: SiteId, configfile: Config = DEFAULT) -> None:
    """List every decision on a site's releases: what, when, by whom and why."""
    from ihdsi.bundle.places import places_of_site
    from ihdsi.disclosure.ledger import Ledger

    with errors_in_words():
        places = places_of_site(configfile, site)
        if not Path(places.release.ledger).exists():
            print("Nothing has been decided yet")
            return
        with Ledger(places.release.ledger) as ledger:
            decisions = ledger.describe()
        if decisions.is_empty():
            # The site has been run, which makes the ledger.
            print("Nothing has been decided yet")
            return
        _print_table(decisions)


@audit.command("verify")
def verify_audit(
    path: Annotated[Path, typer.Argument(help="The audit log (JSON lines).")],
    head: Annotated[
        str | None,
        typer.Option("--head", help="SHA-256 of the last line as it was noted elsewhere."),
    ] = None,
) -> None:
    """Check that no line of the audit log was changed, removed, inserted or reordered."""
    from ihdsi.meta.audit import verify_audit_log

    with errors_in_words():
        report = verify_audit_log(path, expected_head=head)
        if not report.intact:
            raise InputError(
                Problem(
                    report.what or "the log is broken",
                    "Compare the log with its backup, and find out who could write to it; nothing "
                    "from this line on can be believed.",
                    file=path,
                    row=report.line,
                )
            )
        print(f"Intact: {report.entries} entries; note the head elsewhere: {report.head}")
        if report.torn:
            print("The last line was torn by a crash; the next entry will say so")


@audit.command("show")
def show_audit(
    path: Annotated[Path, typer.Argument(help="The audit log (JSON lines).")],
) -> None:
    """List what was accepted and refused, when and why."""
    from ihdsi.meta.audit import describe_audit

    with errors_in_words():
        _print_table(describe_audit(path))


def _print_table(frame: Any) -> None:  # noqa: ANN401 - polars is imported on use
    print(frame.write_csv(separator="\t"), end="")
