"""Everything a run needs to know before its first job: study, local sites, their cohorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ihdsi.alignment.aligners import ALIGNERS
from ihdsi.bundle.places import faults_of_intake, faults_of_release, released_seal
from ihdsi.clinical.codebook import load_codebook
from ihdsi.clinical.harmonise import harmonise_clinical
from ihdsi.cohort import Cohort
from ihdsi.disclosure.settings import stricter_of
from ihdsi.errors import InputError, Problem
from ihdsi.files import sha256_of
from ihdsi.given_files import faults_of_given_files
from ihdsi.given_variants import known_variants_problem
from ihdsi.sheet_description import describe_cohort, outline_cohort
from ihdsi.sheets import read_cohort
from ihdsi.study import (
    DisclosureSettings,
    RunConfig,
    Site,
    Study,
    load_run,
    load_site,
    load_study,
    study_hash,
)
from ihdsi.variants.hotspots import read_hotspots
from ihdsi.variants.regions import check_targets
from ihdsi.variants.signatures import reference_signatures
from ihdsi.yaml_documents import line_of_key

__all__ = ["Plan", "load_plan"]


@dataclass(frozen=True)
class Plan:
    """One run: the protocol, the sites that are run here, and whether results are pooled here."""

    run: RunConfig
    study: Study
    sites: Mapping[str, Site]
    cohorts: Mapping[str, Cohort]
    coordinator: bool
    path: Path | str = "config/config.yaml"

    @property
    def participants(self) -> tuple[str, ...]:
        """All site ids of the study, in the study's order."""
        return self.study.participants

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Names of the parts that calling is scattered over."""
        width = len(str(self.run.regions))
        return tuple(f"{number:0{width}d}" for number in range(1, self.run.regions + 1))

    @cached_property
    def thresholds(self) -> dict[str, DisclosureSettings]:
        """Disclosure thresholds in force at each site that is run here."""
        return {
            name: stricter_of(self.study.disclosure, site.disclosure)
            for name, site in self.sites.items()
        }

    @cached_property
    def unreleased(self) -> tuple[str, ...]:
        """Participants whose release is not in the exchange and is not made by this run.

        Only sites of a simulated study approve their own releases.
        """
        made_here = set(self.sites) if self.study.simulated else set()
        return tuple(
            site
            for site in self.participants
            if site not in made_here and not Path(released_seal(self.study.study, site)).is_file()
        )

    def matrix_tables(self, site: str, table: str) -> list[str]:
        """Paths of a table (values, covariates, metrics) of every assay of a site's matrices."""
        return [
            f"results/{self.study.study}/sites/{site}/matrices/{assay}/{table}.parquet"
            for assay in self.cohorts[site].matrix_assays
        ]

    def release_facts(self, site: str) -> dict[str, str | None]:
        """Say what a candidate of a site depends on besides files, so that a change drafts anew."""
        found = self.sites[site]
        release = found.release
        override = None if release is None else release.membership_override
        return {
            "study_hash": study_hash(self.study),
            "title": f"{self.study.title}: {found.title}",
            "permit": None if release is None else release.permit,
            "producer_key": None if release is None else release.producer_key,
            "ledger": None if release is None else release.ledger,
            "override": sha256_of(override) if override and Path(override).is_file() else override,
        }

    def arrived(self, site: str) -> str | None:
        """Tell the seal that lies in the exchange by its hash; None if this run makes it.

        Files that were sent keep the times of the sender, so that times do not tell what is new.
        """
        seal = Path(released_seal(self.study.study, site))
        made_here = self.study.simulated and site in self.sites
        return None if made_here or not seal.is_file() else sha256_of(seal)

    @property
    def without_release(self) -> tuple[str, ...]:
        """Sites that are run here and name nothing to release with; they end at cleared tables."""
        return tuple(name for name, site in self.sites.items() if site.release is None)

    def with_keys(self, files: Sequence[str], every_site: bool = False) -> Sequence[str]:
        """Return files that need the sites' keys, once these are there.

        Parameters
        ----------
        files
            What is returned.
        every_site
            Whether a site without ``release`` is a fault, too.

        Raises
        ------
        InputError
            With everything that is missing.
        """
        site_files = dict(zip(self.sites, self.run.sites, strict=True))
        wanted = {
            name: site
            for name, site in self.sites.items()
            if every_site or site.release is not None
        }
        faults = faults_of_release(self.study, self.run.study, wanted, site_files)
        if wanted and faults:
            raise InputError(faults)
        return files

    def with_releases(self, files: Sequence[str]) -> Sequence[str]:
        """Return files that need every participant's release; `InputError` if they cannot be had.

        Raises
        ------
        InputError
            If the coordinator's key or trust store is missing, or a release has not arrived.
        """
        faults = faults_of_intake(
            self.study, self.run.study, self.run.intake, self.path, makes_keys=bool(self.sites)
        )
        faults += [
            Problem(
                f"the release of '{site}' has not arrived",
                f"The site's data steward approves it with `ihdsi release approve {site}`; what "
                "that writes comes to this folder.",
                file=Path(released_seal(self.study.study, site)).parent,
            )
            for site in self.unreleased
        ]
        if faults:
            raise InputError(faults)
        return files

    @property
    def awaits_releases(self) -> bool:
        """Whether a machine that runs sites, too, leaves the coordinator's part for later."""
        return self.coordinator and bool(self.sites) and bool(self.unreleased)

    @property
    def stages(self) -> tuple[str, ...]:
        """The rule files of ``workflow/rules`` that this run includes, in their order."""
        site = (
            *(("simulate",) if self.study.simulated else ()),
            *("reference", "given", "reads", "alignment", "germline", "somatic", "signatures"),
            "copy_number",
            *("expression", "matrices", "single_cell", "clinical", "quality_control", "summaries"),
            "release",
            *(("simulated_release",) if self.study.simulated else ()),
        )
        return (
            *(site if self.sites else ()),
            *(("meta", "report") if self.coordinator else ()),
            "targets",
        )

    @property
    def absent_aligner(self) -> str:
        """What to do where reads are aligned and this machine lacks the aligner; else empty."""
        aligner = ALIGNERS[self.study.alignment.aligner]
        needed = any(cohort.newly_aligned for cohort in self.cohorts.values())
        return aligner.remedy if needed and aligner.is_absent() else ""

    def describe(self) -> str:
        """Say back what was understood, patient by patient, in plain text."""
        return self._say(describe_cohort)

    def outline(self) -> str:
        """Say back what was understood, patients who are treated alike together."""
        return self._say(outline_cohort)

    def _say(self, say: Callable[[Cohort, str], str]) -> str:
        head = (
            f"Study {self.study.study} version {self.study.version}: {self.study.title}\n"
            f"Run here: sites {', '.join(self.sites) or 'none'}; "
            f"coordinator {'yes' if self.coordinator else 'no'}"
        )
        if any(cohort.aligned for cohort in self.cohorts.values()):
            targets = self.study.reference.targets
            head += f"\nDNA: aligned with {self.study.alignment.aligner}; " + (
                f"panel or exome, targets {targets}" if targets else "whole genome, no targets"
            )
        notes = []
        if self.without_release:
            notes.append(
                "No release is drafted, because 'release' is missing in the site file: "
                f"{', '.join(self.without_release)}"
            )
        if self.awaits_releases:
            notes.append(
                f"The coordinator's part waits for the releases of: {', '.join(self.unreleased)}"
            )
        sites = (say(c, self.sites[s].title) for s, c in self.cohorts.items())
        return "\n".join([head, *sites, *notes])


def load_plan(
    config: Mapping[str, Any],
    path: Path | str = "config/config.yaml",
    look_into_files: bool = True,
) -> Plan:
    """Read and check everything that a run is configured with.

    Parameters
    ----------
    config
        The run configuration as Snakemake merged it.
    path
        Its file, for the error messages.
    look_into_files
        Whether the given files are opened. A cluster job, which reads the plan again, need not
        repeat what the run did before it was submitted.

    Raises
    ------
    InputError
        With every problem of the first document that has any: run configuration, study, sites,
        codebooks, sample sheets, given files, clinical tables, reference files, COSMIC's
        signatures.
    """
    run = load_run(dict(config), path)
    if not run.sites and not run.coordinator:
        raise InputError(
            Problem("nothing is to be run here", "List sites, or set coordinator: true.", path)
        )
    study = load_study(run.study, run.reference)
    sites: dict[str, Site] = {}
    cohorts: dict[str, Cohort] = {}
    for site_path in run.sites:
        site = load_site(site_path, study)
        if site.site in sites:
            raise InputError(
                Problem(
                    f"the site '{site.site}' is listed twice", "List it once.", path, None, "sites"
                )
            )
        sites[site.site] = site
        cohorts[site.site] = read_cohort(site, study)
        if look_into_files:
            faults = faults_of_given_files(
                cohorts[site.site],
                study.reference,
                study.simulated_folder,
                normals_in_one_stream=study.variants.germline.caller == "freebayes",
            )
            if faults:
                raise InputError(faults)
        if site.clinical is not None and site.codebook is not None:
            codebook = load_codebook(site.codebook, study)
            harmonise_clinical(
                site.clinical, codebook, study, site.codebook, cohorts[site.site].patients
            )
    if cohorts:
        _check_references(study, cohorts, run, path)
    if any(cohort.has_somatic for cohort in cohorts.values()):
        _check_signatures(study, run.study)
    return Plan(run, study, sites, cohorts, run.coordinator, path)


def _check_signatures(study: Study, study_path: Path | str) -> None:
    """Refuse signatures that COSMIC does not have, before any read is aligned."""
    chosen = study.variants.signatures
    try:
        reference_signatures(chosen.signatures, chosen.cosmic_version, chosen.build)
    except InputError as error:
        row = line_of_key(study_path, ("variants", "signatures"))
        raise InputError(
            [
                replace(problem, file=study_path, row=row, column="variants.signatures")
                for problem in error.problems
            ]
        ) from None


def _check_references(
    study: Study, cohorts: Mapping[str, Cohort], run: RunConfig, run_path: Path | str
) -> None:
    """Refuse reference files that do not exist, and missing ones that the sheets need."""
    simulated = study.simulated_folder
    problems = []

    def problem(key: str, what: str, remedy: str) -> None:
        # This machine's own paths stand in the run configuration, which Snakemake has merged.
        local = getattr(run.reference, key) is not None
        row = None if local else line_of_key(run.study, ("reference", key))
        problems.append(
            Problem(what, remedy, run_path if local else run.study, row, f"reference.{key}")
        )

    for key, name in study.reference.paths.items():
        if not (simulated and name.startswith(simulated)) and not Path(name).is_file():
            problem(
                key,
                f"the file {name} does not exist",
                f"Correct the path, or give this machine's under 'reference' in {run_path}.",
            )
    present = {
        key: name
        for key, name in study.reference.paths.items()
        if not (simulated and name.startswith(simulated)) and Path(name).is_file()
    }
    for key, field in (("germline_resource", "AF"), ("clinvar", "CLNSIG")):
        if key in present and (fault := known_variants_problem(present[key], field)):
            problem(key, *fault)
    needs_genome = any(c.aligned or c.somatic_vcfs or c.germline_vcfs for c in cohorts.values())
    needs_transcripts = any(c.quantified for c in cohorts.values())
    given = study.reference.paths

    def need(key: str, why: str) -> None:
        problem(key, f"{why}, but reference.{key} is not given", "Add its path.")

    if needs_genome and "genome" not in given:
        need("genome", "DNA samples enter as reads or VCF")
    if (
        needs_transcripts
        and "transcripts" not in given
        and not {"genome", "annotation"} <= set(given)
    ):
        need("transcripts", "RNA samples enter as reads and no genome with annotation is given")
    if any(c.salmon_folders for c in cohorts.values()) and not (
        {"transcript_to_gene", "annotation", "transcripts"} & set(given)
    ):
        need("transcript_to_gene", "RNA samples enter as salmon's estimates of transcripts")
    if any(c.has_somatic for c in cohorts.values()) and not {"annotation", "gene_catalogue"} & set(
        given
    ):
        need("gene_catalogue", "somatic variants are summarised by gene")
    if problems:
        raise InputError(problems)
    if "targets" in present:
        check_targets(present["targets"])
    if "hotspots" in present:
        read_hotspots(present["hotspots"])
