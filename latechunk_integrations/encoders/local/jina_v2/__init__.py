"""jina-embeddings-v2 (JinaBERT) without the code of its repository."""
