"""What the coordinator computes from the sites' released tables."""
