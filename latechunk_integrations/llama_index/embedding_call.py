"""`EmbeddingCall`: one call that gives nodes their vectors, and what it reports and leaves out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from llama_index.core.schema import BaseNode, MetadataMode
from tqdm.auto import tqdm

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.errors import IncompleteParentError, LateChunkError
from latechunk_integrations.flow.failures import FailureStreak, name_failure
from latechunk_integrations.llama_index.events import ParentEvents
from latechunk_integrations.llama_index.left_out import (
    FailedParent,
    OnError,
    describe_failure,
    without_nodes,
)
from latechunk_integrations.llama_index.marking import (
    MarkKey,
    VectorState,
    clear_vector,
    mark_node,
    vector_state,
)
from latechunk_integrations.llama_index.parent_cache import ParentCache
from latechunk_integrations.llama_index.parents import NodeParent
from latechunk_integrations.llama_index.sub_span_marks import ChunkParts
from latechunk_integrations.schema import ChunkVectors, Mode, Parent
from latechunk_integrations.stats import EngineStats

logger = logging.getLogger(__name__)

# Nodes that are embedded alone at once, so that sorting by length pays.
_EARLY_NODES = 512


@dataclass
class EmbeddingCall:
    """One call of an embed model, or of a node parser that has one.

    Args:
        handle: Gives the engine when the first parent needs it.
        key: What vectors are marked with.
        stats: Counts of the embed model.
        events: Are sent for each parent.
        cache: Vectors of parents.
        strict: What cannot be done as asked is an error.
        on_error: What a parent that fails does.
        failures: Takes what failed.
        show_progress: Show a bar.
    """

    handle: EngineHandle
    key: MarkKey
    stats: EngineStats
    events: ParentEvents
    cache: ParentCache | None
    strict: bool
    on_error: OnError
    failures: MutableSequence[FailedParent]
    show_progress: bool
    _left_out: set[int] = field(default_factory=set)
    _streak: FailureStreak = field(default_factory=FailureStreak)

    @cached_property
    def engine(self) -> LateChunkEngine:
        """The engine."""
        return self.handle.engine

    def embed_parents(
        self,
        parents: Iterable[NodeParent],
        *,
        bar: bool = True,
        parts: dict[str, ChunkParts] | None = None,
    ) -> None:
        """Set vectors and marks of the nodes of parents, whatever they carry.

        Args:
            parents: A stream of parents; skipped ones leave their nodes without embedding.
            bar: False: the caller has a bar of its own.
            parts: Takes in the sub-spans of each node, by its id.
        """
        hidden = not (bar and self.show_progress)
        for item, result in tqdm(self._embedded(parents), unit="parent", disable=hidden):
            self.stats.count("parents")
            self._streak.add(result)
            if isinstance(result, LateChunkError):
                self.leave_out(item.nodes, result)
                continue
            self.stats.count("skipped_parents", int(result.skipped))
            self.stats.count("chunks", len(result))
            self.stats.count("standalone_chunks", result.modes.count("standalone"))
            if result.skipped:
                for node in item.nodes:
                    clear_vector(node)
                continue
            rows = zip(item.nodes, result.modes, item.parent.spans.array.tolist(), strict=True)
            for vector, (node, mode, span) in zip(result.vectors.tolist(), rows, strict=True):
                node.embedding = vector
                mark_node(node, self.key, mode, item.parent, (span[0], span[1]))
            if parts is not None:
                parts |= ChunkParts.of_nodes(item.nodes, item.parent, result)

    def embed_alone(self, nodes: Iterable[BaseNode], *, bar: bool = True) -> None:
        """Embed each node alone, text for text as LlamaIndex's own embeddings do.

        Args:
            nodes: Nodes with text.
            bar: False: the caller has a bar of its own.
        """
        stream = iter(tqdm(nodes, unit="node", disable=not (bar and self.show_progress)))
        while batch := list(islice(stream, _EARLY_NODES)):
            self._embed_early(batch)

    def replace_foreign(self, nodes: Iterable[BaseNode]) -> None:
        """Take vectors that are not ours, or are out of date, off nodes, and count them."""
        for node in nodes:
            state = vector_state(node, self.key)
            if state is VectorState.FOREIGN:
                self.stats.count("foreign_vectors_replaced")
            elif state is VectorState.CHANGED:
                self.stats.count("changed_vectors_replaced")
            clear_vector(node)

    def report_problem(
        self, what: str, reason: str, *, error: type[LateChunkError] | None, parent_id: str
    ) -> None:
        """Count and log what was not done as asked; an error under ``strict``."""
        if self.strict and error is not None:
            raise error(reason, parent_id=parent_id)
        self.stats.report(what, reason)

    def leave_out(self, nodes: Sequence[BaseNode], error: LateChunkError) -> None:
        """Report nodes that have no vectors because their parent failed.

        Raises:
            LateChunkError: ``on_error="raise"``: this one.
        """
        if self.on_error == "raise":
            raise error
        failed = describe_failure(nodes, error)
        self.failures.append(failed)
        for node in nodes:
            clear_vector(node)
        self.drop(nodes)
        self.stats.count("failed_parents")
        logger.warning(
            "parent %r failed, and its %d nodes are left out of what the call gives back: %s: %s "
            "(counted in stats['failed_parents'], held in failures). Docstores take its documents "
            "for done: docstore.delete_document(document_id) lets the next run try them again",
            failed.parent_id,
            len(nodes),
            type(error).__name__,
            error,
        )

    def drop(self, nodes: Iterable[BaseNode]) -> None:
        """Leave nodes out without another word."""
        self._left_out.update(map(id, nodes))  # copies of a node have its node_id

    def is_left_out(self, node: BaseNode) -> bool:
        """Whether this very node was left out."""
        return id(node) in self._left_out

    def kept(self, nodes: Sequence[BaseNode]) -> Sequence[BaseNode]:
        """Those of the nodes that were not left out, in order."""
        return without_nodes(nodes, self._left_out) if self._left_out else nodes

    def open_parents(self, parents: Iterable[NodeParent]) -> Iterator[NodeParent]:
        """The parents of which not all nodes have their vector, cleared."""
        for item in parents:
            if all(vector_state(node, self.key) is VectorState.OWN for node in item.nodes):
                continue
            self.replace_foreign(item.nodes)
            try:
                self._report_missing(item)
            except IncompleteParentError as error:
                self.leave_out(item.nodes, error)
                continue
            yield item

    def open_nodes(self, nodes: Iterable[BaseNode]) -> Iterator[BaseNode]:
        """The nodes with text that have no vector of ours, cleared."""
        for node in nodes:
            if not node.get_content(metadata_mode=MetadataMode.EMBED).strip():
                continue
            if vector_state(node, self.key) is not VectorState.OWN:
                self.replace_foreign([node])
                yield node

    def _report_missing(self, item: NodeParent) -> None:
        if item.missing:
            self.report_problem(
                "incomplete_parents",
                f"of parent {item.parent.id!r} not everything is here, so that its chunks do "
                f"not see all of it: {item.missing}. Give all nodes of a parent in one call, "
                "or use LateChunkNodeParser, which reads the documents themselves; where "
                "documents come one by one, stamp_parents(documents, parent_by=...) first",
                error=IncompleteParentError,
                parent_id=item.parent.id,
            )

    def _embedded(
        self, parents: Iterable[NodeParent]
    ) -> Iterator[tuple[NodeParent, ChunkVectors | LateChunkError]]:
        """Parents with their vectors, cached ones among them, or with what failed."""
        waiting: deque[tuple[NodeParent, str]] = deque()
        ready: deque[tuple[NodeParent, ChunkVectors]] = deque()

        def not_cached() -> Iterator[Parent]:
            for item in parents:
                event_id = self.events.start()
                kept = self.cache and self.cache.find_vectors(self.key.engine, [item.parent])
                found = kept[0] if kept else None
                if found:
                    self.events.end(event_id, item.nodes, found, cached=True)
                    ready.append((item, found))
                    continue
                waiting.append((item, event_id))
                yield item.parent

        if self.on_error == "skip":
            results = self.engine.embed_iter(not_cached(), on_error="yield")
        else:
            results = self.engine.embed_iter(not_cached())
        for result in results:
            item, event_id = waiting.popleft()
            if isinstance(result, LateChunkError):
                self.events.fail(event_id, result)
                yield item, result
                continue
            self.events.end(event_id, item.nodes, result, cached=False)
            self.stats.count("windows", result.n_windows)
            if self.cache and not result.skipped:
                self.cache.keep_vectors(self.key.engine, item.parent, result)
            yield item, result
        self.stats.count("cached_parents", len(ready))
        yield from ready

    def _embed_early(self, nodes: Sequence[BaseNode]) -> None:
        """Nodes together; where that fails, each by itself."""
        try:
            self._embed_batch(nodes)
        except Exception as error:
            if self.on_error == "raise":
                raise
            if len(nodes) == 1:
                self.leave_out(nodes, name_failure(nodes[0].ref_doc_id or nodes[0].node_id, error))
                return
            for node in nodes:
                self._embed_early([node])

    def _embed_batch(self, nodes: Sequence[BaseNode]) -> None:
        event_id = self.events.start()
        texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        modes: tuple[Mode, ...] = tuple("standalone" for _ in nodes)
        try:
            result = ChunkVectors("", self.engine.embed_texts(texts), modes)
        except Exception as error:
            self.events.fail(event_id, error)
            raise
        for node, vector in zip(nodes, result.vectors.tolist(), strict=True):
            node.embedding = vector
            mark_node(node, self.key, "standalone")
        self.events.end(event_id, nodes, result, cached=False)
        self.stats.count("chunks", len(nodes))
        self.stats.count("standalone_chunks", len(nodes))
