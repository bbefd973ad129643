"""The coordinator's figures and pages."""
