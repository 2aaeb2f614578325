"""Parents to windows: what is tokenized, what is done late and what standalone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.alignment import Aligner
from latechunk_integrations.core.passages import (
    Passage,
    SumTable,
    TokenBuffer,
    Window,
    passage_windows,
)
from latechunk_integrations.core.windows import (
    WindowBudget,
    WindowPlan,
    divide_budget,
    plan_windows,
)
from latechunk_integrations.encoders.base import TokenEncoder, TokenizedText
from latechunk_integrations.errors import ChunkWithoutTokenError, ParentTooLongError, naming
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent, PoolingMode, TokenSpans
from latechunk_integrations.stats import EngineStats

__all__ = ["Block", "Job", "Planner"]

# Texts are handed to the tokenizer in groups, which it spreads over threads: of no more than this,
# and of no more than a block holds, for it takes some 80 bytes for each character.
_GROUP_TEXTS = 64
_GROUP_CHARS = 1 << 18
# Texts above this, and above half of a group, go through it piece by piece, in bounded memory.
_LONG_TEXT_CHARS = 1 << 15
# Less than most texts hold, so that the parents drawn together rarely make a second block.
_CHARS_PER_TOKEN = 3
# What a parent costs besides its characters, so that the number of tiny ones is bounded too.
_PARENT_CHARS = 32


@dataclass
class Job:
    """One parent on its way, until all of its windows are done.

    Args:
        parent: The parent.
        passage: Its tokens, where a late pass runs.
        plan: The windows of the late pass.
        late: Sums of the late pass, a row for each chunk.
        alone_rows: Chunks that are embedded standalone, int64.
        alone: Sums of the standalone pass, a row for each of ``alone_rows``.
        header: Sums of the header's own vector, one row.
        skipped: The parent is left out.
        n_windows: Windows that the late pass has taken.
        planned: All windows have been given out.
    """

    parent: Parent
    passage: Passage | None = None
    plan: WindowPlan | None = None
    late: SumTable | None = None
    alone_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    alone: SumTable | None = None
    header: SumTable | None = None
    skipped: bool = False
    n_windows: int = 0
    planned: bool = False

    @property
    def done(self) -> bool:
        """Whether every sum is complete."""
        # In this order: until all is planned, another thread may still be adding tables.
        if not self.planned:
            return False
        tables = (self.late, self.alone, self.header)
        return all(table is None or table.n_open == 0 for table in tables)


@dataclass(frozen=True)
class Block:
    """What is encoded together.

    Args:
        jobs: Jobs that begin in this block, in the order of their parents.
        windows: Windows of these jobs and of the last one before them.
        is_last: No block of the same parents follows.
    """

    jobs: list[Job]
    windows: list[Window]
    is_last: bool


class Planner:
    """Turns parents into jobs and jobs into windows.

    Args:
        encoder: Gives tokens, and the sizes that windows depend on.
        options: What was asked for.
        stats: Where that is counted which cannot be done as asked.
    """

    def __init__(
        self, encoder: TokenEncoder, options: LateChunkOptions, stats: EngineStats
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._stats = stats
        # An encoder may pool a text that stands alone as its model does it, and chunks otherwise.
        self._alone_pooling = encoder.standalone_pooling

    def blocks(self, parents: Iterable[Parent], n_tokens: int) -> Iterator[Block]:
        """Blocks of windows, each planned by another thread while the caller encodes one.

        Parents are drawn in the caller's thread: a database cursor or a context variable behind
        them may belong to it.

        Args:
            parents: Any number of parents.
            n_tokens: About as many tokens make a block.

        Raises:
            ParentTooLongError: A parent is too long for the options.
            ChunkWithoutTokenError: ``strict`` and no token overlaps a chunk.
        """
        planned: Block | None = None
        # Leaving this, also when the caller closes the stream, waits for the block in hand.
        with ThreadPoolExecutor(1, thread_name_prefix="latechunk-plan") as thread:
            for group in _groups(parents, n_tokens * _CHARS_PER_TOKEN, None):
                blocks = self._blocks(group, n_tokens)
                is_last = False
                while not is_last:
                    following = thread.submit(next, blocks)
                    if planned is not None:
                        yield planned
                    planned = following.result()
                    is_last = planned.is_last
        if planned is not None:
            yield planned

    def _blocks(self, parents: Iterable[Parent], n_tokens: int) -> Iterator[Block]:
        jobs: list[Job] = []
        windows: list[Window] = []
        n_planned = 0
        for job in self.jobs(parents, n_tokens * _CHARS_PER_TOKEN):
            jobs.append(job)
            for window in self.windows(job):
                windows.append(window)
                n_planned += window.length
                if n_planned >= n_tokens:
                    yield Block(jobs, windows, is_last=False)
                    jobs, windows, n_planned = [], [], 0
        yield Block(jobs, windows, is_last=True)

    def jobs(self, parents: Iterable[Parent], n_chars: int = _GROUP_CHARS) -> Iterator[Job]:
        """Tokenize parents in groups, and decide what is done with each.

        Args:
            parents: Any number of parents.
            n_chars: About as many characters make a group.

        Raises:
            ParentTooLongError: A parent is too long for the options.
            ChunkWithoutTokenError: ``strict`` and no token overlaps a chunk.
        """
        prompt = self._encoder.document_prompt
        n_chars = min(n_chars, _GROUP_CHARS)
        longest = max(n_chars // 2, _LONG_TEXT_CHARS)
        for group in _groups(parents, n_chars, _GROUP_TEXTS):
            if not self._options.late:
                yield from map(_standalone_job, group)
                continue
            is_long = [len(parent.text) > longest for parent in group]
            short = [parent for parent, long in zip(group, is_long, strict=True) if not long]
            with naming([parent.id for parent in short]):
                tokens = iter(self._encoder.tokenize([parent.text for parent in short], prompt))
            for parent, long in zip(group, is_long, strict=True):
                if long:
                    yield self._job(parent, self._encoder.tokenize_pieces(parent.text, prompt))
                else:
                    yield self._job(parent, [next(tokens)])

    def windows(self, job: Job) -> Iterator[Window]:
        """The windows of a job: its late pass, its standalone pass, its header."""
        if job.passage is not None and job.plan is not None:
            for window in passage_windows(job.passage, job.plan, self._encoder.pooling):
                job.n_windows += 1
                yield window
            job.passage = None
        header = job.parent.header
        if len(job.alone_rows):
            job.alone = self._table(len(job.alone_rows), job.parent)
            texts = (job.parent.chunk_text(int(row)) for row in job.alone_rows)
            yield from self._text_windows(texts, header, job.alone)
        if self._options.header_weight and header.strip() and not job.skipped:
            job.header = self._table(1, job.parent)
            yield from self._text_windows([header], "", job.header)
        job.planned = True

    def _job(self, parent: Parent, pieces: Iterable[TokenizedText]) -> Job:
        aligner = Aligner(parent.spans)
        ids: list[NDArray[np.int32]] = []
        prompts: list[NDArray[np.int32]] = []
        edges: list[NDArray[np.int64]] = []
        with naming([parent.id]):
            for piece in pieces:
                if piece.edges is not None:
                    edges.append(piece.edges + aligner.n_tokens)
                aligner.add(piece.offsets)
                ids.append(piece.ids)
                prompts.append(piece.prompt)
            # A server is asked here, where its errors can name the parent.
            self._encoder.tokenize_header(parent.header)
        tokens, prompt = TokenBuffer(ids), np.concatenate(prompts)
        if tokens.n_tokens < self._options.min_parent_tokens:
            self._stats.count("short_parents")
            return _standalone_job(parent)
        budget = self._share(tokens, prompt, parent.header)
        self._report_cut(parent, budget)
        if tokens.n_tokens > budget.room and self._options.fallback != "window":
            return self._long_job(parent, tokens.n_tokens, budget.room)
        plan = plan_windows(tokens.n_tokens, budget, np.concatenate(edges) if edges else None)
        return self._late_job(parent, tokens, prompt, budget, plan, aligner.token_spans())

    def _late_job(
        self,
        parent: Parent,
        tokens: TokenBuffer,
        prompt: NDArray[np.int32],
        budget: WindowBudget,
        plan: WindowPlan,
        spans: TokenSpans,
    ) -> Job:
        without = np.flatnonzero(spans.lengths == 0)
        if len(without):
            self._report_without_token(parent, without)
        if len(without) == len(spans):
            return _standalone_job(parent)
        table = self._table(len(spans), parent)
        return Job(
            parent,
            passage=self._passage(
                tokens, prompt, budget, parent.header, spans, table, self._encoder.pooling
            ),
            plan=plan,
            late=table,
            alone_rows=self._blended(parent, spans) if self._options.standalone else without,
        )

    def _blended(self, parent: Parent, spans: TokenSpans) -> NDArray[np.int64]:
        """The chunks whose standalone vector is another than their late one.

        A chunk over the whole text goes through the same windows alone as with its parent.
        """
        whole = (parent.spans.starts == 0) & (parent.spans.ends == len(parent.text))
        same = whole & (spans.lengths > 0) & (self._alone_pooling == self._encoder.pooling)
        return np.flatnonzero(~same)

    def _long_job(self, parent: Parent, n_tokens: int, room: int) -> Job:
        reason = (
            f"parent {parent.id!r} has {n_tokens} tokens, a window leaves room for {room}; "
            "raise max_tokens or use fallback='window'"
        )
        if self._options.fallback == "error" or self._options.strict:
            raise ParentTooLongError(reason, parent_id=parent.id)
        if self._options.fallback == "skip":
            self._stats.report("skipped_parents", f"skipped: {reason}")
            return Job(parent, skipped=True)
        self._stats.report("long_parents_standalone", f"chunks embedded standalone: {reason}")
        return _standalone_job(parent)

    def _text_windows(self, texts: Iterable[str], header: str, table: SumTable) -> Iterator[Window]:
        """The windows of texts embedded alone, each one chunk: a row of the table."""
        n_done = 0
        for group in _grouped_texts(texts):
            with naming([table.parent_id] * len(group)):
                tokenized = self._encoder.tokenize(group, self._encoder.document_prompt)
            for text in tokenized:
                tokens = TokenBuffer([text.ids])
                budget = self._share(tokens, text.prompt, header)
                passage = self._passage(
                    tokens,
                    text.prompt,
                    budget,
                    header,
                    TokenSpans([(0, tokens.n_tokens)]),
                    table,
                    self._alone_pooling,
                    first_row=n_done,
                )
                plan = plan_windows(tokens.n_tokens, budget, text.edges)
                yield from passage_windows(passage, plan, self._alone_pooling)
                n_done += 1

    def _passage(
        self,
        tokens: TokenBuffer,
        prompt: NDArray[np.int32],
        budget: WindowBudget,
        header: str,
        spans: TokenSpans,
        table: SumTable,
        pooling: PoolingMode,
        *,
        first_row: int = 0,
    ) -> Passage:
        lead = np.concatenate([self._encoder.lead, prompt])
        # Pooled in any case where a special token is all that there is, or what the model reads.
        edges = (
            self._options.pool_edges or not tokens.n_tokens or pooling not in ("mean", "weighted")
        )
        unpooled = len(prompt) and not self._encoder.prompt_pooled
        return Passage(
            lead=lead,
            # sentence-transformers leaves out what stands before the prompt along with it.
            lead_pooled=len(lead) if unpooled or not edges else 0,
            header=self._encoder.tokenize_header(header)[: budget.header],
            tokens=tokens,
            tail=self._encoder.tail,
            spans=spans,
            first_row=first_row,
            table=table,
            tail_pooled=edges,
        )

    def _table(self, n_rows: int, parent: Parent) -> SumTable:
        return SumTable(n_rows, self._encoder.token_dim, parent.id)

    def _share(self, tokens: TokenBuffer, prompt: NDArray[np.int32], header: str) -> WindowBudget:
        encoder = self._encoder
        return divide_budget(
            encoder.max_tokens,
            fixed=len(encoder.lead) + len(prompt) + len(encoder.tail),
            header=len(encoder.tokenize_header(header)),
            n_tokens=tokens.n_tokens,
            preamble=self._options.preamble_tokens,
            overlap=self._options.overlap_tokens,
        )

    def _report_cut(self, parent: Parent, budget: WindowBudget) -> None:
        for what in budget.cut:
            self._stats.report(
                f"{what}s_cut",
                f"the {what} of parent {parent.id!r} was shortened: half of a window of "
                f"{self._encoder.max_tokens} tokens belongs to the text",
            )

    def _report_without_token(self, parent: Parent, rows: NDArray[np.int64]) -> None:
        start, end = (int(bound) for bound in parent.spans.array[rows[0]])
        reason = (
            f"no token overlaps {len(rows)} chunks of parent {parent.id!r}, the first at "
            f"[{start}, {end}): they hold white space or characters that the tokenizer drops"
        )
        if self._options.strict:
            raise ChunkWithoutTokenError(reason, parent_id=parent.id, span=(start, end))
        self._stats.report("chunks_without_token", f"{reason}; embedded standalone", len(rows))


def _standalone_job(parent: Parent) -> Job:
    return Job(parent, alone_rows=np.arange(len(parent.spans)))


def _groups(
    parents: Iterable[Parent], max_chars: int, max_parents: int | None
) -> Iterator[list[Parent]]:
    group: list[Parent] = []
    n_chars = 0
    for parent in parents:
        group.append(parent)
        n_chars += len(parent.text) + _PARENT_CHARS
        if len(group) == max_parents or n_chars >= max_chars:
            yield group
            group, n_chars = [], 0
    if group:
        yield group


def _grouped_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while group := list(islice(iterator, _GROUP_TEXTS)):
        yield group
