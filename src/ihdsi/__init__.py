"""Federated omics statistics of the IHDSI cohort pipeline: summaries, release, meta-analysis."""

__version__ = "0.1.0"
