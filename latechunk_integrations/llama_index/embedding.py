"""`LateChunkEmbedding`: an embed model that reads the whole source of the nodes it is given."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr, field_serializer
from llama_index.core.schema import BaseNode

from latechunk_integrations.adapter_fields import (
    EngineFields,
    engine_options,
    field_options,
    vector_key,
)
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.errors import FingerprintMismatchError, OptionError
from latechunk_integrations.llama_index.choices import (
    Choice,
    describe_choice,
    is_described_function,
)
from latechunk_integrations.llama_index.embedding_call import EmbeddingCall
from latechunk_integrations.llama_index.events import ParentEvents
from latechunk_integrations.llama_index.headers import HeaderChoice, check_header
from latechunk_integrations.llama_index.left_out import FailedParent, OnError
from latechunk_integrations.llama_index.marking import MarkKey
from latechunk_integrations.llama_index.metadata import MetadataRole, check_roles
from latechunk_integrations.llama_index.parent_cache import ParentCache
from latechunk_integrations.llama_index.parents import Grouping, ParentLevel, parents_of
from latechunk_integrations.llama_index.plain import EngineEmbedding, PlainEmbedding
from latechunk_integrations.llama_index.sources import ParentBy, check_parent_by
from latechunk_integrations.llama_index.sub_span_marks import SubSpanNodes
from latechunk_integrations.options import WORK_OPTIONS, LateChunkOptions
from latechunk_integrations.stats import EngineStats

# Failed parents that are held: a corpus can hold thousands.
_MOST_FAILURES = 1_000
# What changes how the work is done and no vector.
_HOW = (
    *("embed_batch_size", "num_workers", "embeddings_cache"),
    *("batch_tokens", "strict"),
    *(name for name in WORK_OPTIONS if name != "base_url"),
)

_TEXTS_WITHOUT_NODES = (
    "texts came without nodes, as from an index that was given embed_model= alone: they "
    "have no parent and are embedded standalone. For an index add one argument, "
    "transformations=[LateChunkNodeParser(embed_model=embed_model)], to from_documents, "
    "from_vector_store or load_index_from_storage, or call late_chunking(..., settings=True) "
    "once; give embed_model.plain() to components whose texts have no parent, such as selectors"
)

_COUNTERS = (
    *("parents", "chunks", "windows", "standalone_chunks", "cached_parents"),
    *("skipped_parents", "failed_parents"),
    *("standalone_texts", "sourceless_nodes", "nodes_without_parent_key", "documents_of_one_id"),
    "files_by_page",
    *("incomplete_parents", "rewritten_parents"),
    *("foreign_vectors_replaced", "changed_vectors_replaced"),
)
# Words of `HuggingFaceEmbedding`, from which most pipelines come.
_OUR_WORDS = {
    "max_length": "max_tokens",
    "query_instruction": "query_prompt",
    "text_instruction": "document_prompt",
}


class LateChunkEmbedding(EngineEmbedding, EngineFields):
    """Embeds nodes with the context of their source, queries with the model's query prompt.

    In ``transformations`` after any node parser it groups nodes by source and embeds each
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
        parent_level: ``"section"``: after a Markdown or HTML parser each section is a parent;
            ``"document"``: all nodes of a source are one. Where `parent_by` joins documents, that
            decides.
        on_error: What a parent that fails does. ``"raise"``: it ends the call. ``"skip"``: it costs
            its own nodes, which are left out of what the call gives back, logged, counted in
            `stats` and named in `failures`.
        show_progress: Show a progress bar over parents, whatever LlamaIndex says.
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
    on_error: OnError = Field(
        default="raise", description="What a parent that fails does: raise, or skip its nodes."
    )
    show_progress: bool = Field(
        default=False, exclude=True, description="Show a progress bar over parents."
    )
    _cache: ParentCache | None = PrivateAttr(default=None)
    _failures: deque[FailedParent] = PrivateAttr(
        default_factory=lambda: deque(maxlen=_MOST_FAILURES)
    )
    _session: str = PrivateAttr(default_factory=lambda: uuid.uuid4().hex)

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
            given = {"model_name": model_name, **_from_hugging_face(fields, ours)}
            checked = engine_options(given, engine=engine, own=own)
            check_parent_by(ours.get("parent_by"))
            check_header(ours.get("header"))
            if (on_error := ours.get("on_error", "raise")) not in ("raise", "skip"):
                raise OptionError(f"on_error={on_error!r} is not 'raise' or 'skip'")
            ours["metadata_roles"] = check_roles(ours.get("metadata_roles") or {})
            store = ours.pop("embeddings_cache", None)
            super().__init__(model_name=checked.model, **field_options(checked), **ours)
            self._handle = EngineHandle(checked) if engine is None else EngineHandle.of(engine)
            self.embeddings_cache = store

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
    def grouping(self) -> Grouping:
        """How nodes become parents."""
        return Grouping(self.metadata_roles, self.parent_level, self.parent_by, self.header)

    @property
    def mark_key(self) -> MarkKey:
        """What says that a vector was made by this embed model, told as it is."""
        return MarkKey(self._handle, self.grouping.key)

    @property
    def stats(self) -> dict[str, int]:
        """What this embed model did, and what nodes could not be given as asked.

        Every counter is there from the start. ``standalone_texts``: texts that came without
        nodes; ``sourceless_nodes``: nodes that name no source; ``files_by_page``: files whose
        pages are parents, since no ``parent_by`` joins them; ``incomplete_parents``: parents
        of which something was not given; ``rewritten_parents``: sources whose text the node
        parser changed, so that their chunks are the parent; ``foreign_vectors_replaced``,
        ``changed_vectors_replaced``: vectors of another model, or of what a node held before;
        ``failed_parents``: see `failures`.
        The engine, which others may share, has its own counts: ``engine.stats``.
        """
        return {**dict.fromkeys(_COUNTERS, 0), **self._stats.to_dict()}

    @property
    def failures(self) -> list[FailedParent]:
        """Parents left out under ``on_error="skip"``, with their documents and errors.

        The latest thousand. Worker processes log theirs, and cannot reach this list.
        """
        return list(self._failures)

    def plain(self) -> PlainEmbedding:
        """The same model for texts that have no parent: early chunking, nothing counted.

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
        embeds nothing anew. Where a hub model was not downloaded yet, its name is used.
        A result from which nodes were left out must not be served again: under
        ``on_error="skip"`` there is a session in it, of this object, up to its latest failure.
        """
        data = super().to_dict(**kwargs)
        for name in _HOW:
            data.pop(name, None)
        if self.on_error == "skip":
            data["session"] = f"{self._session}:{self.stats['failed_parents']}"
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
        fields.pop("session", None)
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
        """Leave model, cache and counts behind; the handle says which model it was."""
        bare = super().__copy__()  # other threads may be embedding with this one
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
        twin._failures, twin._session = deque(maxlen=_MOST_FAILURES), uuid.uuid4().hex  # noqa: SLF001
        return twin

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> LateChunkEmbedding:
        return self.__copy__()

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give every node its late vector; the nodes come back in order.

        Under ``on_error="skip"`` without those whose parent failed: see `failures`.

        Raises:
            IncompleteParentError: ``strict`` and something of a parent is missing.
            UnknownChunkError: ``strict`` and a node names no source.
        """
        call = self.start_call(show_progress=bool(kwargs.get("show_progress")))
        given = SubSpanNodes.of(nodes, call.key)
        if not self.enabled:
            call.embed_alone(call.open_nodes(given.others))
        whole = [*given.others, *given.chunks] if self.enabled else given.chunks
        parents = call.open_parents(parents_of(whole, self.grouping, call))
        call.embed_parents(parents, parts=given.found if given.parts else None)
        for chunk in given.chunks:
            if call.is_left_out(chunk):
                call.drop(given.parts.pop(chunk.node_id, []))
        given.fill(call.key)
        return call.kept(nodes)

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """The same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def start_call(self, *, show_progress: bool = False) -> EmbeddingCall:
        """What embeds nodes, for one call of this embed model or of a node parser that has it."""
        return EmbeddingCall(
            handle=self._handle,
            key=self.mark_key,
            stats=self._stats,
            events=ParentEvents(self.to_payload(), self.callback_manager),
            cache=self._cache,
            strict=self.strict,
            on_error=self.on_error,
            failures=self._failures,
            show_progress=show_progress or self.show_progress,
        )

    def _loaded_engine(self) -> LateChunkEngine:
        return self.engine

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        if texts:
            self._stats.report("standalone_texts", _TEXTS_WITHOUT_NODES, len(texts))
        return super()._get_text_embeddings(texts)


def _own_fields(kind: type[LateChunkEmbedding]) -> set[str]:
    """Fields that are no options of the engine: LlamaIndex's and the adapter's."""
    return set(kind.model_fields) - set(EngineFields.model_fields) - {"model_name"}


def _from_hugging_face(given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `HuggingFaceEmbedding` under our names, the others as they are.

    Args:
        given: Keywords that are no fields of the adapter.
        own: Those that are; ``show_progress_bar`` is put there.

    Raises:
        OptionError: An option is given under both names.
    """
    options = dict(given)
    if "show_progress_bar" in options:
        own.setdefault("show_progress", options.pop("show_progress_bar"))
    for theirs, ours in _OUR_WORDS.items():
        if theirs not in options:
            continue
        value = options.pop(theirs)
        if value is not None and options.setdefault(ours, value) != value:
            raise OptionError(f"{theirs} is {ours} by another name: give one of them")
    return options
