"""Jina's embeddings API with its own late chunking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import ChunkLimits, Reading
from latechunk_integrations.encoders.services.chunk_api import ApiModel, ApiService, ChunkApiEncoder

# The longest list that one request takes, as the API's own error says.
_MOST_INPUTS = 2_048
_MOST_TEXTS = 512
# What the free tier takes at once.
_CONCURRENCY = 5
# Whose request has the parameter `normalized`; other models' may be refused for it.
_NORMALIZED = (
    "jina-embeddings-v3",
    "jina-embeddings-v5-text-small",
    "jina-embeddings-v5-text-nano",
)


def _limit_tokens(tokens: int) -> ChunkLimits:
    return ChunkLimits(
        document_tokens=tokens,
        element_tokens=0,
        document_elements=_MOST_INPUTS,
        # Everything in a late-chunking request is read as one text: never two parents.
        request_documents=1,
        request_texts=_MOST_TEXTS,
        request_elements=_MOST_INPUTS,
        # Documented is a limit for each text only; a whole request that keeps it is safe.
        request_tokens=tokens,
    )


class JinaEncoder(ChunkApiEncoder):
    """Jina's API: the inputs of a request are joined, read as one, and pooled one by one.

    Where a model has the parameter, vectors are asked for as they are pooled, without unit length:
    the mean over the documents of a long parent is then what it is for windows on this machine.
    """

    service = ApiService(
        name="Jina",
        address="https://api.jina.ai",
        path="/v1/embeddings",
        key_variable="JINA_API_KEY",
        models={
            "jina-embeddings-v3": ApiModel(1_024, range(32, 1_025), _limit_tokens(8_192)),
            "jina-embeddings-v4": ApiModel(2_048, range(128, 2_049), _limit_tokens(32_768)),
            "jina-embeddings-v5-text-small": ApiModel(
                1_024, (32, 64, 128, 256, 512, 1_024), _limit_tokens(32_768)
            ),
            "jina-embeddings-v5-text-nano": ApiModel(
                768, (32, 64, 128, 256, 512, 768), _limit_tokens(8_192)
            ),
        },
        other_limits=_limit_tokens(1),
        concurrency=_CONCURRENCY,
    )
    joined = True

    def _body(self, documents: Sequence[Sequence[str]], reading: Reading) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "task": "retrieval.query" if reading == "query" else "retrieval.passage",
            "late_chunking": reading == "chunks",
            "truncate": False,
            "embedding_type": "float",
            "input": [element for elements in documents for element in elements],
        }
        if self.model in _NORMALIZED:
            body["normalized"] = False
        if self._asked_width is not None:
            body["dimensions"] = self._asked_width
        return body

    def _vectors(
        self, answer: Any, sizes: Sequence[int], reading: Reading
    ) -> list[NDArray[np.float32]]:
        del reading  # every answer is a flat list
        rows = self._matrix(answer["data"], sum(sizes))
        return np.split(rows, np.cumsum(sizes)[:-1])
