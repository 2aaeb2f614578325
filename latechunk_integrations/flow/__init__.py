"""Parents in, chunk vectors out: through token embeddings, or through a service."""
