"""Time-to-event statistics of one site."""
