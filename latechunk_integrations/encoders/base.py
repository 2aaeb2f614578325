"""The protocols that an encoder fulfils, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from latechunk_integrations.core.pooling import PoolingMode
from latechunk_integrations.options import LateChunkOptions

__all__ = ["QueryEncoder", "QueryPartner", "TokenEncoder", "TokenizedText"]


@dataclass(frozen=True)
class TokenizedText:
    """A text as the model's tokenizer sees it behind the prompt.

    Args:
        prompt: Token ids of the prompt, int32, shape ``(n_prompt,)``.
        ids: Token ids of the text, int32, shape ``(n_tokens,)``.
        offsets: Half-open code point ranges in the text, int32, shape ``(n_tokens, 2)``.
    """

    prompt: NDArray[np.int32]
    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that gives token embeddings, which the engine pools itself."""

    max_tokens: int
    """Window length, special tokens included."""
    token_dim: int
    """Width of a token embedding."""
    dimensions: int
    """Width of a vector, after heads and truncation."""
    pooling: PoolingMode
    """How chunks are pooled."""
    lead: NDArray[np.int32]
    """Special tokens in front of the prompt."""
    tail: NDArray[np.int32]
    """Special tokens at the end."""
    pad_id: int
    """Token id that fills a batch; it is masked."""
    document_prompt: str
    """Prefix of every window."""
    prompt_pooled: bool
    """Whether the model's own pooling takes in the prompt."""
    batch_tokens: int
    """Padded tokens of a forward pass that suit the device."""
    fingerprint: str
    """Hash of everything about the model that a vector depends on."""

    def tokenize(self, texts: Sequence[str], prompt: str) -> list[TokenizedText]:
        """Token ids and offsets of each text behind the prompt, without special tokens."""
        ...

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """The same for one text of any length, piece by piece, in bounded memory."""
        ...

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        """Token ids of a header."""
        ...

    def forward(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> torch.Tensor:
        """Token embeddings of a padded batch.

        Args:
            ids: Token ids, shape ``(n_rows, row_length)``; what stands behind a row's
                length is ignored.
            lengths: Tokens of each row, shape ``(n_rows,)``.

        Returns:
            Shape ``(n_rows, row_length, dim)``; or ``(1, lengths.sum(), dim)`` from an encoder
            that leaves padding out, the rows one behind the other.
        """
        ...

    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's own steps after pooling: heads, truncation; not the final unit length.

        Args:
            means: Pooled token embeddings, shape ``(n, token_dim)``.

        Returns:
            Shape ``(n, dimensions)``; may be the same array.
        """
        ...


@runtime_checkable
class QueryEncoder(Protocol):
    """An encoder of plain texts with the model's own pooling."""

    query_prompt: str
    """Prefix of every query."""
    plain_tokens: int | None
    """Tokens, special tokens included, behind which a plain text is cut; None: never."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors, shape ``(n, dimensions)``."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, shape ``(n, dimensions)``."""
        ...


class QueryPartner(QueryEncoder, Protocol):
    """Another way to the same vectors, for plain texts of an index that is there already."""

    def check_index(self, encoder: TokenEncoder, options: LateChunkOptions) -> None:
        """See that an engine's chunks and our vectors are in one space.

        Raises:
            MismatchedQueriesError: They are not.
        """
        ...
