"""Imports that warn on the way, done once and before warnings are errors."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # Sunset, but FAISS, BM25 and the semantic chunker are still there, and users have them.
    warnings.simplefilter("ignore", DeprecationWarning)
    import faiss  # noqa: F401  # SWIG types without a module
    import langchain_classic  # noqa: F401
    import langchain_community.vectorstores  # noqa: F401
    import langchain_experimental  # noqa: F401
