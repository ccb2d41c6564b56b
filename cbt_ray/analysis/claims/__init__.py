"""Claims: what a publication says, recomputed."""
