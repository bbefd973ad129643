"""The demonstration study: simulated patients whose truth is known, and the check against it."""
