"""`LateChunkEmbedding`: an embed model that reads the whole source of the nodes it is given."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index_instrumentation import get_dispatcher
from pydantic import SecretStr
from tqdm.auto import tqdm

from latechunk_integrations.engine import LateChunkEngine, shared_engine
from latechunk_integrations.errors import IncompleteParentError, OptionError, UnknownChunkError
from latechunk_integrations.llama_index.events import LateChunkEndEvent, LateChunkStartEvent
from latechunk_integrations.llama_index.metadata import mark_parent
from latechunk_integrations.llama_index.parents import NodeParent, ParentLevel, parents_of
from latechunk_integrations.llama_index.vector_cache import Role, VectorCache
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors
from latechunk_integrations.stats import EngineStats

__all__ = ["LateChunkEmbedding"]

dispatcher = get_dispatcher(__name__)

_FIELDS = {*BaseEmbedding.model_fields, "metadata_as_header", "parent_level", "show_progress"}


class LateChunkEmbedding(BaseEmbedding):
    """Embeds nodes with the context of their source, queries with the model's query prompt.

    In ``transformations`` behind any node parser it groups nodes by source and embeds each
    group as one parent; nodes that carry an embedding are left as they are. Asked for plain
    texts, which have no parent, it embeds them standalone, says so and counts them in `stats`
    (``strict=True``: `UnknownChunkError`).

    Args:
        model_name: A hub name or a local path.
        engine: A loaded engine instead of a model name.
        metadata_as_header: Let nodes attend to their metadata without pooling it. False: pool
            it with each node, as LlamaIndex does.
        parent_level: ``"section"``: behind a Markdown or HTML parser each section is a parent;
            ``"document"``: all nodes of a source are one.
        show_progress: Show a bar over parents, also where LlamaIndex does not pass its own
            ``show_progress`` on.
        embeddings_cache: A LlamaIndex key-value store for vectors. It is used under keys of our
            own, since the text alone does not tell a late vector.
        **options: Fields of `LateChunkOptions`, and of LlamaIndex's ``BaseEmbedding``.

    Raises:
        OptionError: An option is unknown, impossible, or given beside an engine.
    """

    options: dict[str, Any] = Field(description="Every option of the engine.")
    metadata_as_header: bool = Field(
        default=True, description="Attend to metadata instead of pooling it with each chunk."
    )
    parent_level: ParentLevel = Field(
        default="section", description="What becomes a parent: a whole source or each section."
    )
    show_progress: bool = Field(
        default=False, exclude=True, description="Show a progress bar over parents."
    )
    _engine: LateChunkEngine | None = PrivateAttr(default=None)
    # Apart from `options`, which are serialised.
    _api_key: SecretStr | None = PrivateAttr(default=None)
    _cache: VectorCache | None = PrivateAttr(default=None)
    _stats: EngineStats = PrivateAttr(default_factory=EngineStats)

    def __init__(
        self,
        model_name: str = "",
        *,
        engine: LateChunkEngine | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # What is no field of LlamaIndex's is an option, or a mistake that the options name.
        flat = {name: kwargs.pop(name) for name in list(kwargs) if name not in _FIELDS}
        merged = {**(options or {}), **flat}
        if engine is None:
            checked = LateChunkOptions.from_mapping({**merged, "model": model_name})
        elif merged:
            raise OptionError(f"the engine has its options already; leave out {sorted(merged)}")
        else:
            checked = engine.options
        store = kwargs.pop("embeddings_cache", None)
        super().__init__(model_name=checked.model, options=checked.to_dict(), **kwargs)  # type: ignore[call-arg]  # the plugin does not see our own fields
        self._engine = engine
        self._api_key = checked.api_key
        self.embeddings_cache = store

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep a cache where LlamaIndex does not use it with texts as keys."""
        if name == "embeddings_cache":
            self._cache = None if value is None else VectorCache(value)
            return
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkEmbedding"

    @property
    def engine(self) -> LateChunkEngine:
        """The engine; loaded on first use, once for a process and its options."""
        if self._engine is None:
            options = {**self.options, "api_key": self._api_key}
            self._engine = shared_engine(LateChunkOptions.from_mapping(options))
        return self._engine

    @property
    def stats(self) -> dict[str, int]:
        """The engine's counts, and what nodes could not be given as asked.

        ``standalone_texts``: texts that came without nodes; ``incomplete_parents``: parents of
        which some nodes were not given; ``rewritten_parents``: sources whose text the node
        parser changed, so that their chunks are the parent; ``cached_parents``.
        """
        return {**self.engine.stats, **self._stats.to_dict()}

    @property
    def strict(self) -> bool:
        """Whether what cannot be done late is an error."""
        return bool(self.options["strict"])

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Every field, and the fingerprint of the model, for the keys of ingestion caches."""
        return {**super().to_dict(**kwargs), "fingerprint": self.engine.fingerprint}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> LateChunkEmbedding:
        """Build what `to_dict` described; the model is loaded on first use."""
        data = {name: value for name, value in data.items() if name != "fingerprint"}
        return super().from_dict(data, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model, the cache and the counts behind: a worker has its own."""
        bare = copy.copy(self)  # other threads may be embedding with this one
        object.__setattr__(bare, "__pydantic_private__", None)
        return super(LateChunkEmbedding, bare).__getstate__()

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Set the embedding of every node that has none; the nodes come back in order.

        Raises:
            IncompleteParentError: ``strict`` and nodes of a source are missing.
        """
        parents = parents_of(
            nodes, metadata_as_header=self.metadata_as_header, parent_level=self.parent_level
        )
        self.embed_parents(parents, show_progress=bool(kwargs.get("show_progress")))
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """The same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def embed_parents(
        self, parents: Iterable[NodeParent], *, show_progress: bool = False, bar: bool = True
    ) -> None:
        """Set the embedding and the parent's fingerprint of the nodes of parents.

        Args:
            parents: A stream of parents; skipped ones leave their nodes without embedding.
            show_progress: Show a bar over parents.
            bar: False: the caller has a bar of its own.
        """
        payload = self.to_payload()
        dispatcher.event(LateChunkStartEvent(model_dict=payload))
        event = LateChunkEndEvent(chunks=[], embeddings=[])
        with self.callback_manager.event(
            CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: payload}
        ) as callback:
            hidden = not (bar and (show_progress or self.show_progress))
            for item, result in tqdm(self._embedded(parents, event), unit="parent", disable=hidden):
                event.n_parents += 1
                event.n_standalone += result.modes.count("standalone")
                if result.skipped:
                    continue
                for node, vector in zip(item.nodes, result.vectors.tolist(), strict=True):
                    node.embedding = vector
                    mark_parent(node, item.parent)
                    event.chunks.append(node.get_content(metadata_mode=MetadataMode.EMBED))
                    event.embeddings.append(vector)
            callback.on_end(
                {EventPayload.CHUNKS: event.chunks, EventPayload.EMBEDDINGS: event.embeddings}
            )
        dispatcher.event(event)

    def report(self, what: str, message: str, n: int = 1) -> None:
        """Count and log something that was not done as asked."""
        self._stats.report(what, message, n)

    def _embedded(
        self, parents: Iterable[NodeParent], event: LateChunkEndEvent
    ) -> Iterator[tuple[NodeParent, ChunkVectors]]:
        """Parents with their vectors, cached ones among them."""
        waiting: deque[NodeParent] = deque()
        ready: deque[tuple[NodeParent, ChunkVectors]] = deque()

        def not_cached() -> Iterator[Any]:
            for item in parents:
                self._check_complete(item)
                found = self._cache and self._cache.get_parent(self.engine, item.parent)
                if found:
                    ready.append((item, found))
                    continue
                waiting.append(item)
                yield item.parent

        for result in self.engine.embed_iter(not_cached()):
            item = waiting.popleft()
            event.n_windows += result.n_windows
            if self._cache and not result.skipped:
                self._cache.put_parent(self.engine, item.parent, result)
            yield item, result
        event.n_cached = len(ready)
        self._stats.count("cached_parents", len(ready))
        yield from ready

    def _check_complete(self, item: NodeParent) -> None:
        if not item.n_absent:
            return
        reason = (
            f"{item.n_absent} neighbours of the nodes of parent {item.parent.id!r} were not given, "
            "so that these nodes do not see all of it: give all nodes of a document in one call, "
            "or use LateChunkNodeParser, which reads the document itself"
        )
        if self.strict:
            raise IncompleteParentError(reason, parent_id=item.parent.id)
        self.report("incomplete_parents", reason)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._plain("query", [query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        reason = (
            "texts without nodes have no parent and are embedded standalone. Put "
            "LateChunkNodeParser, or this embed model behind your node parser, into "
            "`transformations`; an index from `from_vector_store` or `load_index_from_storage` "
            "wants `transformations=` too, else `insert` splits with Settings.transformations"
        )
        if self.strict:
            raise UnknownChunkError(reason)
        self.report("standalone_texts", reason, len(texts))
        return self._plain("text", texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    def _plain(self, role: Role, texts: list[str]) -> list[list[float]]:
        """Vectors of texts without a parent, those in the cache from there."""
        embed = self.engine.embed_queries if role == "query" else self.engine.embed_texts
        cache = self._cache
        if cache is None:
            vectors: list[list[float]] = embed(texts).tolist()
            return vectors
        found = {text: cache.get_text(self.engine, role, text) for text in texts}
        missing = [text for text, vector in found.items() if vector is None]
        for text, vector in zip(missing, embed(missing).tolist(), strict=True):
            cache.put_text(self.engine, role, text, vector)
            found[text] = vector
        return [vector for text in texts if (vector := found[text]) is not None]
