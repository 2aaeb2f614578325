"""An encoder whose context is made by hand: each token is its word plus the mean of its window."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.encoders.base import TokenBatch, TokenizedText, TokenizedTexts
from latechunk_integrations.encoders.model.prompts import TitleSlot
from latechunk_integrations.schema import PoolingMode

if TYPE_CHECKING:
    import torch

_DIM = 256
_IDS = 30_000


class WordEncoder:
    """Words are random directions; ``context`` says how much of the window each token takes in.

    No weights and no training: whether late chunking helps depends on the texts alone, so that a
    test can write texts on which it must help or hurt.
    """

    def __init__(self, context: float = 1.0) -> None:
        self.context = context
        self.max_tokens = 512
        self.token_dim = self.dimensions = _DIM
        self.pooling: PoolingMode = "mean"
        self.standalone_pooling: PoolingMode = "mean"
        self.contract = self.dtype = self.device = None
        self.takes_units = False
        self.title_slot: TitleSlot | None = None
        self.lead = self.tail = np.zeros(0, np.int32)
        self.pad_id = 0
        self.document_prompt = self.query_prompt = ""
        self.prompt_pooled = True
        self.batch_tokens = 2_048
        self.plain_tokens: int | None = None
        self.fingerprint = f"words {context}"
        self.n_forward = 0
        table = np.random.default_rng(0).normal(size=(_IDS, _DIM)) / np.sqrt(_DIM)
        self._table = table.astype(np.float32)

    def close(self) -> None:
        """Nothing is open."""

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        return TokenizedTexts.of([self._tokens(text) for text in texts])

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        yield self._tokens(text)

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        return self._tokens(header).ids

    def forward(self, batch: TokenBatch) -> torch.Tensor | NDArray[np.float32]:
        import torch

        return torch.from_numpy(self.embed_tokens(batch))

    def embed_tokens(self, batch: TokenBatch) -> NDArray[np.float32]:
        self.n_forward += 1
        words: NDArray[np.float32] = self._table[batch.ids]
        for row, length in zip(words, batch.lengths.tolist(), strict=True):
            row[:length] += self.context * row[:length].mean(axis=0)
        return words

    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        return means

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [self._table[self._tokens(text).ids].mean(axis=0) for text in texts]
        return np.array(rows, np.float32)

    encode_documents = encode_queries

    @staticmethod
    def _tokens(text: str) -> TokenizedText:
        found = list(re.finditer(r"\w+", text))
        ids = [1 + zlib.crc32(match[0].lower().encode()) % (_IDS - 1) for match in found]
        offsets = [match.span() for match in found]
        nothing = np.zeros(0, np.int32)
        return TokenizedText(
            nothing, np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2)
        )


def word_engine(context: float = 1.0) -> LateChunkEngine:
    """An engine over a `WordEncoder`."""
    return LateChunkEngine(WordEncoder(context), LateChunkOptions(model="words"))


def lines(text: str) -> list[tuple[int, int]]:
    """A splitter: each line is a chunk."""
    return [match.span() for match in re.finditer("[^\n]+", text)]
