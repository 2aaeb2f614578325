"""`LateChunkEmbeddings`: chunk vectors for stores that pass nothing but texts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.stores import BaseStore
from pydantic import ConfigDict, Field, PrivateAttr
from pydantic.json_schema import SkipJsonSchema

from latechunk_integrations import errors
from latechunk_integrations.adapter_fields import EngineFields, engine_options, field_options
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.flow.failures import FailureStreak
from latechunk_integrations.flow.kept_vectors import MEMORY_BYTES
from latechunk_integrations.langchain.attach import Parents, attach, batch_chunks
from latechunk_integrations.langchain.chunk_text import ChunkText, StandaloneText
from latechunk_integrations.langchain.parent_store import ParentStore
from latechunk_integrations.marks import ENGINE_KEY, MODE_KEY
from latechunk_integrations.schema import ChunkVectors, Parent, check_texts

# QdrantVectorStore embeds this text to learn the width of a vector.
_PROBES = frozenset({"dummy_text"})

_ERRORS: dict[str, type[errors.OriginError]] = {
    "unknown": errors.UnknownChunkError,
    "altered": errors.AlteredChunkError,
    "parent_not_held": errors.ParentNotHeldError,
    "hashed": errors.TextKeyedCacheError,
}
_COUNTERS = ("late", "probe", *_ERRORS, "failed_parents")
_ADVICE = {
    "unknown": "name no parent: they were never split, or were rebuilt on their way. Give the "
    "splitter's own documents to add_documents, or wrap the store: LateChunkVectorStore. "
    "InMemoryVectorStore.from_documents rebuilds its texts: use add_documents, or build it with "
    "LateChunkVectorStore.from_documents. SemanticChunker, EmbeddingsFilter, "
    "EmbeddingsRedundantFilter and EmbeddingsClusteringFilter want embeddings.plain",
    "altered": "are not at the place that their metadata name: text or metadata were changed "
    "after splitting. Change a document before it is split",
    "parent_not_held": "name a parent that is not held here. Give the embeddings of this process "
    "and of the one that splits the same parent_store, such as a LocalFileStore, or give attach() "
    "the parents; in one process raise memory_bytes",
    "hashed": "were turned into bytes before they were embedded, as a cache does that knows a text "
    "by nothing else: it would give a chunk the vector of an equal text in another parent. Pass "
    "the cache key_encoder=embeddings.cache_key. Where it was no cache, hash str(text), give the "
    "store ids of your own, or embed what attach() gives back",
}

Report: TypeAlias = "Callable[[errors.LateChunkError, list[Document]], None] | None"
"""Is told of a parent that failed: why, and its chunks."""


class _Found(NamedTuple):
    """The texts of a call whose parent is known, by row; these parents; why the others are not."""

    chunks: list[tuple[int, ChunkText]]
    parents: dict[str, Parent]
    alone: dict[int, str]


class LateChunkEmbeddings(EngineFields, Embeddings):
    """Embeds chunks with the context of the document that they were cut from.

    Chunks come from a `LateChunkTextSplitter` that was given these embeddings. A text knows its
    parent itself (`ChunkText`), or is given it by `attach`, which reads the metadata. A text
    that does not is embedded standalone, counted by reason in `stats`, or refused under
    ``strict=True``: it is never given the parent of an equal text.

    Thread-safe. A copy shares what these embeddings keep. A pickle leaves the model and what is
    kept in memory behind, and loads the same model again.

    Args:
        model_name: A hub name or a local path; ``model`` is the same option.
        engine: A loaded engine instead of a model name.
        parent_store: Where parents and their vectors are kept for other processes: any store of
            bytes, such as a ``LocalFileStore`` or a ``RedisStore``; None: in this process.
        memory_bytes: Bound on the parents and vectors that are kept in memory.
        **options: Fields of `LateChunkOptions` (see `EngineFields`).

    Raises:
        OptionError: An option is unknown, impossible, or given beside an engine.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, frozen=True)

    model_name: str = Field(default="", description="A hub name or a local path.")
    parent_store: SkipJsonSchema[BaseStore[str, bytes] | None] = Field(
        default=None, exclude=True, repr=False, description="Keeps parents for other processes."
    )
    memory_bytes: int = Field(
        default=MEMORY_BYTES, ge=0, description="Bound on the parents and vectors in memory."
    )
    _parents: ParentStore = PrivateAttr()

    def __init__(
        self,
        model_name: str | Path = "",
        *,
        engine: LateChunkEngine | None = None,
        parent_store: BaseStore[str, bytes] | None = None,
        memory_bytes: int = MEMORY_BYTES,
        **options: Any,
    ) -> None:
        given = {"model_name": model_name, **options}
        checked = engine_options(given, engine=engine, own=("parent_store", "memory_bytes"))
        if checked.fallback == "skip":
            raise errors.OptionError(
                "fallback='skip' leaves chunks without vectors, and a vector store wants one for "
                "every text; take 'window', 'standard' or 'error'"
            )
        own: dict[str, Any] = {"parent_store": parent_store, "memory_bytes": memory_bytes}
        super().__init__(**own, model_name=checked.model, **field_options(checked))  # type: ignore[call-arg]  # a field of this class
        self._handle = EngineHandle(checked) if engine is None else EngineHandle.of(engine)
        self._parents = ParentStore(parent_store, memory_bytes)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> LateChunkEmbeddings:
        """The copy shares model and parents."""
        return self.__copy__()

    @property
    def stats(self) -> dict[str, int]:
        """Texts by how they were embedded, and why.

        ``late``: with their parent. Standalone: ``unknown``, nothing names a parent;
        ``altered``, the text was changed after splitting; ``parent_not_held``, the parent that
        the metadata name is in no store here; ``probe``, a store asked for a vector's width.
        ``hashed``: late, but perhaps cached by text. ``failed_parents``: left out.
        """
        return {**dict.fromkeys(_COUNTERS, 0), **self._stats.to_dict()}

    @property
    def plain(self) -> PlainEmbeddings:
        """The same model without late chunking, for what embeds sentences or finished texts."""
        return PlainEmbeddings(self)

    def hold(self, parents: Sequence[Parent]) -> None:
        """Keep parents that were just split, so that `attach` finds them."""
        self._parents.hold(parents)

    def attach(self, documents: Iterable[Document], parents: Parents = None) -> list[Document]:
        """The same as `attach`; without ``parents``, those that these embeddings keep."""
        return attach(documents, self._parents if parents is None else parents)

    def embed_parents(self, parents: Sequence[Parent]) -> list[ChunkVectors]:
        """The vectors of whole parents, in order; those that are kept are not computed again.

        Raises:
            LateChunkError: A parent fails; the error names it. Those before it are kept.
        """
        results = self._embed_each(parents, stop=True)
        return [result for result in results if isinstance(result, ChunkVectors)]

    def drop_failed(
        self, chunks: Iterable[Document], parents: Parents = None, report: Report = None
    ) -> Iterator[Document]:
        """The chunks whose parents can be embedded; those of a parent that fails are left out.

        They are embedded here, in batches that do not cut a parent, and their vectors are kept
        for the store: ``index(embeddings.drop_failed(chunks), records, store, ...)``. Failed
        parents are counted and logged. `index` does not see their chunks, so that it tries them
        again in its next run; its ``cleanup="full"`` deletes what is stored of them.

        Args:
            chunks: Chunks, as they were or rebuilt; those that name no parent are kept.
            parents: See `attach`.
            report: Is called with the error and the chunks of each parent that fails.

        Raises:
            LateChunkError: Ten parents in a row failed in the model or its server, or it refuses
                the key: no other parent would fare better.
        """
        known = list(parents) if isinstance(parents, Iterator) else parents
        streak = FailureStreak()
        for batch in batch_chunks(chunks):
            found = self._find([chunk.page_content for chunk in self.attach(batch, known)])
            results = self._embed_each(list(found.parents.values()), stop=False)
            for result in results:
                streak.add(result)
            named = zip(found.parents, results, strict=True)
            failed = {name: one for name, one in named if isinstance(one, errors.LateChunkError)}
            names = {row: text.fingerprint for row, text in found.chunks}
            for name, error in failed.items():
                lost = [chunk for row, chunk in enumerate(batch) if names.get(row) == name]
                said = f"{len(lost)} chunks are left out, for their parent failed: {error}"
                self._stats.report("failed_parents", said)
                if report is not None:
                    report(error, lost)
            yield from (one for row, one in enumerate(batch) if names.get(row) not in failed)

    def _embed_each(
        self, parents: Sequence[Parent], *, stop: bool
    ) -> list[ChunkVectors | errors.LateChunkError]:
        engine = self.engine
        with self._parents.embedding:
            found: list[Any] = self._parents.find_vectors(engine.fingerprint, parents)
            missing = [row for row, vectors in enumerate(found) if vectors is None]
            results = engine.embed_iter([parents[row] for row in missing], on_error="yield")
            for row, result in zip(missing, results, strict=True):
                found[row] = result
                if isinstance(result, ChunkVectors):
                    self._parents.keep_vectors(engine.fingerprint, parents[row], result)
                elif stop:
                    raise result
        return found

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Chunk vectors, in order.

        Raises:
            UnknownChunkError: ``strict`` and a text names no parent.
            AlteredChunkError: ``strict`` and a text was changed after splitting.
            ParentNotHeldError: ``strict`` and a text names a parent that is not held here.
            TextKeyedCacheError: ``strict`` and a cache of texts seems to lie between.
            LateChunkError: A parent fails; the error names it. See `drop_failed`.
        """
        check_texts(texts)
        found = self._find(texts)
        self._report(len(texts), found)
        engine, late, alone = self.engine, found.parents, list(found.alone)
        results = dict(zip(late, self.embed_parents(list(late.values())), strict=True))
        out = np.zeros((len(texts), engine.dimensions), np.float32)
        if alone:
            out[alone] = engine.embed_texts([texts[row] for row in alone])
        for text in (texts[row] for row in alone):
            if isinstance(text, StandaloneText):
                _stamp(text.marks, engine.fingerprint, "standalone")
        for row, text in found.chunks:
            result, part = results[text.fingerprint], text.sub_span
            own = result.vectors[text.row]
            out[row] = own if part is None else result.sub_span_vector(text.row, part)
            _stamp(text.marks, engine.fingerprint, result.modes[text.row])
        self._stats.count("late", len(found.chunks))
        rows: list[list[float]] = out.tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The query's vector: plain, with the model's query prompt.

        A chunk that knows its parent gets its late vector here too: some stores and retrievers
        embed their documents one by one with this method.
        """
        if isinstance(text, (ChunkText, StandaloneText)):
            return self.embed_documents([text])[0]
        return self.plain.embed_query(text)

    def cache_key(self, text: str) -> str:
        """A key under which a cache may keep a text's vector: for `CacheBackedEmbeddings`.

        It names everything that the vector depends on. Give queries a store of their own.
        """
        engine = self.engine.fingerprint
        if isinstance(text, ChunkText):
            part = "" if text.sub_span is None else "-{}-{}".format(*text.sub_span)
            return f"late-{engine}-{text.fingerprint}-{text.row}{part}"
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return f"text-{engine}-{digest}"

    def _find(self, texts: Sequence[str]) -> _Found:
        """Which texts know their parent, and why the others do not."""
        named = {text.fingerprint: text for text in texts if isinstance(text, ChunkText)}
        alive = {name: parent for name, text in named.items() if (parent := text.parent)}
        parents = alive | self._parents.find(name for name in named if name not in alive)
        chunks: list[tuple[int, ChunkText]] = []
        alone: dict[int, str] = {}
        for row, text in enumerate(texts):
            if isinstance(text, StandaloneText):
                alone[row] = text.reason
            elif not isinstance(text, ChunkText):
                alone[row] = "probe" if text in _PROBES else "unknown"
            elif text.fingerprint in parents:
                chunks.append((row, text))
            else:
                alone[row] = "parent_not_held"
        return _Found(chunks, parents, alone)

    def _report(self, n_texts: int, found: _Found) -> None:
        counts: Counter[str] = Counter(found.alone.values())
        counts["hashed"] = sum(text.is_hashed for _, text in found.chunks)
        self._stats.count("probe", counts["probe"])
        for what, error in _ERRORS.items():
            if not counts[what]:
                continue
            message = f"{counts[what]} of {n_texts} texts {_ADVICE[what]}"
            if self.strict:
                raise error(message)
            done = "late" if what == "hashed" else "standalone"
            self._stats.report(what, f"embedded {done}: {message}", counts[what])


def _stamp(marks: dict[Any, Any] | None, engine: str, mode: str) -> None:
    """Let metadata say how their chunk was embedded."""
    # Metadata that say so of another engine already are those of a chunk in two stores, which may
    # share them: then they say nothing, rather than what is wrong in one of both.
    if marks is not None:
        other = marks.get(ENGINE_KEY) not in (None, "", engine)
        marks[ENGINE_KEY], marks[MODE_KEY] = ("", "") if other else (engine, mode)


class PlainEmbeddings(Embeddings):
    """The model of late-chunking embeddings, without late chunking: a text is a whole passage."""

    def __init__(self, embeddings: LateChunkEmbeddings) -> None:
        self._embeddings = embeddings

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Passage vectors, in order."""
        rows: list[list[float]] = self._embeddings.engine.embed_texts(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The query's vector, with the model's query prompt."""
        vector: list[float] = self._embeddings.engine.embed_query(text).tolist()
        return vector
