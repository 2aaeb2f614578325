"""`LateChunkEmbedding`: an embed model that reads the whole source of the nodes it is given."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr, field_serializer
from llama_index.core.schema import BaseNode, MetadataMode
from tqdm.auto import tqdm

from latechunk_integrations.adapter_fields import (
    EngineFields,
    engine_options,
    field_options,
    vector_key,
)
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.errors import (
    FingerprintMismatchError,
    IncompleteParentError,
    LateChunkError,
    OptionError,
)
from latechunk_integrations.llama_index.choices import (
    Choice,
    describe_choice,
    is_described_function,
)
from latechunk_integrations.llama_index.counters import COUNTERS, TEXTS_WITHOUT_NODES
from latechunk_integrations.llama_index.events import ParentEvents
from latechunk_integrations.llama_index.headers import HeaderChoice, check_header
from latechunk_integrations.llama_index.hugging_face import HUGGING_FACE_HINTS, from_hugging_face
from latechunk_integrations.llama_index.marking import (
    VectorState,
    clear_vector,
    mark_node,
    vector_state,
)
from latechunk_integrations.llama_index.metadata import MetadataRole, check_roles
from latechunk_integrations.llama_index.parent_cache import ParentCache
from latechunk_integrations.llama_index.parents import (
    Grouping,
    NodeParent,
    ParentLevel,
    parents_of,
)
from latechunk_integrations.llama_index.plain import PlainEmbedding
from latechunk_integrations.llama_index.sources import ParentBy, check_parent_by
from latechunk_integrations.llama_index.sub_span_marks import ChunkParts, SubSpanNodes
from latechunk_integrations.options import TRANSPORT_OPTIONS, LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Mode, Parent
from latechunk_integrations.stats import EngineStats

__all__ = ["LateChunkEmbedding"]

# Nodes that are embedded alone at once, so that sorting by length pays.
_EARLY_NODES = 512
# What changes how the work is done and no vector.
_HOW = (
    *("embed_batch_size", "num_workers", "embeddings_cache"),
    *("device", "batch_tokens", "strict"),
    *(name for name in TRANSPORT_OPTIONS if name != "base_url"),
)


class LateChunkEmbedding(BaseEmbedding, EngineFields):
    """Embeds nodes with the context of their source, queries with the model's query prompt.

    In ``transformations`` behind any node parser it groups nodes by source and embeds each
    group as one parent. Nodes that carry a vector of this model and these options, made of what
    they hold now, are left as they are; any other vector is replaced and counted. Asked for plain
    texts, which have no parent, it embeds them standalone and counts them in `stats`.

    Args:
        model_name: A hub name or a local path; ``model`` is the same.
        engine: A loaded engine instead of a model name.
        header: What nodes attend to beside their text. ``"auto"``: the document's title and the
            headings above the node's place, then the metadata that have this role; a metadata
            key: the title from there, and the headings; a function: what it gives for a node;
            None: nothing.
        metadata_roles: Role by metadata key: ``"header"``, what nodes attend to, or
            ``"content"``, what is pooled with a node's text; ``"*"``: all other keys. Without it
            what comes from the document, or is the same for all its nodes, is header, and what a
            node has alone is content.
        parent_by: Metadata key, or function of a node, that says which source documents are one
            parent, such as ``"file_path"`` for the pages of a file.
        parent_level: ``"section"``: behind a Markdown or HTML parser each section is a parent;
            ``"document"``: all nodes of a source are one. Where `parent_by` joins, it says.
        show_progress: Show a bar over parents, also where LlamaIndex does not say so.
        embeddings_cache: A LlamaIndex key-value store for the vectors of parents, under keys of
            our own, since the text alone does not tell a late vector.
        **options: Fields of `LateChunkOptions` (see `EngineFields`), and of ``BaseEmbedding``.
            ``max_length``, ``query_instruction``, ``text_instruction`` and ``show_progress_bar``
            of ``HuggingFaceEmbedding`` are understood.

    Raises:
        OptionError: An option is unknown, impossible, or given beside an engine.
    """

    header: HeaderChoice = Field(
        default="auto", description="Where headers come from: found, a key, a function, nowhere."
    )
    metadata_roles: dict[str, MetadataRole] = Field(
        default_factory=dict, description="Role of metadata by key: header or content."
    )
    parent_by: ParentBy | None = Field(
        default=None, description="Which source documents are one parent."
    )
    parent_level: ParentLevel = Field(
        default="section", description="What becomes a parent: a whole source or each section."
    )
    show_progress: bool = Field(
        default=False, exclude=True, description="Show a progress bar over parents."
    )
    _handle: EngineHandle = PrivateAttr()
    _cache: ParentCache | None = PrivateAttr(default=None)
    _stats: EngineStats = PrivateAttr(default_factory=EngineStats)

    if TYPE_CHECKING:
        # The signature is that of the fields, and of an engine that takes their place.
        engine: LateChunkEngine = Field(default=...)
    else:

        def __init__(
            self, model_name: str = "", *, engine: LateChunkEngine | None = None, **fields: Any
        ) -> None:
            """Check everything once; what is no field gets a hint."""
            own = _own_fields(type(self))
            ours = {name: fields.pop(name) for name in list(fields) if name in own}
            given = {"model_name": model_name, **from_hugging_face(fields, ours)}
            checked = engine_options(given, engine=engine, own=own, foreign=HUGGING_FACE_HINTS)
            check_parent_by(ours.get("parent_by"))
            check_header(ours.get("header"))
            ours["metadata_roles"] = check_roles(ours.get("metadata_roles") or {})
            store = ours.pop("embeddings_cache", None)
            super().__init__(model_name=checked.model, **field_options(checked), **ours)
            self._handle = EngineHandle(checked) if engine is None else EngineHandle.of(engine)
            self.embeddings_cache = store

        @property
        def engine(self) -> LateChunkEngine:
            """The engine; loaded on first use, once for a process and its options."""
            return self._handle.engine

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep a cache where LlamaIndex does not use it with texts as keys; options stay."""
        if name == "embeddings_cache":
            self._cache = None if value is None else ParentCache(value)
            return
        if name == "model_name" or name in EngineFields.model_fields:
            raise OptionError(
                f"{name} cannot be changed once the embed model is built: build another one, "
                f"{type(self).__name__}(model_name=..., {name}=...)"
            )
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkEmbedding"

    @property
    def options(self) -> LateChunkOptions:
        """What the engine is, or will be, asked for."""
        return self._handle.options

    @property
    def engine_key(self) -> str:
        """The fingerprint that nodes carry and caches use; see `vector_key`."""
        known = vector_key(self.options, self._handle.loaded)
        return known or vector_key(self.options, self.engine) or ""

    @property
    def grouping(self) -> Grouping:
        """How nodes become parents."""
        return Grouping(self.metadata_roles, self.parent_level, self.parent_by, self.header)

    @property
    def stats(self) -> dict[str, int]:
        """What this embed model did, and what nodes could not be given as asked.

        Every counter is there from the start. ``standalone_texts``: texts that came without
        nodes; ``sourceless_nodes``: nodes that name no source; ``incomplete_parents``: parents
        of which something was not given; ``rewritten_parents``: sources whose text the node
        parser changed, so that their chunks are the parent; ``foreign_vectors_replaced``,
        ``changed_vectors_replaced``: vectors of another model, or of what a node held before.
        The engine, which others may share, has its own counts: ``engine.stats``.
        """
        return {**dict.fromkeys(COUNTERS, 0), **self._stats.to_dict()}

    def plain(self) -> PlainEmbedding:
        """The same model for what has no parent by right: early chunking, nothing counted.

        For semantic splitters, selectors, memories, evaluators and tools.
        """
        return PlainEmbedding(late=self)

    @field_serializer("parent_by", "header")
    def _serialize_choice(self, choice: Choice | None) -> str | None:
        return describe_choice(choice)

    def to_payload(self) -> dict[str, Any]:
        """What observers of events are shown."""
        return {"class_name": self.class_name(), "model_name": self.model_name}

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """What vectors depend on, for the keys of ingestion caches; no model is loaded.

        Timeouts, batch sizes, the device and ``strict`` are left out, so that changing them
        embeds nothing anew. Where a hub model was not downloaded yet, its name stands for it.
        """
        data = super().to_dict(**kwargs)
        for name in _HOW:
            data.pop(name, None)
        return {**data, "fingerprint": vector_key(self.options, self._handle.loaded)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> LateChunkEmbedding:
        """Build what `to_dict` described; the model is loaded on first use.

        Raises:
            FingerprintMismatchError: The model's files are not those that were described.
            OptionError: ``parent_by`` or ``header`` was a function: pass it again.
        """
        fields = dict(data)
        described = fields.pop("fingerprint", None)
        for name in ("parent_by", "header"):
            if is_described_function(fields.get(name)) and name not in kwargs:
                raise OptionError(f"{name} is a function: pass it as from_dict(data, {name}=...)")
        built = super().from_dict(fields, **kwargs)
        found = vector_key(built.options)
        if described is not None and found is not None and found != described:
            raise FingerprintMismatchError(
                f"{built.model_name!r} is not the model that was described, or its options were "
                "changed: name the revision, take the files back, or build a new embed model "
                "and index anew",
                expected=described,
                found=found,
            )
        return built

    def __getstate__(self) -> dict[str, Any]:
        """Leave model, key, cache and counts behind; the handle says which model it was."""
        bare = super().__copy__()  # other threads may be embedding with this one
        object.__setattr__(bare, "__dict__", {**self.__dict__, "api_key": None})
        object.__setattr__(bare, "__pydantic_private__", None)
        return {**super(LateChunkEmbedding, bare).__getstate__(), "handle": self._handle}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load nothing yet."""
        fields = dict(state)
        handle = fields.pop("handle")
        super().__setstate__(fields)
        self._handle = handle

    def __copy__(self) -> LateChunkEmbedding:
        """A copy that shares the model and has counts of its own."""
        twin = super().__copy__()
        twin._handle, twin._stats = copy.copy(self._handle), EngineStats()  # noqa: SLF001  # our own
        return twin

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> LateChunkEmbedding:
        return self.__copy__()

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give every node its late vector; the nodes come back in order.

        Raises:
            IncompleteParentError: ``strict`` and something of a parent is missing.
            UnknownChunkError: ``strict`` and a node names no source.
        """
        show = bool(kwargs.get("show_progress"))
        given = SubSpanNodes.of(nodes, self.engine_key)
        if not self.enabled:
            self.embed_alone(self._open_nodes(given.others), show_progress=show)
        whole = [*given.others, *given.chunks] if self.enabled else given.chunks
        parents = self._open_parents(parents_of(whole, self.grouping, self.report_problem))
        self.embed_parents(parents, show_progress=show, parts=given.found if given.parts else None)
        given.fill(self.engine_key)
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """The same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def embed_parents(
        self,
        parents: Iterable[NodeParent],
        *,
        show_progress: bool = False,
        bar: bool = True,
        parts: dict[str, ChunkParts] | None = None,
    ) -> None:
        """Set vectors and marks of the nodes of parents, whatever they carry.

        Args:
            parents: A stream of parents; skipped ones leave their nodes without embedding.
            show_progress: Show a bar over parents.
            bar: False: the caller has a bar of its own.
            parts: Takes in the sub-spans of each node, by its id.
        """
        hidden = not (bar and (show_progress or self.show_progress))
        engine_key = self.engine_key
        for item, result in tqdm(self._embedded(parents), unit="parent", disable=hidden):
            self._stats.count("parents")
            self._stats.count("skipped_parents", int(result.skipped))
            self._stats.count("chunks", len(result))
            self._stats.count("standalone_chunks", result.modes.count("standalone"))
            if result.skipped:
                for node in item.nodes:
                    clear_vector(node)
                continue
            rows = zip(item.nodes, result.modes, item.parent.spans.array.tolist(), strict=True)
            for vector, (node, mode, span) in zip(result.vectors.tolist(), rows, strict=True):
                node.embedding = vector
                mark_node(node, engine_key, mode, item.parent, (span[0], span[1]))
            if parts is not None:
                parts |= ChunkParts.of_nodes(item.nodes, item.parent, result)

    def embed_alone(self, nodes: Iterable[BaseNode], *, show_progress: bool = False) -> None:
        """Embed each node alone, text for text as LlamaIndex's own embeddings do.

        Args:
            nodes: Nodes with text.
            show_progress: Show a bar over nodes.
        """
        events = ParentEvents(self.to_payload(), self.callback_manager)
        engine_key = self.engine_key
        stream = iter(tqdm(nodes, unit="node", disable=not (show_progress or self.show_progress)))
        while batch := list(islice(stream, _EARLY_NODES)):
            event_id = events.start()
            texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in batch]
            modes: tuple[Mode, ...] = tuple("standalone" for _ in batch)
            result = ChunkVectors("", self.engine.embed_texts(texts), modes)
            for node, vector in zip(batch, result.vectors.tolist(), strict=True):
                node.embedding = vector
                mark_node(node, engine_key, "standalone")
            events.end(event_id, batch, result, cached=False)
            self._stats.count("chunks", len(batch))
            self._stats.count("standalone_chunks", len(batch))

    def replace_foreign(self, nodes: Iterable[BaseNode]) -> None:
        """Take vectors that are not ours, or are out of date, off nodes, and count them."""
        engine_key = self.engine_key
        for node in nodes:
            state = vector_state(node, engine_key)
            if state is VectorState.FOREIGN:
                self._stats.count("foreign_vectors_replaced")
            elif state is VectorState.CHANGED:
                self._stats.count("changed_vectors_replaced")
            clear_vector(node)

    def report_problem(
        self, what: str, reason: str, *, error: type[LateChunkError] | None, parent_id: str
    ) -> None:
        """Count and log what was not done as asked; an error under ``strict``."""
        if self.strict and error is not None:
            raise error(reason, parent_id=parent_id)
        self._stats.report(what, reason)

    def _open_parents(self, parents: Iterable[NodeParent]) -> Iterator[NodeParent]:
        """The parents of which not all nodes have their vector, cleared."""
        engine_key = self.engine_key
        for item in parents:
            if all(vector_state(node, engine_key) is VectorState.OWN for node in item.nodes):
                continue
            self.replace_foreign(item.nodes)
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
            yield item

    def _open_nodes(self, nodes: Iterable[BaseNode]) -> Iterator[BaseNode]:
        """The nodes with text that have no vector of ours, cleared."""
        engine_key = self.engine_key
        for node in nodes:
            if not node.get_content(metadata_mode=MetadataMode.EMBED).strip():
                continue
            if vector_state(node, engine_key) is not VectorState.OWN:
                self.replace_foreign([node])
                yield node

    def _embedded(self, parents: Iterable[NodeParent]) -> Iterator[tuple[NodeParent, ChunkVectors]]:
        """Parents with their vectors, cached ones among them."""
        events = ParentEvents(self.to_payload(), self.callback_manager)
        engine_key = self.engine_key
        waiting: deque[tuple[NodeParent, str]] = deque()
        ready: deque[tuple[NodeParent, ChunkVectors]] = deque()

        def not_cached() -> Iterator[Parent]:
            for item in parents:
                event_id = events.start()
                found = self._cache and self._cache.get(engine_key, item.parent)
                if found:
                    events.end(event_id, item.nodes, found, cached=True)
                    ready.append((item, found))
                    continue
                waiting.append((item, event_id))
                yield item.parent

        for result in self.engine.embed_iter(not_cached()):
            item, event_id = waiting.popleft()
            events.end(event_id, item.nodes, result, cached=False)
            self._stats.count("windows", result.n_windows)
            if self._cache and not result.skipped:
                self._cache.put(engine_key, item.parent, result)
            yield item, result
        self._stats.count("cached_parents", len(ready))
        yield from ready

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self.engine.embed_query(query).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        if texts:
            self._stats.report("standalone_texts", TEXTS_WITHOUT_NODES, len(texts))
        vectors: list[list[float]] = self.engine.embed_texts(texts).tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def _own_fields(kind: type[LateChunkEmbedding]) -> set[str]:
    """Fields that are no options of the engine: LlamaIndex's and the adapter's."""
    return set(kind.model_fields) - set(EngineFields.model_fields) - {"model_name"}
