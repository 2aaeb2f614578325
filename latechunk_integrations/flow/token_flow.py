"""`TokenFlow`: parents in, chunk vectors out, by an encoder that gives token embeddings.

The steps, none of which looks back:

    chunks -> sub-spans, where asked for      chunk_pieces.py, core/sub_spans.py
    parents -> tokenized texts, token spans   passages.py, one block ahead, which calls
    text -> token ids, offsets                encoders
    character spans -> token spans            core/alignment.py
    tokens -> windows                         token_plan.py, core/windows.py, core/frames.py
    windows -> batches -> chunk sums          token_run.py, which calls
    windows -> sums of an earlier run         window_sums.py, where they are kept
    windows -> batches                        core/batching.py
    batch -> token embeddings                 encoders
    token embeddings -> chunk sums            core/pooling.py, core/sums.py
    sums of pieces -> rows of vectors         vector_rows.py
    rows -> vectors                           the model's heads, then finish.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import check_vectors, make_unit
from latechunk_integrations.encoders.base import QueryEncoder, QueryPartner, TokenEncoder
from latechunk_integrations.errors import OptionError, ParentTooLongError
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.flow.failures import Failed, isolate_failures
from latechunk_integrations.flow.finish import finish_parent, finish_sides
from latechunk_integrations.flow.resolution import Resolved, resolve
from latechunk_integrations.flow.token_plan import BlockFailure, TokenBlock, TokenPlanner
from latechunk_integrations.flow.token_run import WindowRunner
from latechunk_integrations.flow.vector_rows import (
    SubSpanRows,
    VectorRows,
    chunk_rows,
    sub_span_rows,
)
from latechunk_integrations.flow.window_sums import WindowSums
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import CharSpans, ChunkVectors, Parent, SubSpanVectors
from latechunk_integrations.stats import EngineStats

# Windows of about this many batches are planned at once, so that sorting by length pays; of fewer
# large ones, so that a GPU does not wait long for the first.
_BLOCK_BATCHES = 16
_BLOCK_TOKENS = 1 << 17
# Rows that pass through the heads at once.
_FINISH_ROWS = 1_024


class TokenFlow:
    """Embeds chunks with the context of their parent.

    Args:
        encoder: Gives token embeddings.
        options: What was asked for.
        stats: Counts what was done, and what could not be done as asked.
        known: The sums of windows that were encoded before; None: none are kept.

    Raises:
        OptionError: The encoder cannot do what was asked for.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        options: LateChunkOptions,
        stats: EngineStats,
        known: WindowSums | None = None,
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._stats = stats
        self.resolved: Resolved = resolve(options, encoder)
        self.planner = TokenPlanner(encoder, options, self.resolved, stats)
        batch_tokens = options.batch_tokens or encoder.batch_tokens
        self._runner = WindowRunner(encoder, batch_tokens, stats, known)

    @property
    def layout(self) -> str:
        """How a window is laid out."""
        return self.resolved.layout

    @property
    def header_pooling(self) -> float:
        """Weight of a header's tokens in the pooling."""
        return self.resolved.header_pooling

    @property
    def usage(self) -> dict[str, int]:
        """Nothing is billed here."""
        return {}

    def embed(
        self, parents: Iterable[Parent], *, isolate: bool, together: bool
    ) -> Iterator[ChunkVectors | Failed]:
        """Stream chunk vectors in the order of the parents, in bounded memory.

        Args:
            parents: Any number of parents.
            isolate: Give a failure in the place of a parent that fails, and go on.
            together: Parents share forward passes.
        """
        batch = self._runner.batch_tokens
        n_tokens = min(_BLOCK_BATCHES * batch, max(2 * batch, _BLOCK_TOKENS)) if together else 0
        for block in self.planner.blocks(parents, n_tokens):
            if isolate:
                results = self._embed_block(block)
                yield from isolate_failures(block.parents, results, self._embed_alone)
            else:
                yield from self._embed_block(block)

    def _embed_block(self, block: TokenBlock | BlockFailure) -> Iterator[ChunkVectors]:
        """Steps 6 to 9."""
        if isinstance(block, BlockFailure):
            raise block.error
        sums = self._runner.run(block)
        passages = block.passages
        sub_spans = None
        if passages.pieces.divided:
            sums, chunks, sub_spans = sub_span_rows(passages, sums, self._options)
        else:
            chunks = chunk_rows(passages, sums)
        means = self._finish_means(sums)
        vectors = self._finish_sides(chunks, means)
        of_sub_spans = None if sub_spans is None else self._finish_sides(sub_spans.rows, means)
        for at, parent in enumerate(block.parents):
            if passages.skipped[at]:
                yield self._skip(parent)
                continue
            own = chunks.of_parent(at)
            yield finish_parent(
                parent.id,
                # A copy, so that no parent keeps the vectors of a whole block in memory.
                vectors[own].copy(),
                chunks.is_late[own],
                self._stats,
                self._encoder.dtype,
                n_windows=int(block.late_windows[at]),
                windowed=bool(block.windowed[at]),
                sub_spans=self._sub_spans(block, sub_spans, of_sub_spans, at),
            )

    def _finish_sides(self, rows: VectorRows, means: NDArray[np.float32]) -> NDArray[np.float32]:
        return finish_sides(
            rows.sides(means, with_headers=self._options.header_weight > 0), self._options
        )

    def _sub_spans(
        self,
        block: TokenBlock,
        found: SubSpanRows | None,
        vectors: NDArray[np.float32] | None,
        at: int,
    ) -> SubSpanVectors | None:
        """Those of one parent."""
        if found is None or vectors is None:
            return None
        parent_id = block.parents[at].id
        own = found.rows.of_parent(at)
        check_vectors(
            vectors[own], f"parent {parent_id!r}", self._encoder.dtype, parent_id=parent_id
        )
        return SubSpanVectors(
            vectors[own].copy(),
            found.chunks[own] - block.passages.pieces.chunk_bounds[at],
            CharSpans(found.spans[own]),
        )

    def _embed_alone(self, parent: Parent) -> Iterator[ChunkVectors]:
        return self._embed_block(self.planner.plan([parent]))

    def _skip(self, parent: Parent) -> ChunkVectors:
        self._stats.count("parents")
        nothing = np.zeros((0, self._encoder.dimensions), np.float32)
        sub_spans = None
        if self._options.sub_span_tokens is not None:
            sub_spans = SubSpanVectors(nothing, np.zeros(0, np.int64), CharSpans([]))
        return ChunkVectors(parent.id, nothing, (), skipped=True, sub_spans=sub_spans)

    def _finish_means(self, sums: ChunkSums) -> NDArray[np.float32]:
        """Means through the model's heads."""
        means = sums.means()
        if self._encoder.dimensions == means.shape[1]:
            vectors = means
        else:
            vectors = np.empty((len(means), self._encoder.dimensions), np.float32)
        for start in range(0, len(means), _FINISH_ROWS):
            rows = slice(start, start + _FINISH_ROWS)
            vectors[rows] = self._encoder.finish(means[rows])
        return vectors

    # Texts without a parent.

    def embed_queries(
        self, texts: Sequence[str], partner: QueryPartner | None
    ) -> NDArray[np.float32]:
        """Query vectors, float32, shape ``(n, dimensions)``: through the query prompt."""
        encoder = self._plain_encoder(partner)
        self._check_truncation(texts, encoder, encoder.query_prompt)
        return self._scale(encoder.encode_queries(texts), "the queries")

    def embed_texts(
        self, texts: Sequence[str], partner: QueryPartner | None
    ) -> NDArray[np.float32]:
        """Standalone passage vectors, as the model itself gives them, ``(n, dimensions)``."""
        encoder = self._plain_encoder(partner)
        self._check_truncation(texts, encoder, self._encoder.document_prompt)
        self._stats.count("plain_texts", len(texts))
        return self._scale(encoder.encode_documents(texts), "the texts")

    def _scale(self, vectors: NDArray[np.float32], what: str) -> NDArray[np.float32]:
        check_vectors(vectors, what, self._encoder.dtype)
        return make_unit(vectors) if self._options.normalize else vectors

    def _plain_encoder(self, partner: QueryPartner | None) -> QueryEncoder:
        if partner is not None:
            return partner
        if not isinstance(self._encoder, QueryEncoder):
            raise OptionError(
                f"{type(self._encoder).__name__} cannot embed queries: give it the members of "
                "QueryEncoder, or the engine a partner with engine.with_queries"
            )
        return self._encoder

    def _check_truncation(self, texts: Sequence[str], encoder: QueryEncoder, prompt: str) -> None:
        longest = encoder.plain_tokens
        if longest is None:
            return
        room = longest - len(self._encoder.lead) - len(self._encoder.tail)
        # ASCII makes no more tokens than it has characters (one more for a mark in front), so
        # most texts need no second look. Normalisation may turn one other character into many.
        candidates = [
            text
            for text in texts
            if not (prompt + text).isascii() or len(prompt) + len(text) >= room
        ]
        tokens = self._encoder.tokenize(candidates, prompt)
        n_cut = sum(len(text.prompt) + len(text.ids) > room for text in tokens)
        if not n_cut:
            return
        reason = (
            f"{n_cut} of {len(texts)} standalone texts are longer than the model's window of "
            f"{longest} tokens and are cut there; embed them as chunks of a parent, or split them"
        )
        if self._options.strict:
            raise ParentTooLongError(reason)
        self._stats.report("truncated_texts", reason, n_cut)
