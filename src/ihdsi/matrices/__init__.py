"""Quantitative matrices of a site: protein, methylation and metabolite values."""
