"""The patients: who they are, how their samples enter the pipeline, how long they live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.simulate.streams import stream

__all__ = ["DEMO_SITES", "SiteDesign", "simulate_patients", "simulate_survival"]

SHARE_MUSCLE_INVASIVE = 0.5
SHARE_MALE = 0.75
SHARE_HIGH_GRADE = {"NMIBC": 0.45, "MIBC": 0.95}
SMOKING = (("never", 0.25), ("former", 0.45), ("current", 0.30))
MEAN_HAEMOGLOBIN = {"NMIBC": 140.0, "MIBC": 131.0}
PURITY = (0.5, 1.0)
LIBRARY_LOG_SD = 0.3

WEIBULL_SHAPE = 1.2
WEIBULL_SCALE_DAYS = 2800.0
FOLLOW_UP_DAYS = (730, 2555)
LOG_HAZARD_PER_YEAR = 0.03
LOG_HAZARD_MUSCLE_INVASIVE = 0.5
REFERENCE_AGE = 68.0


@dataclass(frozen=True)
class SiteDesign:
    """One simulated hospital.

    Attributes
    ----------
    site, prefix
        The site's id and what its patient numbers begin with.
    n_patients
        Number of patients; each has a tumour DNA, a normal DNA and a tumour RNA sample.
    n_from_fastq
        How many of them, counted from the first, enter as FASTQ; the rest as VCF and counts.
    two_lane_samples
        FASTQ samples whose reads come in two lanes.
    library_size
        Sequencing effort of the count matrix relative to the other sites.
    cells_as_h5ad
        Whether the site gives single cells as one h5ad file of all donors; else each donor's as
        Cell Ranger's matrix folder.
    """

    site: str
    prefix: str
    n_patients: int
    n_from_fastq: int
    two_lane_samples: frozenset[str]
    library_size: float
    cells_as_h5ad: bool = False

    @property
    def patients(self) -> list[str]:
        """Patient ids, in order."""
        return [f"{self.prefix}-{number:04d}" for number in range(1, self.n_patients + 1)]

    @property
    def fastq_patients(self) -> list[str]:
        """Ids of the patients who enter as FASTQ."""
        return self.patients[: self.n_from_fastq]

    @property
    def table_patients(self) -> list[str]:
        """Ids of the patients who enter as VCF and count matrix."""
        return self.patients[self.n_from_fastq :]

    def lanes(self, sample: str) -> tuple[str, ...]:
        """Lanes of a FASTQ sample."""
        return ("L001", "L002") if sample in self.two_lane_samples else ("L001",)


DEMO_SITES = (
    SiteDesign("lih", "LIH", 60, 3, frozenset({"LIH-0001-T"}), 1.0),
    SiteDesign("ncck", "NCCK", 56, 3, frozenset({"NCCK-0001-R"}), 1.25, cells_as_h5ad=True),
)


def _simulate_patient(seed: int, patient: str) -> dict[str, str | float]:
    rng = stream(seed, "clinical", patient)
    stage = "MIBC" if rng.random() < SHARE_MUSCLE_INVASIVE else "NMIBC"
    return {
        "stage_group": stage,
        "sex": "male" if rng.random() < SHARE_MALE else "female",
        "age": round(float(np.clip(rng.normal(REFERENCE_AGE, 9.0), 35.0, 92.0)), 1),
        "grade": "high" if rng.random() < SHARE_HIGH_GRADE[stage] else "low",
        "smoking": str(
            rng.choice([level for level, _ in SMOKING], p=[share for _, share in SMOKING])
        ),
        "haemoglobin": round(float(np.clip(rng.normal(MEAN_HAEMOGLOBIN[stage], 14.0), 75, 185))),
        "tumour_purity": float(rng.uniform(*PURITY)),
        "library_factor": float(np.exp(rng.normal(0.0, LIBRARY_LOG_SD))),
    }


def simulate_patients(seed: int, sites: Sequence[SiteDesign] = DEMO_SITES) -> pl.DataFrame:
    """Draw every patient from their own stream.

    Returns
    -------
    polars.DataFrame
        patient, site, entry (fastq | table), stage_group, sex, age (a), grade, smoking,
        haemoglobin (g/L), tumour_purity, library_factor; sites and patients in order.
    """
    rows = [
        {
            "patient": patient,
            "site": design.site,
            "entry": "fastq" if patient in design.fastq_patients else "table",
            **_simulate_patient(seed, patient),
        }
        for design in sites
        for patient in design.patients
    ]
    return pl.DataFrame(rows)


def simulate_survival(
    seed: int, patients: pl.DataFrame, expression_log_hazard: NDArray[np.float64]
) -> pl.DataFrame:
    """Overall survival under a proportional-hazards Weibull model with administrative censoring.

    Times are drawn by inversion of the survival function (Bender, Augustin and Blettner 2005,
    Statistics in Medicine 24:1713): ``T = scale * (E / exp(lp)) ** (1 / shape)``, E ~ Exp(1).

    Parameters
    ----------
    seed
        The study's seed.
    patients
        Result of `simulate_patients`.
    expression_log_hazard
        Shape (n_patients,): sum over genes of log hazard ratio times log2 expression around the
        gene's mean.

    Returns
    -------
    polars.DataFrame
        `patients` with log_hazard, overall_survival_time (d) and overall_survival_event (yes | no).
    """
    draws = np.array(
        [
            (rng.exponential(), rng.uniform(*FOLLOW_UP_DAYS))
            for rng in (stream(seed, "survival", patient) for patient in patients["patient"])
        ]
    )
    log_hazard = (
        LOG_HAZARD_PER_YEAR * (patients["age"].to_numpy() - REFERENCE_AGE)
        + LOG_HAZARD_MUSCLE_INVASIVE * (patients["stage_group"] == "MIBC").to_numpy()
        + expression_log_hazard
    )
    time = WEIBULL_SCALE_DAYS * (draws[:, 0] * np.exp(-log_hazard)) ** (1 / WEIBULL_SHAPE)
    event = time <= draws[:, 1]
    observed = np.maximum(np.round(np.minimum(time, draws[:, 1])), 1).astype(np.int64)
    return patients.with_columns(
        log_hazard=pl.Series(log_hazard),
        overall_survival_time=pl.Series(observed),
        overall_survival_event=pl.Series(np.where(event, "yes", "no")),
    )
