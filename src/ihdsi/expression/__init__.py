"""Bulk expression of one site's tumours."""
