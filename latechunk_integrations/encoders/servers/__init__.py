"""Token embeddings over HTTP, from servers that run the model."""
