"""Germline and somatic variants of one site's patients."""
