"""The protocols that an encoder fulfils, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import get_protocol_members

from latechunk_integrations.core.pooling import Bags
from latechunk_integrations.core.ranges import count_ranges
from latechunk_integrations.encoders.model.prompts import TitleSlot
from latechunk_integrations.encoders.model.vector_contract import VectorContract
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import PoolingMode
from latechunk_integrations.stats import EngineStats

if TYPE_CHECKING:
    import torch

NO_UNIT = -1
"""The unit of a token of the running text that no chunk holds."""
SHARED = -2
"""The unit of a token that belongs to every unit of its window."""

Reading: TypeAlias = Literal["chunks", "alone", "query"]
"""How a chunk encoder reads documents: the elements of each together, or single passages or
queries, one element each."""


@dataclass(frozen=True)
class TokenizedText:
    """A text as the model's tokenizer sees it after the prompt.

    Args:
        prompt: Token ids of the prompt, int32, shape ``(n_prompt,)``.
        ids: Token ids of the text, int32, shape ``(n_tokens,)``.
        offsets: Half-open code point ranges in the text, int32, shape ``(n_tokens, 2)``.
        edges: Tokens of the text, int64 and ascending, before which a window may begin or end;
            None: any. A server that takes texts reads some tokens only next to their neighbours.
    """

    prompt: NDArray[np.int32]
    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    edges: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TokenizedTexts(Sequence[TokenizedText]):
    """Several texts as the tokenizer sees them, as flat arrays; also a sequence of each.

    Args:
        ids: Token ids, the prompt of each text followed by the text, text after text, int32,
            shape ``(n_ids,)``.
        offsets: Half-open code point ranges, in the prompt and in the text, int32, ``(n_ids, 2)``.
        prompt_starts: First prompt token of each text, int64, shape ``(n_texts,)``.
        text_starts: First token of each text itself, int64, same shape.
        ends: One past its last token, int64, same shape.
        edges: See `TokenizedText`, for each text; None: any token, of every text.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    prompt_starts: NDArray[np.int64]
    text_starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    edges: tuple[NDArray[np.int64] | None, ...] | None = None

    @classmethod
    def of(cls, texts: Sequence[TokenizedText]) -> TokenizedTexts:
        """The flat form of texts that came one by one."""
        n_prompt = np.array([len(text.prompt) for text in texts], np.int64)
        n_text = np.array([len(text.ids) for text in texts], np.int64)
        ends = np.cumsum(n_prompt + n_text)
        nothing = np.zeros((0, 2), np.int32)
        edges = tuple(text.edges for text in texts)
        return cls(
            np.concatenate(
                [np.zeros(0, np.int32), *(part for t in texts for part in (t.prompt, t.ids))]
            ),
            # Where the prompt's tokens lie in it is not known here, and not needed.
            np.concatenate(
                [nothing, *(p for t in texts for p in (np.zeros((len(t.prompt), 2)), t.offsets))]
            ).astype(np.int32),
            ends - n_text - n_prompt,
            ends - n_text,
            ends,
            edges if any(own is not None for own in edges) else None,
        )

    @classmethod
    def join(cls, pieces: Sequence[TokenizedText]) -> TokenizedTexts:
        """One text that came in pieces; the first holds the prompt."""
        before = np.cumsum([0, *(len(piece.ids) for piece in pieces)])
        edges = [
            piece.edges + start
            for piece, start in zip(pieces, before.tolist(), strict=False)
            if piece.edges is not None
        ]
        whole = TokenizedText(
            np.concatenate([piece.prompt for piece in pieces]),
            np.concatenate([piece.ids for piece in pieces]),
            np.concatenate([piece.offsets for piece in pieces]),
            np.concatenate(edges) if edges else None,
        )
        return cls.of([whole])

    @property
    def text_offsets(self) -> NDArray[np.int32]:
        """The offsets of the texts' own tokens, int32, text after text."""
        n_prompt = self.text_starts - self.prompt_starts
        if not n_prompt.any():
            return self.offsets
        return self.offsets[count_ranges(self.text_starts, self.ends - self.text_starts)]

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> TokenizedText: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedText]: ...
    def __getitem__(self, index: int | slice) -> TokenizedText | list[TokenizedText]:
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        at = range(len(self))[index]
        prompt, text, end = self.prompt_starts[at], self.text_starts[at], self.ends[at]
        return TokenizedText(
            self.ids[prompt:text],
            self.ids[text:end],
            self.offsets[text:end],
            None if self.edges is None else self.edges[at],
        )


@dataclass(frozen=True)
class TokenBatch:
    """Windows that go through the encoder together, right-padded.

    Args:
        ids: Token ids, int64, shape ``(n_rows, row_length)``; what comes after a row's length is
            ignored.
        lengths: Tokens of each row, int64, shape ``(n_rows,)``.
        positions: Position of each token in its unit, from 0, int64, shape of ``ids``; None:
            each row counts through.
        units: Unit of each token in its row, int32, shape of ``ids``: tokens of one unit have
            the same number; `NO_UNIT` for text that belongs to none, `SHARED` for tokens that
            belong to every unit. None: there is no focus.
        is_header: Whether a token is of a header, bool, same shape; None as for ``units``.
        focus: What is added to the attention logits of a unit's tokens toward the tokens of
            their own unit, in nats, float32, shape ``(n_rows,)``; None as for ``units``.
        header_focus: The same toward header tokens of their own unit, or shared ones.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    positions: NDArray[np.int64] | None = None
    units: NDArray[np.int32] | None = None
    is_header: NDArray[np.bool_] | None = None
    focus: NDArray[np.float32] | None = None
    header_focus: NDArray[np.float32] | None = None


class Encoder(Protocol):
    """What both kinds of encoder have."""

    dimensions: int
    """Width of a vector, after heads and truncation."""
    fingerprint: str
    """Hash of everything about the model that a vector depends on."""

    @property
    def contract(self) -> VectorContract | None:
        """What the model's own files say; None where they are not at hand."""

    @property
    def dtype(self) -> str | None:
        """Number format of the forward pass, such as ``"float32"``; None: not known."""

    @property
    def device(self) -> str | None:
        """Where it runs, such as ``"cuda:0"``; None: not known."""

    def close(self) -> None:
        """Let go of what is open, such as connections; a later call opens it again."""


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder that gives token embeddings, which the engine pools itself."""

    max_tokens: int
    """Window length, special tokens included."""
    token_dim: int
    """Width of a token embedding."""
    pooling: PoolingMode
    """How chunks are pooled in running text."""
    standalone_pooling: PoolingMode
    """How a text that has special tokens of its own is pooled: alone, or as a unit."""
    takes_units: bool
    """Whether `forward` uses positions, units and focus; else layout ``text`` without focus."""
    lead: NDArray[np.int32]
    """Special tokens in front of the prompt."""
    tail: NDArray[np.int32]
    """Special tokens at the end."""
    pad_id: int
    """Token id that fills a batch; it is masked."""
    document_prompt: str
    """Prefix of every window."""
    title_slot: TitleSlot | None
    """The place of a title in that prompt, where it has one; then headers go there."""
    prompt_pooled: bool
    """Whether the model's own pooling takes in the prompt."""

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of a forward pass that suit the device."""

    def tokenize(
        self, texts: Sequence[str], prompt: str | Sequence[str]
    ) -> Sequence[TokenizedText]:
        """Token ids and offsets of each text after its prompt, without special tokens.

        Args:
            texts: The texts.
            prompt: Comes before each of them; or one for each, which only models with a title
                slot ask for.

        Returns:
            `TokenizedTexts` is the fastest form.
        """

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """The same for one text of any length, piece by piece, in bounded memory."""

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        """Token ids of a header."""

    def forward(self, batch: TokenBatch) -> torch.Tensor | NDArray[np.float32]:
        """Token embeddings of a batch of windows.

        Returns:
            A tensor on its device or an array on the host, any float dtype. Shape
            ``(n_rows, row_length, dim)``; or ``(1, lengths.sum(), dim)`` from an encoder
            that leaves padding out, the rows one after the other.
        """

    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's own steps after pooling: heads, truncation; not the final unit length.

        Args:
            means: Pooled token embeddings, shape ``(n, token_dim)``.

        Returns:
            Shape ``(n, dimensions)``; may be the same array.
        """


@runtime_checkable
class SummingEncoder(Protocol):
    """A `TokenEncoder` that may sum chunks where its model runs: no token embeddings travel."""

    sums_there: bool
    """Whether it does; else `TokenEncoder.forward` is asked."""

    def sum_tokens(
        self, batch: TokenBatch, bags: Bags, rows: NDArray[np.int64], begins: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The weighted sums of token embeddings.

        Args:
            batch: The windows.
            bags: What is pooled, positions counted in frames.
            rows: The window of each bag in the batch, ascending, int64, shape ``(n_bags,)``.
            begins: Where its frame begins in that window, int64, same shape.

        Returns:
            Float32, shape ``(n_bags, token_dim)``.
        """


@runtime_checkable
class QueryEncoder(Protocol):
    """An encoder of plain texts with the model's own pooling."""

    query_prompt: str
    """Prefix of every query."""
    plain_tokens: int | None
    """Tokens, special tokens included, after which a plain text is cut; None: never."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors, shape ``(n, dimensions)``."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, shape ``(n, dimensions)``."""


class QueryPartner(QueryEncoder, Protocol):
    """Another way to the same vectors, for plain texts of an index that is there already."""

    def close(self) -> None:
        """Let go of what is open; a later call opens it again."""

    def check_index(self, encoder: TokenEncoder, options: LateChunkOptions) -> None:
        """See that an engine's chunks and our vectors are in one space.

        Raises:
            MismatchedQueriesError: They are not.
        """


@dataclass(frozen=True)
class ChunkLimits:
    """What a chunk encoder takes.

    Args:
        document_tokens: Tokens of one document, without what the encoder adds itself.
        element_tokens: Tokens that the encoder adds for each element, such as a separator.
        document_elements: Elements of one document.
        request_documents: Documents of one request.
        request_texts: Passages or queries of one request, each a document of one element.
        request_elements: Elements of one request, over all documents.
        request_tokens: Tokens of one request, over all documents.
    """

    document_tokens: int
    element_tokens: int
    document_elements: int
    request_documents: int
    request_texts: int
    request_elements: int
    request_tokens: int


@runtime_checkable
class ChunkEncoder(Encoder, Protocol):
    """An encoder that reads the chunks of a document together and pools them itself.

    It gives no token embeddings; what a chunk's vector pools is its own affair.
    """

    limits: ChunkLimits
    """What it takes."""
    joined: bool
    """Elements are read as one string with nothing between them; else each one by itself."""
    max_concurrency: int
    """Most requests in flight."""
    usage: EngineStats
    """Counts of ``requests`` and of the ``tokens`` that were read."""

    def count_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """The fewest and the most tokens that each text may have; equal where it is known."""

    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        """Send one request, which the limits hold for; returns at once.

        Args:
            documents: Elements of each document, none of them empty.
            reading: How they are read; for ``"alone"`` and ``"query"`` a document has one
                element.
            parent_id: Names the parents in errors.

        Returns:
            For each document float32, shape ``(n_elements, dimensions)``, in order; not
            necessarily of unit length.
        """

    def is_too_long(self, error: Exception) -> bool:
        """Whether a request failed because of too many tokens, so that shorter ones may pass."""


def check_encoder_members(encoder: object, name: str) -> TokenEncoder | ChunkEncoder:
    """The encoder, if it has every member of one of both kinds.

    Args:
        encoder: What is to be an encoder.
        name: How to call it in the error.

    Raises:
        OptionError: It lacks some; the message names them.
    """
    if isinstance(encoder, (TokenEncoder, ChunkEncoder)):
        return encoder
    kind = ChunkEncoder if hasattr(encoder, "submit") else TokenEncoder
    lacking = sorted(one for one in get_protocol_members(kind) if not hasattr(encoder, one))
    raise OptionError(
        f"{name}: {type(encoder).__name__} is no {kind.__name__}: it lacks {', '.join(lacking)}; "
        "see latechunk_integrations.encoders.base, and try it with "
        "latechunk_integrations.testing.check_encoder"
    )
