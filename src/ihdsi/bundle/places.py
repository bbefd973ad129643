"""Where a study's release things lie on this machine, and what is missing of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ihdsi.bundle.trust import load_trust_store
from ihdsi.errors import InputError, Problem
from ihdsi.study import (
    IntakeSettings,
    ReleaseSettings,
    RunConfig,
    Site,
    Study,
    load_site,
    load_study,
)
from ihdsi.yaml_documents import line_of_key, load_document

__all__ = [
    "SitePlaces",
    "faults_of_intake",
    "faults_of_release",
    "places_of_site",
    "released_seal",
]


def released_seal(study: str, site: str) -> str:
    """File whose arrival in the exchange releases a site's bundle."""
    return f"exchange/{study}/{site}/seal.dsse.json"


@dataclass(frozen=True)
class SitePlaces:
    """A site that is run here, with what it releases with."""

    study: Study
    site: Site
    release: ReleaseSettings
    trust_store: Path

    @property
    def results(self) -> Path:
        """Folder of the site's results; it holds patient-level files."""
        return Path("results", self.study.study, "sites", self.site.site)

    @property
    def candidate(self) -> Path:
        """Folder of the release candidate."""
        return self.results / "candidate"

    @property
    def populations(self) -> Path:
        """Patients behind each table of the candidate."""
        return self.results / "cleared" / "populations.parquet"

    @property
    def exchange(self) -> Path:
        """Folder of the site's released bundles."""
        return Path(released_seal(self.study.study, self.site.site)).parent


def places_of_site(config: Path | str, site: str) -> SitePlaces:
    """Find a site's release things by the run configuration.

    Parameters
    ----------
    config
        Run configuration that lists the site's file.
    site
        Id of the site.

    Raises
    ------
    InputError
        If the site is not run here, or what it releases with is missing.
    """
    run = load_document(config, RunConfig)
    study = load_study(run.study)
    files = {load_site(path, study).site: path for path in run.sites}
    if site not in files:
        raise InputError(
            Problem(
                f"the site '{site}' is not run here (sites: {', '.join(files) or 'none'})",
                "Name a site of this run configuration, or another with --configfile.",
                file=config,
                column="sites",
            )
        )
    found = load_site(files[site], study)
    faults = faults_of_release(study, run.study, {site: found}, files)
    if faults or found.release is None or study.trust_store is None:
        raise InputError(faults)
    return SitePlaces(study, found, found.release, Path(study.trust_store))


def faults_of_release(
    study: Study,
    study_path: Path | str,
    sites: Mapping[str, Site],
    site_files: Mapping[str, Path | str],
) -> list[Problem]:
    """List what sites lack to draft and approve releases.

    Parameters
    ----------
    study, study_path
        The study and its file.
    sites, site_files
        Sites that are run here, and their files.

    Returns
    -------
    list of Problem
        Missing settings, key files and trust store; files that a simulated study makes itself are
        not looked for.
    """
    problems = _faults_of_trust_store(study, study_path, list(sites))
    for name, site in sites.items():
        path = site_files[name]
        if site.release is None:
            problems.append(
                Problem(
                    "the key 'release' is missing, so that nothing can be released",
                    "Create keys with `ihdsi keys new` and name them; see config/README.md.",
                    file=path,
                    column="release",
                )
            )
            continue
        for key in ("producer_key", "transport_key"):
            file = getattr(site.release, key)
            if not _is_made_here(study, file):
                problems += _absent_key(file, path, ("release", key))
    return problems


def faults_of_intake(
    study: Study,
    study_path: Path | str,
    intake: IntakeSettings | None,
    run_path: Path | str,
    makes_keys: bool,
) -> list[Problem]:
    """List what the coordinator lacks to take bundles in.

    Parameters
    ----------
    study, study_path
        The study and its file.
    intake, run_path
        The settings, and the run configuration that should hold them.
    makes_keys
        Whether this run makes the keys of a simulated study itself.
    """
    problems = _faults_of_trust_store(study, study_path, study.participants, makes_keys)
    if intake is None:
        return [
            *problems,
            Problem(
                "the key 'intake' is missing, so that no bundle can be opened",
                "Create a key with `ihdsi keys new --transport` and name it; see config/README.md.",
                file=run_path,
                column="intake",
            ),
        ]
    # Snakemake has merged the run configuration, so that lines are not known.
    if makes_keys and _is_made_here(study, intake.transport_key):
        return problems
    return problems + _absent_key(intake.transport_key, run_path, None)


def _faults_of_trust_store(
    study: Study, study_path: Path | str, sites: Sequence[str], makes_keys: bool = True
) -> list[Problem]:
    if study.trust_store is None:
        return [
            Problem(
                "the key 'trust_store' is missing, so that it is not known whose keys count",
                "Name the trust store that the coordinator keeps; see config/README.md.",
                file=study_path,
                column="trust_store",
            )
        ]
    if makes_keys and _is_made_here(study, study.trust_store):
        return []
    try:
        store = load_trust_store(study.trust_store)
    except InputError as error:
        return list(error.problems)
    return [
        Problem(
            f"the trust store has no site '{site}'",
            "Have the coordinator enter the site's public keys.",
            file=study.trust_store,
            column="sites",
        )
        for site in sites
        if site not in store.sites
    ]


def _absent_key(key: str, path: Path | str, place: tuple[str, str] | None) -> list[Problem]:
    if Path(key).is_file():
        return []
    return [
        Problem(
            f"the key file {key} does not exist",
            "Correct the path, or create the key with `ihdsi keys new`.",
            file=path,
            row=line_of_key(path, place) if place else None,
            column=".".join(place) if place else "intake.transport_key",
        )
    ]


def _is_made_here(study: Study, file: str) -> bool:
    return study.simulated_folder is not None and file.startswith(study.simulated_folder)
