"""`LateChunkVectorStore`: any vector store, given chunks that know their parent."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from latechunk_integrations.errors import InputTypeError, OptionError, TextKeyedCacheError
from latechunk_integrations.langchain.attach import (
    Metadatas,
    Parents,
    batch_chunks,
    make_documents,
    with_ids,
)
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings, Report

_Ids: TypeAlias = "list[str] | None"
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _forward(method: _Method) -> _Method:
    """The wrapped store's method of this name, given documents whose texts know their parent."""
    name = method.__name__

    @functools.wraps(method)
    def forwarded(self: LateChunkVectorStore, *args: Any, **kwargs: Any) -> Any:
        return self._attaching(getattr(self.store, name))(*args, **kwargs)

    @functools.wraps(method)
    async def awaited(self: LateChunkVectorStore, *args: Any, **kwargs: Any) -> Any:
        return await forwarded(self, *args, **kwargs)

    made: Any = awaited if inspect.iscoroutinefunction(method) else forwarded
    vars(made).pop("__isabstractmethod__", None)
    return made  # type: ignore[no-any-return]  # of the method's signature


# A retriever shall add through the proxy; the others are written out below.
_FORWARDED = {
    name for name, one in vars(VectorStore).items() if inspect.isfunction(one) and name[0] != "_"
} - {"as_retriever", "add_texts", "aadd_texts", "similarity_search"}


class LateChunkVectorStore(VectorStore):
    """A vector store whose chunks are given their parents back, then stored as it stores them.

    Makes late chunking exact where documents are rebuilt on their way, as the indexing API, a
    queue or a checkpoint does: ``index(chunks, records, LateChunkVectorStore(store), ...)``.
    Metadata tell parent and place, the embeddings' parent store has the parent. Every method of
    the wrapped store is there, and is given documents likewise. What is stored says how it was
    embedded: ``late_engine``, ``late_mode``.

    Args:
        store: Any vector store.
        embeddings: What embeds, where the store does not tell.

    Raises:
        InputTypeError: The store embeds with something else than `LateChunkEmbeddings`.
        TextKeyedCacheError: A cache that knows a chunk by its text alone lies between.
    """

    def __init__(self, store: VectorStore, embeddings: LateChunkEmbeddings | None = None) -> None:
        self.store = store
        self._attach = _late_of(store, embeddings).attach

    def __getattr__(self, name: str) -> Any:
        """What only the wrapped store has."""
        if name == "store":  # not there yet, while unpickled: without this, an endless loop
            raise AttributeError(name)
        value = getattr(self.store, name)
        return self._attaching(value) if inspect.ismethod(value) else value

    @property
    def embeddings(self) -> Embeddings | None:
        """The wrapped store's embeddings."""
        return self.store.embeddings

    def add_texts(
        self, texts: Iterable[str], metadatas: Metadatas = None, *, ids: _Ids = None, **kwargs: Any
    ) -> list[str]:
        """Add texts; they or their metadata tell parent and place."""
        return self.add_documents(make_documents(texts, metadatas, ids), **kwargs)

    async def aadd_texts(
        self, texts: Iterable[str], metadatas: Metadatas = None, *, ids: _Ids = None, **kwargs: Any
    ) -> list[str]:
        """Add texts; they or their metadata tell parent and place."""
        return await self.aadd_documents(make_documents(texts, metadatas, ids), **kwargs)

    similarity_search = _forward(VectorStore.similarity_search)
    vars().update({name: _forward(getattr(VectorStore, name)) for name in _FORWARDED})

    @classmethod
    def from_documents(
        cls,
        documents: list[Document],
        embedding: Embeddings,
        *,
        store_class: type[VectorStore] | None = None,
        **kwargs: Any,
    ) -> LateChunkVectorStore:
        """A store of these chunks, built by ``store_class.from_documents`` and wrapped.

        Args:
            documents: Chunks of a `LateChunkTextSplitter`, as they were or rebuilt.
            embedding: `LateChunkEmbeddings`, or a cache over them with their ``cache_key``.
            store_class: The store to build, such as ``Milvus``.
            **kwargs: What else ``store_class.from_documents`` takes.
        """
        if store_class is None:
            raise InputTypeError("name the store to build and wrap: store_class=Milvus")
        late = _late(_unwrapped(embedding), "embedding is")
        chunks = late.attach(documents)
        if not _rebuilds(store_class):
            return cls(store_class.from_documents(chunks, embedding, **kwargs), late)
        ids = {"ids": kwargs.pop("ids")} if kwargs.get("ids") else {}
        store = store_class.from_texts([], embedding, **kwargs)
        store.add_documents(chunks, **ids)
        return cls(store, late)

    @classmethod
    async def afrom_documents(
        cls,
        documents: list[Document],
        embedding: Embeddings,
        *,
        store_class: type[VectorStore] | None = None,
        **kwargs: Any,
    ) -> LateChunkVectorStore:
        """The same as `from_documents`, awaited."""
        if store_class is None or _rebuilds(store_class):
            built = functools.partial(cls.from_documents, store_class=store_class, **kwargs)
            return await asyncio.to_thread(built, documents, embedding)
        late = _late(_unwrapped(embedding), "embedding is")
        chunks = late.attach(documents)
        return cls(await store_class.afrom_documents(chunks, embedding, **kwargs), late)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: Metadatas = None,
        *,
        ids: _Ids = None,
        **kwargs: Any,
    ) -> LateChunkVectorStore:
        """A store of these texts, wrapped; see `from_documents`."""
        return cls.from_documents(make_documents(texts, metadatas, ids), embedding, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return self.store._select_relevance_score_fn()  # noqa: SLF001  # it is part of the interface

    def _attaching(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, given documents whose texts know their parent, in whichever argument."""

        @functools.wraps(method)
        def attaching(*args: Any, **kwargs: Any) -> Any:
            given = {name: self._attached(value) for name, value in kwargs.items()}
            return method(*map(self._attached, args), **given)

        return attaching

    def _attached(self, value: Any) -> Any:
        if isinstance(value, Document):
            return self._attach([value])[0]
        value = list(value) if isinstance(value, Iterator) else value
        if isinstance(value, (list, tuple)) and all(isinstance(one, Document) for one in value):
            return self._attach(value) if value else value
        return value


def add_late_chunks(
    vector_store: VectorStore,
    chunks: Iterable[Document],
    *,
    embeddings: LateChunkEmbeddings | None = None,
    parents: Parents = None,
    ids: Sequence[str] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    report: Report = None,
) -> list[str]:
    """Give chunks their parents back and add them to a store, by its own ``add_documents``.

    Works in any store and process: metadata tell parent and place. Chunks are taken, embedded
    and written in batches that do not cut a parent, so an iterator may be longer than memory.

    Args:
        vector_store: Any vector store.
        chunks: Documents of a `LateChunkTextSplitter`, as they were or rebuilt.
        embeddings: What embeds, where the store does not tell.
        parents: See `attach`; None: those that the embeddings keep.
        ids: An id for each chunk; None: the documents' own, else the store makes them.
        on_error: ``"skip"``: chunks whose parent fails are left out, counted and logged.
        report: Is called with the error and the chunks of each parent that is left out.

    Returns:
        The ids of what was written.

    Raises:
        UnknownChunkError: ``strict`` and a chunk's parent is not known.
        LateChunkError: ``on_error="raise"`` and a parent fails; the error names it.
        InputTypeError: There are not as many ids as chunks.
        OptionError: ``on_error`` is neither.
    """
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error={on_error!r} is not 'raise' or 'skip'")
    if isinstance(vector_store, LateChunkVectorStore):
        vector_store = vector_store.store
    late = _late_of(vector_store, embeddings)
    known = list(parents) if isinstance(parents, Iterator) else parents
    if ids is not None:
        chunks = with_ids(chunks, ids)
    if on_error == "skip":
        chunks = late.drop_failed(chunks, known, report)
    written: list[str] = []
    for batch in batch_chunks(chunks):
        own = {} if ids is None else {"ids": [chunk.id for chunk in batch]}
        written.extend(map(str, vector_store.add_documents(late.attach(batch, known), **own)))
    return written


async def aadd_late_chunks(
    vector_store: VectorStore, chunks: Iterable[Document], **kwargs: Any
) -> list[str]:
    """The same as `add_late_chunks` in a thread, so that the event loop goes on."""
    return await asyncio.to_thread(add_late_chunks, vector_store, chunks, **kwargs)


def _late_of(store: VectorStore, given: LateChunkEmbeddings | None) -> LateChunkEmbeddings:
    """What embeds; a cache of texts is refused also where embeddings are given."""
    own = store.embeddings
    if own is None:  # some do not give it away, but hold it
        own = next((one for one in vars(store).values() if isinstance(one, Embeddings)), None)
    own = _unwrapped(own)
    return _late(given or own, f"{type(store).__name__} embeds with")


def _late(embeddings: Embeddings | None, whose: str) -> LateChunkEmbeddings:
    if not isinstance(embeddings, LateChunkEmbeddings):
        raise InputTypeError(
            f"{whose} {type(embeddings).__name__}; late chunking needs LateChunkEmbeddings: give "
            "them to the store, and pass embeddings= where the store does not tell"
        )
    return embeddings


def _unwrapped(embeddings: Embeddings | None) -> Embeddings | None:
    """What a cache wraps, by its shape: subclasses and other caches have the same."""
    inner = getattr(embeddings, "underlying_embeddings", None)
    if not isinstance(inner, LateChunkEmbeddings):
        return embeddings
    documents = getattr(embeddings, "document_embedding_store", None)
    if getattr(getattr(documents, "key_encoder", None), "__self__", None) is not inner:
        raise TextKeyedCacheError(
            f"{type(embeddings).__name__} would give a chunk the vector of an equal text in "
            "another parent; pass key_encoder=embeddings.cache_key to from_bytes_store, or leave "
            "the cache out: a parent_store keeps vectors too"
        )
    if getattr(embeddings, "query_embedding_store", None) is documents:
        raise TextKeyedCacheError(
            "queries and documents would share vectors; give query_embedding_cache a store of "
            "its own, or leave it out"
        )
    return inner


def _rebuilds(kind: type[VectorStore]) -> bool:
    """Whether a store makes new documents of texts, as the base class does: these know nothing."""
    return kind.add_texts is VectorStore.add_texts
