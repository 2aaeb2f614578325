"""`LateChunkVectorStore`: any vector store, with the chunks of each call bound to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings

__all__ = ["LateChunkVectorStore"]


class LateChunkVectorStore(VectorStore):
    """A vector store whose embeddings are told which documents they embed.

    Makes late chunking exact where documents are rebuilt on their way, as the indexing API
    does: ``index(chunks, record_manager, LateChunkVectorStore(store), ...)``. Everything else
    is the wrapped store's.

    Args:
        store: Any vector store.
        embeddings: Its embeddings, where the store does not give them away.

    Raises:
        InputTypeError: The store embeds with something else than `LateChunkEmbeddings`.
    """

    def __init__(self, store: VectorStore, embeddings: LateChunkEmbeddings | None = None) -> None:
        embeddings = store.embeddings if embeddings is None else embeddings  # type: ignore[assignment]  # checked below
        if not isinstance(embeddings, LateChunkEmbeddings):
            raise InputTypeError(
                f"{type(store).__name__} embeds with {type(embeddings).__name__}; "
                "late chunking needs a store that was given LateChunkEmbeddings"
            )
        self.store = store
        self._bind = embeddings.bind

    def __getattr__(self, name: str) -> Any:
        """What only the wrapped store has."""
        if name == "store":  # not there yet, while unpickled: without this, an endless loop
            raise AttributeError(name)
        return getattr(self.store, name)

    @property
    def embeddings(self) -> Embeddings | None:
        """The wrapped store's embeddings."""
        return self.store.embeddings

    def add_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Add documents; their metadata tell parent and span."""
        documents = list(documents)
        with self._bind(documents):
            return self.store.add_documents(documents, **kwargs)

    async def aadd_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Add documents; their metadata tell parent and span."""
        documents = list(documents)
        with self._bind(documents):
            return await self.store.aadd_documents(documents, **kwargs)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts; they or their metadata tell parent and span."""
        texts = list(texts)
        with self._bind(_documents(texts, metadatas)):
            return self.store.add_texts(texts, metadatas, ids=ids, **kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts; they or their metadata tell parent and span."""
        texts = list(texts)
        with self._bind(_documents(texts, metadatas)):
            return await self.store.aadd_texts(texts, metadatas, ids=ids, **kwargs)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete by id."""
        return self.store.delete(ids, **kwargs)

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete by id."""
        return await self.store.adelete(ids, **kwargs)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id."""
        return self.store.get_by_ids(ids)

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id."""
        return await self.store.aget_by_ids(ids)

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """Documents by a search of the named type."""
        return self.store.search(query, search_type, **kwargs)

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """Documents by a search of the named type."""
        return await self.store.asearch(query, search_type, **kwargs)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The documents most similar to a query."""
        return self.store.similarity_search(query, k=k, **kwargs)

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The documents most similar to a query."""
        return await self.store.asimilarity_search(query, k=k, **kwargs)

    def similarity_search_with_score(
        self, *args: Any, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The documents most similar to a query, with the store's own score."""
        return self.store.similarity_search_with_score(*args, **kwargs)

    async def asimilarity_search_with_score(
        self, *args: Any, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The documents most similar to a query, with the store's own score."""
        return await self.store.asimilarity_search_with_score(*args, **kwargs)

    def similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The documents most similar to a query, with a score from 0 to 1."""
        return self.store.similarity_search_with_relevance_scores(query, k=k, **kwargs)

    async def asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The documents most similar to a query, with a score from 0 to 1."""
        return await self.store.asimilarity_search_with_relevance_scores(query, k=k, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The documents most similar to a vector."""
        return self.store.similarity_search_by_vector(embedding, k=k, **kwargs)

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The documents most similar to a vector."""
        return await self.store.asimilarity_search_by_vector(embedding, k=k, **kwargs)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Documents similar to a query and unlike each other."""
        return self.store.max_marginal_relevance_search(
            query, k=k, fetch_k=fetch_k, lambda_mult=lambda_mult, **kwargs
        )

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Documents similar to a query and unlike each other."""
        return await self.store.amax_marginal_relevance_search(
            query, k=k, fetch_k=fetch_k, lambda_mult=lambda_mult, **kwargs
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Documents similar to a vector and unlike each other."""
        return self.store.max_marginal_relevance_search_by_vector(
            embedding, k=k, fetch_k=fetch_k, lambda_mult=lambda_mult, **kwargs
        )

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Documents similar to a vector and unlike each other."""
        return await self.store.amax_marginal_relevance_search_by_vector(
            embedding, k=k, fetch_k=fetch_k, lambda_mult=lambda_mult, **kwargs
        )

    @classmethod
    def from_documents(
        cls,
        documents: list[Document],
        embedding: Embeddings,
        *,
        store_class: type[VectorStore] | None = None,
        **kwargs: Any,
    ) -> LateChunkVectorStore:
        """A store of these documents, wrapped.

        Args:
            documents: Chunks.
            embedding: `LateChunkEmbeddings`.
            store_class: What is built and wrapped.
            **kwargs: Of ``store_class.from_documents``.
        """
        late, kind, documents = _checked(embedding), _built(store_class), list(documents)
        with late.bind(documents):
            return cls(kind.from_documents(documents, late, **kwargs), late)

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
        late, kind, documents = _checked(embedding), _built(store_class), list(documents)
        with late.bind(documents):
            return cls(await kind.afrom_documents(documents, late, **kwargs), late)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        store_class: type[VectorStore] | None = None,
        **kwargs: Any,
    ) -> LateChunkVectorStore:
        """A store of these texts, wrapped; see `from_documents`."""
        late, kind, texts = _checked(embedding), _built(store_class), list(texts)
        with late.bind(_documents(texts, metadatas)):
            return cls(kind.from_texts(texts, late, metadatas, ids=ids, **kwargs), late)

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        store_class: type[VectorStore] | None = None,
        **kwargs: Any,
    ) -> LateChunkVectorStore:
        """The same as `from_texts`, awaited."""
        late, kind, texts = _checked(embedding), _built(store_class), list(texts)
        with late.bind(_documents(texts, metadatas)):
            return cls(await kind.afrom_texts(texts, late, metadatas, ids=ids, **kwargs), late)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return self.store._select_relevance_score_fn()  # noqa: SLF001  # it is part of the interface


def _checked(embeddings: Embeddings) -> LateChunkEmbeddings:
    if not isinstance(embeddings, LateChunkEmbeddings):
        raise InputTypeError(
            f"embedding must be LateChunkEmbeddings, not {type(embeddings).__name__}"
        )
    return embeddings


def _built(store_class: type[VectorStore] | None) -> type[VectorStore]:
    if store_class is None:
        raise InputTypeError("name the store to build and wrap: store_class=Milvus")
    return store_class


def _documents(texts: Sequence[str], metadatas: Sequence[dict[Any, Any]] | None) -> list[Document]:
    """Documents to bind; a text that knows its parent keeps that knowledge."""
    documents = []
    for text, metadata in zip(texts, metadatas or [{}] * len(texts), strict=True):
        document = Document(page_content=text, metadata=metadata)
        document.page_content = text  # after construction: pydantic makes a plain str of it
        documents.append(document)
    return documents
