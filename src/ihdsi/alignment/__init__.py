"""Alignment quality of one site's samples."""
