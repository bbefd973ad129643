"""Single cells of a site's tumours: counts, quality, clusters, cell types, and sums by donor."""
