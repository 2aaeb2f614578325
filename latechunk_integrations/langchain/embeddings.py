"""`LateChunkEmbeddings`: chunk vectors for stores that pass nothing but texts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from latechunk_integrations.engine import LateChunkEngine, shared_engine
from latechunk_integrations.errors import InputTypeError, OptionError, UnknownChunkError
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.ledger import Ledger, Place
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent

__all__ = ["LateChunkEmbeddings"]

logger = logging.getLogger(__name__)

_OPTION_NAMES = {field.name for field in fields(LateChunkOptions)} - {"model"}
_LEDGER_BYTES = 256 * 1024 * 1024


class LateChunkEmbeddings(BaseModel, Embeddings):
    """Embeds chunks with the context of the document that they were cut from.

    Chunks come from a `LateChunkTextSplitter` that was given these embeddings. Texts of
    unknown origin are embedded standalone, counted, and refused under ``strict=True``.

    Args:
        model_name: A hub name or a local path.
        engine: A loaded engine instead of a model name.
        ledger_bytes: Bound on the texts and vectors kept until they are delivered.
        **options: Fields of `LateChunkOptions`.
    """

    model_config = ConfigDict(extra="forbid")

    model_name: str
    options: dict[str, Any] = Field(default_factory=dict)
    ledger_bytes: int = _LEDGER_BYTES
    _engine: LateChunkEngine | None = PrivateAttr(default=None)
    _ledger: Ledger = PrivateAttr()
    _stats: Counter[str] = PrivateAttr(default_factory=Counter)

    def __init__(
        self, model_name: str = "", *, engine: LateChunkEngine | None = None, **kwargs: Any
    ) -> None:
        flat = {name: kwargs.pop(name) for name in list(kwargs) if name in _OPTION_NAMES}
        if engine is not None:
            checked = engine.options
        else:
            merged = {**kwargs.pop("options", {}), **flat}
            checked = LateChunkOptions.from_mapping({**merged, "model": model_name})
        kwargs.pop("options", None)
        if checked.fallback == "skip":
            raise OptionError("a vector store wants a vector for every text: fallback='skip' fails")
        super().__init__(model_name=checked.model, options=checked.to_dict(), **kwargs)
        self._engine = engine
        self._ledger = Ledger(self.ledger_bytes)

    @property
    def engine(self) -> LateChunkEngine:
        """The engine; loaded on first use, once for a process and its options."""
        if self._engine is None:
            self._engine = shared_engine(LateChunkOptions.from_mapping(self.options))
        return self._engine

    @property
    def stats(self) -> dict[str, int]:
        """Texts by how their parent was known: ``text``, ``ledger``, ``standalone``."""
        return dict(self._stats)

    def record(self, parent: Parent) -> None:
        """Note a parent that a splitter has just cut."""
        self._ledger.record(parent)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Chunk vectors, in order.

        Raises:
            UnknownChunkError: ``strict`` and some, but not all, texts have a known parent.
        """
        if isinstance(texts, str):  # type: ignore[unreachable]  # users pass what they like
            raise InputTypeError("embed_documents wants a list of texts, not one str")
        places = self._places(texts)
        unknown = [i for i, place in enumerate(places) if place is None]
        vectors = np.zeros((len(texts), self.engine.dimensions), np.float32)
        if unknown:
            self._report_unknown(len(unknown), len(texts))
            vectors[unknown] = self.engine.embed_texts([str(texts[i]) for i in unknown])
        known = [(i, place) for i, place in enumerate(places) if place is not None]
        by_parent = self._embed_parents([place.parent for _, place in known])
        for i, place in known:
            vectors[i] = by_parent[id(place.parent)][place.index]
        rows: list[list[float]] = vectors.tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The query's vector: plain, with the model's query prompt."""
        vector: list[float] = self.engine.embed_query(text).tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same as `embed_documents` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """The same as `embed_query` in a thread."""
        return await asyncio.to_thread(self.embed_query, text)

    def _places(self, texts: Sequence[str]) -> list[Place | None]:
        places: list[Place | None] = []
        ledger = self._ledger.resolve(texts)
        for text, (place, ambiguous) in zip(texts, ledger, strict=True):
            if isinstance(text, ChunkText):
                self._stats["text"] += 1
                places.append(Place(text.parent, text.row))
                continue
            self._stats["ledger" if place else "standalone"] += 1
            if ambiguous:
                self._stats["ambiguous"] += 1
                logger.warning("a text stands in several parents; the first is taken: %.60r", text)
            places.append(place)
        return places

    def _report_unknown(self, n_unknown: int, n_texts: int) -> None:
        reason = f"{n_unknown} of {n_texts} texts have no known parent"
        if self.engine.options.strict and n_unknown < n_texts:
            raise UnknownChunkError(f"{reason}; split them with LateChunkTextSplitter")
        level = logging.WARNING if self._stats["standalone"] == n_unknown else logging.INFO
        logger.log(level, "%s and are embedded standalone (see stats)", reason)

    def _embed_parents(self, parents: Sequence[Parent]) -> dict[int, NDArray[np.float32]]:
        """Vectors by the identity of the parent object; each parent is embedded once."""
        unique = {id(parent): parent for parent in parents}
        vectors: dict[int, NDArray[np.float32]] = {}
        todo = []
        for key, parent in unique.items():
            kept = self._ledger.vectors(parent)
            if kept is None:
                todo.append((key, parent))
            else:
                vectors[key] = kept
        results = self.engine.embed_iter(parent for _, parent in todo)
        for (key, parent), result in zip(todo, results, strict=True):
            vectors[key] = result.vectors
            self._ledger.keep(parent, result.vectors)
        return vectors
