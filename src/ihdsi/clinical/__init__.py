"""From a hospital's clinical table in local codes to the study's data dictionary."""

from ihdsi.clinical.codebook import Codebook, load_codebook
from ihdsi.clinical.harmonise import harmonise_clinical

__all__ = ["Codebook", "harmonise_clinical", "load_codebook"]
