"""APIs of contextualised chunk embeddings: a list of documents, each a list of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import ChunkLimits, Reading
from latechunk_integrations.encoders.services.chunk_api import (
    ApiModel,
    ApiService,
    ChunkApiEncoder,
    in_order,
    unpacked,
)

_PATH = "/v1/contextualizedembeddings"


class _ContextEncoder(ChunkApiEncoder):
    """A document of one chunk is read alone, so passages and queries are such documents."""

    joined = False

    def _vectors(
        self, answer: Any, sizes: Sequence[int], reading: Reading
    ) -> list[NDArray[np.float32]]:
        del reading  # every answer has the same form
        documents = in_order(answer["data"], len(sizes))
        return [
            self._matrix(document["data"], size)
            for document, size in zip(documents, sizes, strict=True)
        ]


_VOYAGE_LIMITS = ChunkLimits(
    document_tokens=32_000,
    element_tokens=0,
    document_elements=16_000,
    request_documents=1_000,
    request_texts=1_000,
    request_elements=16_000,
    # The reference says 120,000 for a request; the guide says 32,000 where the service does
    # not chunk by itself. The smaller number is right under both.
    request_tokens=32_000,
)


class VoyageEncoder(_ContextEncoder):
    """Voyage's contextualized chunk embeddings."""

    service = ApiService(
        name="Voyage",
        address="https://api.voyageai.com",
        path=_PATH,
        key_variable="VOYAGE_API_KEY",
        models={
            name: ApiModel(1_024, (256, 512, 1_024, 2_048), _VOYAGE_LIMITS)
            for name in ("voyage-context-3", "voyage-context-4")
        },
        other_limits=_VOYAGE_LIMITS,
    )

    def _body(self, documents: Sequence[Sequence[str]], reading: Reading) -> dict[str, Any]:
        return {
            "model": self.model,
            "input_type": "query" if reading == "query" else "document",
            "output_dimension": self._asked_width,
            "output_dtype": "float",
            "encoding_format": "base64",
            "inputs": [list(elements) for elements in documents],
        }

    def _decoded(self, embedding: Any) -> NDArray[np.float32]:
        if isinstance(embedding, str):
            return unpacked(embedding, "<f4")
        return super()._decoded(embedding)


_PERPLEXITY_LIMITS = ChunkLimits(
    document_tokens=32_000,
    element_tokens=1,  # chunks are joined with a separator token
    document_elements=16_000,
    request_documents=512,
    request_texts=512,
    request_elements=16_000,
    request_tokens=120_000,
)


class PerplexityEncoder(_ContextEncoder):
    """Perplexity's contextualized embeddings: int8 vectors, not of unit length."""

    service = ApiService(
        name="Perplexity",
        address="https://api.perplexity.ai",
        path=_PATH,
        key_variable="PERPLEXITY_API_KEY",
        models={
            "pplx-embed-context-v1-0.6b": ApiModel(1_024, range(128, 1_025), _PERPLEXITY_LIMITS),
            "pplx-embed-context-v1-4b": ApiModel(2_560, range(128, 2_561), _PERPLEXITY_LIMITS),
        },
        other_limits=_PERPLEXITY_LIMITS,
    )

    def _body(self, documents: Sequence[Sequence[str]], reading: Reading) -> dict[str, Any]:
        del reading  # queries are documents of one chunk, and there is no instruction
        body: dict[str, Any] = {
            "model": self.model,
            "encoding_format": "base64_int8",
            "input": [list(elements) for elements in documents],
        }
        if self._asked_width is not None:
            body["dimensions"] = self._asked_width
        return body

    def _decoded(self, embedding: Any) -> NDArray[np.float32]:
        return unpacked(embedding, "i1")
