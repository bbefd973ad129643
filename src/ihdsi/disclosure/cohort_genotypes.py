"""The patients behind a site's germline frequencies, for the judgement of membership attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.cohort import Cohort
from ihdsi.quality_control import excluded_patients
from ihdsi.study import GermlineFilters, Study
from ihdsi.summaries.strata import stratify
from ihdsi.variants.cohort_genotypes import cohort_blocks, genotypes_of_variants
from ihdsi.variants.sex_chromosomes import Sex, recorded_sexes

__all__ = ["CohortGenotypes"]


@dataclass(frozen=True)
class CohortGenotypes:
    """Genotypes of the patients whom a site's germline frequencies count.

    Parameters
    ----------
    path, settings, coverage, sexes
        As in `ihdsi.variants.cohort_genotypes.cohort_blocks`.
    patients
        Everyone who is counted, each once.
    strata
        patient, stratum_variable, stratum (see `ihdsi.summaries.strata.stratify`).
    panel
        gene_id and gene_name of the study's genes, in the order in which they are released.
    """

    path: Path | str
    patients: tuple[str, ...]
    settings: GermlineFilters
    strata: pl.DataFrame
    panel: pl.DataFrame
    coverage: Mapping[str, Path | str] | None = None
    sexes: Mapping[str, Sex] | None = field(default=None, repr=False)

    @classmethod
    def of_site(
        cls,
        path: Path | str,
        study: Study,
        cohort: Cohort,
        decisions: pl.DataFrame,
        clinical: pl.DataFrame | None,
        catalogue: pl.DataFrame | None,
        coverage: Sequence[Path | str],
    ) -> CohortGenotypes:
        """Take the patients and filters with which the site's `variant_frequencies` was counted.

        Parameters
        ----------
        path
            The site's merged germline call set.
        study, cohort
            The protocol, whose targeted genes are the panel, and the site's patients.
        decisions
            The site's sample decisions; patients whose normal failed are left out.
        clinical
            Patients' clinical variables, if the site has them.
        catalogue
            gene_id, gene_name and is_targeted; without it no genes are known.
        coverage
            Quantized coverage, one file for each patient of ``cohort.germline_coverage``.
        """
        excluded = set(excluded_patients(decisions, ["normal_dna"]))
        patients = [name for name in cohort.germline_assessed if name not in excluded]
        if catalogue is None:
            panel = pl.DataFrame(schema={"gene_id": pl.String, "gene_name": pl.String})
        else:
            panel = catalogue.filter("is_targeted").select("gene_id", "gene_name")
        return cls(
            path,
            tuple(patients),
            study.variants.germline,
            stratify(pl.Series("patient", patients, dtype=pl.String), clinical, study.strata),
            panel,
            dict(zip(cohort.germline_coverage, coverage, strict=True)),
            recorded_sexes(clinical, study.sample_checks.sex),
        )

    @classmethod
    def of_files(
        cls, files: Mapping[str, Sequence[str]], study: Study, cohort: Cohort
    ) -> CohortGenotypes | None:
        """Take them from a site's files; None if the site has no germline calls.

        Parameters
        ----------
        files
            Lists of files by kind: ``calls``, ``decisions``, ``clinical``, ``catalogue``,
            ``coverage`` (see `of_site`); all but coverage hold at most one.
        study, cohort
            As in `of_site`.
        """
        if not files["calls"]:
            return None
        clinical, catalogue = (
            pl.read_parquet(files[kind][0]) if files[kind] else None
            for kind in ("clinical", "catalogue")
        )
        decisions = pl.read_parquet(files["decisions"][0])
        return cls.of_site(
            files["calls"][0], study, cohort, decisions, clinical, catalogue, files["coverage"]
        )

    @property
    def minimum_call_rate(self) -> float:
        """Share of a gene's variants at which a patient needs a genotype."""
        return self.settings.minimum_call_rate

    def read(self, variants: pl.DataFrame) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Dosage and ploidy of V variants (see `genotypes_of_variants`); shape (V, P) each."""
        blocks = cohort_blocks(self.path, self.patients, self.settings, self.coverage, self.sexes)
        return genotypes_of_variants(blocks, self.patients, variants)
