"""`LateChunkEmbeddings`: chunk vectors for stores that pass nothing but texts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal, NamedTuple

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from latechunk_integrations.engine import LateChunkEngine, shared_engine
from latechunk_integrations.errors import (
    AmbiguousChunkError,
    InputTypeError,
    MismatchedPairError,
    OptionError,
    UnknownChunkError,
)
from latechunk_integrations.langchain.binding import BOUND, Binding, Origin
from latechunk_integrations.langchain.cache import refuse_text_cache
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.delivery import deliver
from latechunk_integrations.langchain.ledger import Ledger, Place
from latechunk_integrations.langchain.split_documents import Parents, places_of
from latechunk_integrations.options import TRANSPORT_OPTIONS, LateChunkOptions
from latechunk_integrations.schema import Mode, Parent
from latechunk_integrations.stats import EngineStats

__all__ = ["LateChunkEmbeddings", "PlainEmbeddings"]

_OPTION_NAMES = {field.name for field in fields(LateChunkOptions)} - {"model"}
_LEDGER_BYTES = 256 * 1024 * 1024
_COUNTERS = ("text", "bound", "ledger", "standalone", "ambiguous", "probe", "evicted")
# QdrantVectorStore embeds this text to learn the width of a vector.
_PROBES = frozenset({"dummy_text"})
# Options that choose how the work is done, or what is said about it, but not the vectors.
_NEUTRAL = ("device", "batch_tokens", "strict", "trust_remote_code", *TRANSPORT_OPTIONS)


class _Resolution(NamedTuple):
    """The layer that knew a text, and where the text was cut from."""

    layer: Literal["text", "bound", "ledger", "standalone", "probe"]
    place: Place | None = None
    ambiguous: bool = False
    lost: bool = False


class LateChunkEmbeddings(BaseModel, Embeddings):
    """Embeds chunks with the context of the document that they were cut from.

    Chunks come from a `LateChunkTextSplitter` that was given these embeddings. Where a text
    was cut from is asked in this order, and counted in `stats`: the text itself, the call's
    bound documents (`bind`), the ledger of what was split lately. A text of unknown origin is
    embedded standalone, or refused under ``strict=True``.

    Thread-safe. Pickled, it leaves the model and the ledger behind.

    Args:
        model_name: A hub name or a local path.
        engine: A loaded engine instead of a model name.
        ledger_bytes: Bound on the texts and vectors kept until they are delivered.
        **options: Fields of `LateChunkOptions`.

    Raises:
        OptionError: An option is unknown, impossible, or given beside an engine.
    """

    model_config = ConfigDict(extra="forbid")

    model_name: str
    options: dict[str, Any] = Field(default_factory=dict)
    ledger_bytes: int = _LEDGER_BYTES
    _engine: LateChunkEngine | None = PrivateAttr(default=None)
    # Apart from `options`, which are serialised.
    _api_key: SecretStr | None = PrivateAttr(default=None)
    _ledger: Ledger = PrivateAttr()
    _stats: EngineStats = PrivateAttr(default_factory=EngineStats)
    _pair_key: str = PrivateAttr()
    _embedding: threading.RLock = PrivateAttr(default_factory=threading.RLock)

    def __init__(
        self,
        model_name: str = "",
        *,
        engine: LateChunkEngine | None = None,
        options: dict[str, Any] | None = None,
        ledger_bytes: int = _LEDGER_BYTES,
        **flat: Any,
    ) -> None:
        checked = _checked_options(model_name, engine, {**(options or {}), **flat})
        super().__init__(
            model_name=checked.model, options=checked.to_dict(), ledger_bytes=ledger_bytes
        )
        self._engine = engine
        self._api_key = checked.api_key
        self._ledger = Ledger(self.ledger_bytes, self._stats)
        named = {name: value for name, value in self.options.items() if name not in _NEUTRAL}
        self._pair_key = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.options, self.ledger_bytes)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> LateChunkEmbeddings:
        """The copy shares model and ledger, without which it would know no chunk."""
        return self.__copy__()

    @property
    def engine(self) -> LateChunkEngine:
        """The engine; loaded on first use, once for a process and its options."""
        if self._engine is None:
            with self._embedding:  # threads that come at once must not load it several times
                options = {**self.options, "api_key": self._api_key}
                self._engine = shared_engine(LateChunkOptions.from_mapping(options))
        return self._engine

    @property
    def pair_key(self) -> str:
        """Names model and options in chunks, so that those of another pair are noticed."""
        return self._pair_key

    @property
    def strict(self) -> bool:
        """Whether what cannot be done late is an error."""
        return bool(self.options["strict"])

    @property
    def stats(self) -> dict[str, int]:
        """Texts by how their parent was known, and what went wrong.

        ``text``, ``bound``, ``ledger``, ``standalone``: the layer that answered; ``probe``: a
        store asked for the width of a vector; ``ambiguous``: several places explain a text and
        the first was taken; ``evicted``: parents that left the ledger undelivered.
        """
        return {**dict.fromkeys(_COUNTERS, 0), **self._stats.to_dict()}

    @property
    def plain(self) -> PlainEmbeddings:
        """The same model without late chunking, for splitters that embed sentences."""
        return PlainEmbeddings(self)

    def record(self, parent: Parent, texts: Sequence[str]) -> None:
        """Note a parent that a splitter has just cut, and what it made of each span."""
        self._ledger.record(parent, texts)

    def prepare(self, parent: Parent) -> tuple[Mode, ...]:
        """Embed a recorded parent now; its vectors are kept until they are delivered."""
        with self._embedding:
            result = self.engine.embed([parent])[0]
        chunks = [Place(parent, row).bounds for row in range(len(parent.spans))]
        self._ledger.keep(parent, chunks, result.vectors, ())
        return result.modes

    @contextmanager
    def bind(self, chunks: Iterable[Document]) -> Iterator[None]:
        """Tell which documents the texts of the calls inside are, in order.

        Exact also where documents were rebuilt from text and metadata. Reaches threads that
        copy the context, as ``asyncio.to_thread`` and LangChain's executors do.

        Args:
            chunks: The documents that a store is about to be given.
        """
        token = BOUND.set(Binding(chunks, self._ledger))
        try:
            yield
        finally:
            BOUND.reset(token)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Chunk vectors, in order.

        Raises:
            UnknownChunkError: ``strict`` and a text has no known parent.
            AmbiguousChunkError: ``strict`` and a text has several.
            MismatchedPairError: A text was cut for another model or other options.
            TextKeyedCacheError: A cache keyed by text asks.
        """
        refuse_text_cache(self)
        return self._embed_documents(texts)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same as `embed_documents` in a thread, so that the event loop goes on."""
        refuse_text_cache(self)
        return await asyncio.to_thread(self._embed_documents, texts)

    def embed_query(self, text: str) -> list[float]:
        """The query's vector: plain, with the model's query prompt."""
        vector: list[float] = self.engine.embed_query(text).tolist()
        return vector

    async def aembed_query(self, text: str) -> list[float]:
        """The same as `embed_query` in a thread."""
        return await asyncio.to_thread(self.embed_query, text)

    def embed_split_documents(
        self,
        chunks: Iterable[Document],
        parents: Parents = None,
        *,
        header_from: Iterable[str] = (),
    ) -> list[list[float]]:
        """Vectors of chunks that were split elsewhere, without any ledger.

        Args:
            chunks: Documents with the metadata that `LateChunkTextSplitter` gives.
            parents: What they were cut from: the documents given to the splitter, or its
                `LateChunkTextSplitter.parents`. None: the chunks' texts know it themselves.
            header_from: The splitter's, when parents are documents.

        Returns:
            A vector for each chunk, in order.

        Raises:
            UnknownChunkError: ``strict`` and a chunk's parent is not among the parents.
        """
        documents = list(chunks)
        for document in documents:
            if isinstance(document.page_content, ChunkText):
                self._check_pair(document.page_content)
        places = places_of(documents, parents, tuple(header_from))
        resolved = [
            _Resolution("bound", place) if place else _Resolution("standalone", lost=True)
            for place in places
        ]
        return self._vectors([document.page_content for document in documents], resolved)

    def cache_key(self, text: str) -> str:
        """A key under which a cache may keep a text's vector: for `CacheBackedEmbeddings`.

        It names everything that the vector depends on. Give queries a store of their own.

        Raises:
            UnknownChunkError: A plain text that stands in a parent: rebuilt documents have
                lost what the key is made of.
        """
        engine = self.engine.fingerprint
        if isinstance(text, ChunkText):
            self._check_pair(text)
            start, end = text.span
            return f"late-{engine}-{text.parent.fingerprint}-{start}-{end}"
        if text in self._ledger or BOUND.get() is not None:
            raise UnknownChunkError(
                f"a cache needs the splitter's own documents; this text was rebuilt: {text!r:.60}"
            )
        return f"text-{engine}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if isinstance(texts, str):
            raise InputTypeError("embed_documents wants a list of texts, not one str")
        return self._vectors(texts, self._resolve(texts))

    def _vectors(self, texts: Sequence[str], resolved: Sequence[_Resolution]) -> list[list[float]]:
        self._report(texts, resolved)
        out = np.zeros((len(texts), self.engine.dimensions), np.float32)
        alone = [row for row, found in enumerate(resolved) if found.place is None]
        late = [(row, found.place) for row, found in enumerate(resolved) if found.place]
        # One at a time: a parent that several threads want is embedded once.
        with self._embedding:
            if alone:
                out[alone] = self.engine.embed_texts([str(texts[row]) for row in alone])
            deliver(self.engine, self._ledger, late, out)
        rows: list[list[float]] = out.tolist()
        return rows

    def _resolve(self, texts: Sequence[str]) -> list[_Resolution]:
        """The layers, in order; each is asked for what the one before did not know."""
        resolved: list[_Resolution | None] = [self._by_text(text) for text in texts]
        for layer in (self._by_binding, self._by_ledger):
            rows = [row for row, found in enumerate(resolved) if found is None]
            for row, found in zip(rows, layer([texts[row] for row in rows]), strict=True):
                resolved[row] = found
        return [
            found or _Resolution("probe" if text in _PROBES else "standalone")
            for text, found in zip(texts, resolved, strict=True)
        ]

    def _by_text(self, text: str) -> _Resolution | None:
        if not isinstance(text, ChunkText):
            return None
        self._check_pair(text)
        return _Resolution("text", Place(text.parent, text.row))

    def _by_binding(self, texts: Sequence[str]) -> list[_Resolution | None]:
        binding = BOUND.get()
        if binding is None or binding.ledger is not self._ledger:
            return [None] * len(texts)
        said = binding.resolve(texts)
        return [
            _Resolution("bound", bound.place, bound.ambiguous)
            if bound.place
            else _Resolution("standalone", lost=True)
            if bound.origin is Origin.LOST
            else None
            for bound in said
        ]

    def _by_ledger(self, texts: Sequence[str]) -> list[_Resolution | None]:
        return [
            _Resolution("ledger", held.place, held.ambiguous) if held.place else None
            for held in self._ledger.resolve(texts)
        ]

    def _check_pair(self, text: ChunkText) -> None:
        if text.pair != self.pair_key:
            raise MismatchedPairError(
                "these chunks were cut for embeddings of another model or with other options; "
                f"make the pair with late_chunking(), here for {self.model_name!r}",
                parent_id=text.parent.id,
                span=(text.span.start, text.span.end),
            )

    def _report(self, texts: Sequence[str], resolved: Sequence[_Resolution]) -> None:
        for layer in ("text", "bound", "ledger", "probe"):
            if n_texts := sum(found.layer == layer for found in resolved):
                self._stats.count(layer, n_texts)
        unsure = [row for row, found in enumerate(resolved) if found.ambiguous]
        if unsure:
            reason = (
                f"{len(unsure)} of {len(texts)} texts stand at several places, such as "
                f"{str(texts[unsure[0]])!r:.60}, and the first was taken; add the splitter's own "
                "documents, or wrap the store in LateChunkVectorStore"
            )
            if self.strict:
                raise AmbiguousChunkError(reason)
            self._stats.report("ambiguous", reason, len(unsure))
        unknown = [row for row, found in enumerate(resolved) if found.layer == "standalone"]
        if unknown:
            n_lost = sum(found.lost for found in resolved)
            reason = (
                f"{len(unknown)} of {len(texts)} texts have no known parent"
                + (f" ({n_lost} name one that is not held any more)" if n_lost else "")
                + "; split them with a LateChunkTextSplitter that has these embeddings"
            )
            if self.strict:
                raise UnknownChunkError(reason)
            self._stats.report("standalone", f"{reason}: embedded standalone", len(unknown))


class PlainEmbeddings(Embeddings):
    """The model of late-chunking embeddings, without late chunking: a text is a whole passage.

    Args:
        embeddings: Whose engine is used.
    """

    def __init__(self, embeddings: LateChunkEmbeddings) -> None:
        self._embeddings = embeddings

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Passage vectors, in order."""
        rows: list[list[float]] = self._embeddings.engine.embed_texts(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The query's vector, with the model's query prompt."""
        return self._embeddings.embed_query(text)


def _checked_options(
    model_name: str, engine: LateChunkEngine | None, given: dict[str, Any]
) -> LateChunkOptions:
    if engine is None:
        options = LateChunkOptions.from_mapping({**given, "model": model_name})
    elif given:
        raise OptionError(f"{', '.join(given)}: an engine brings its own options; build it so")
    else:
        options = engine.options
    if options.fallback == "skip":
        raise OptionError(
            "fallback='skip' leaves chunks without vectors, and a vector store wants one for "
            "every text; take 'window', 'standard' or 'error'"
        )
    return options


def _rebuild(
    kind: type[LateChunkEmbeddings], options: dict[str, Any], ledger_bytes: int
) -> LateChunkEmbeddings:
    model = {"model_name": options["model"]}
    others = {name: value for name, value in options.items() if name in _OPTION_NAMES}
    return kind(**model, ledger_bytes=ledger_bytes, **others)
