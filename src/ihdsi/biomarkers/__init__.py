"""Evidence on genes across omics layers."""
