"""What the encoders have in common whose model runs in a server that gives token embeddings."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import TokenBatch, TokenizedText, TokenizedTexts
from latechunk_integrations.encoders.http.client import Call, HttpClient
from latechunk_integrations.encoders.model.contract import (
    check_dimensions,
    own_pooling,
    resolve_pooling,
)
from latechunk_integrations.encoders.model.heads import Head, apply_heads, hash_heads
from latechunk_integrations.encoders.model.prompts import TitleSlot
from latechunk_integrations.encoders.model.tokenization import OffsetTokenizer
from latechunk_integrations.encoders.model.vector_contract import VectorContract, cut_vectors
from latechunk_integrations.errors import OptionError, ServerAnswerError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import PoolingMode

# Token embeddings of a batch are in memory at once; more of them keep more requests in flight.
_BATCH_TOKENS = 8_192
_MOST_BATCH_TOKENS = 32_768
# More than any encoder has; a server that says so is not believed.
_MOST_TOKENS = 1 << 20


def refuse_local_options(options: LateChunkOptions) -> None:
    """Refuse what only a model in this process can honour.

    Raises:
        OptionError: One of these options was given.
    """
    given = {
        "device": options.device is not None,
        "dtype": options.dtype != "auto",
        "trust_remote_code": options.trust_remote_code,
        "document_lora": options.document_lora is not None,
        "query_lora": options.query_lora is not None,
        # The other servers' texts are read here.
        "tokenizer": options.encoder == "tei" and options.tokenizer is not None,
    }
    named = [name for name, there in given.items() if there]
    if named:
        raise OptionError(
            f"{', '.join(named)}: the server of encoder={options.encoder!r} decides that; "
            "leave it out"
        )


def read_limit(stated: Any) -> int:
    """The tokens that a server says it takes at most.

    Raises:
        ServerAnswerError: There cannot be a window of so many.
    """
    limit = int(stated)
    if not 0 < limit <= _MOST_TOKENS:
        raise ServerAnswerError(f"the server says that it takes {limit} tokens: check base_url")
    return limit


class ServerEncoder(ABC):
    """A `TokenEncoder` over HTTP: one request for each window, several in flight.

    Picklable; what it was told by the server goes along, the key does not.

    Args:
        client: Reaches the server.
        tokenizer: Reads texts as the server's model does.
        options: What the engine was asked for.
    """

    max_tokens: int
    token_dim: int
    known_width: int | None = None
    """`token_dim`, once the server has told it."""
    heads: tuple[Head, ...] = ()
    """The model's modules after pooling."""
    dimensions: int
    contract: VectorContract
    pooling: PoolingMode
    standalone_pooling: PoolingMode
    pad_id = 0  # never sent
    document_prompt: str
    query_prompt: str
    title_slot: TitleSlot | None
    prompt_pooled = True
    takes_units = False
    plain_tokens: int | None
    fingerprint: str
    header_separator = "\n\n"
    dtype: str | None = None
    device: str | None = None

    def __init__(
        self, client: HttpClient, tokenizer: OffsetTokenizer, options: LateChunkOptions
    ) -> None:
        self.client = client
        self.options = options
        self.tokenizer = tokenizer
        self.lead, self.tail = tokenizer.lead, tokenizer.tail

    @property
    def batch_tokens(self) -> int:
        """Tokens whose embeddings are in memory at once."""
        wanted = self.client.settings.max_concurrency * self.max_tokens
        own = max(_BATCH_TOKENS, min(wanted, _MOST_BATCH_TOKENS))
        return self.options.batch_tokens or own

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self.client.close()

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        """See `OffsetTokenizer.tokenize`."""
        return self.tokenizer.tokenize(texts, prompt)

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """See `OffsetTokenizer.tokenize_pieces`."""
        return self.tokenizer.tokenize_pieces(text, prompt)

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        """Token ids of a header, set off from the text that follows."""
        return self.tokenizer.tokenize_header(header, self.header_separator)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors with the model's own pooling, ``(n, dimensions)``."""
        return self.embed_plain(texts, self.query_prompt)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Passage vectors with the model's own pooling, ``(n, dimensions)``."""
        return self.embed_plain(texts, self.document_prompt)

    @abstractmethod
    def embed_plain(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Vectors of texts after a prompt with the model's own pooling, ``(n, dimensions)``."""

    def forward(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Token embeddings of a batch, float32, shape ``(n_rows, row_length, token_dim)``.

        Raises:
            ServerError: With the row that it was about.
        """
        ids = batch.ids
        rows = [row[:length].tolist() for row, length in zip(ids, batch.lengths, strict=True)]
        embeddings = np.zeros((*ids.shape, self.token_dim), np.float32)
        for row, matrix in enumerate(self.matrices(rows)):
            embeddings[row, : len(matrix)] = matrix
        return embeddings

    def matrices(self, rows: Sequence[list[int]]) -> Iterator[NDArray[np.float32]]:
        """The token embeddings of each row of token ids, in order."""
        return self.client.run_all(self.matrix_call(ids, row) for row, ids in enumerate(rows))

    @abstractmethod
    def matrix_call(self, ids: list[int], row: int) -> Call[NDArray[np.float32]]:
        """The request for the token embeddings of one window, special tokens included."""

    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's modules after pooling, in order, then truncation."""
        return cut_vectors(apply_heads(self.heads, means), self.dimensions, self.contract)

    def set_contract(self, contract: VectorContract) -> None:
        """Note what a vector is, and how chunks are pooled.

        Raises:
            OptionError: The model pools in a way that has no counterpart for a chunk.
        """
        self.contract = contract
        self.pooling = resolve_pooling(self.options.pooling, contract, self.options.model)
        # A chunk alone is pooled as the model does it, like every query.
        self.standalone_pooling = own_pooling(contract) or self.pooling

    def set_width(self, width: int) -> None:
        """Note the width of a token embedding, and so of a vector.

        Raises:
            ContractError: The modules after pooling belong to another model.
            OptionError: Dimensions were asked for that the model was not trained for.
        """
        self.token_dim = self.known_width = width
        heads = []
        for head in self.heads:
            heads.append(head.contract(width))
            width = heads[-1].out_features
        self.contract = replace(self.contract, heads=tuple(heads), dimensions=width)
        check_dimensions(self.options.dimensions, self.contract)
        self.dimensions = self.options.dimensions or width

    def set_window(self, limit: int, own: int | None = None) -> None:
        """Note the window length.

        Args:
            limit: Most tokens that the server takes.
            own: What the model declares; None: the same.

        Raises:
            OptionError: A longer one was asked for.
            WindowBudgetError: Prompt and special tokens take more than half of it.
        """
        asked = self.options.max_tokens
        if asked is not None and asked > limit:
            raise OptionError(f"max_tokens={asked} is more than the {limit} that the server takes")
        self.max_tokens = asked or own or limit
        self.tokenizer.check_window(self.max_tokens, self.document_prompt)

    def set_fingerprint(self, *identity: Any) -> None:
        """Hash what names the model, with its contract and the weights of its heads."""
        named = [*identity, self.contract.to_dict(), hash_heads(self.heads)]
        parts = json.dumps(named, sort_keys=True)
        self.fingerprint = hashlib.sha256(parts.encode()).hexdigest()[:32]

    def read_alone(self, text: str) -> list[int]:
        """The token ids of a text with its special tokens."""
        tokens = self.tokenizer.tokenize([text], "")[0]
        ids: list[int] = np.concatenate([self.lead, tokens.ids, self.tail]).tolist()
        return ids

    def probe(self, text: str) -> NDArray[np.float32]:
        """The token embeddings of a text with its special tokens; sets the width."""
        (matrix,) = self.matrices([self.read_alone(text)])
        if not np.any(matrix):
            raise ServerAnswerError("the server's token embeddings are all zero")
        self.set_width(matrix.shape[1])
        return matrix
