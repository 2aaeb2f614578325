"""Whatever is done to chunks, in whatever order: no vector is ever somebody else's.

A model of what each text is known to be goes along. Truth is the engine's own vectors of each
document embedded by itself, and of each text embedded alone. The encoder is one of words and
their window's mean, without weights, so that tens of thousands of calls take a minute.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import LateChunkPair, LateChunkVectorStore, late_chunking
from tests.langchain.support import WORDS, embed_elsewhere, line_spans, lines, rebuilt
from tests.prepared import CONTEXT

logger = logging.getLogger(__name__)

_IN_CI = bool(os.environ.get("CI"))
_N_CALLS = 20_000
_LINES = ("None.", "The buyer pays.", "No pets are allowed here.", "Section 2 applies.", "Signed.")
_REASONS = ("unknown", "altered", "parent_not_held")
_seeds = st.integers(0, 1 << 16)

Vector = NDArray[np.float32]


def _document(number: int) -> Document:
    """One of a few hundred documents of few different lines, and one line of its own."""
    rng = random.Random(number % 200)
    own = [f"File {number % 200}.", *rng.choices(_LINES, k=rng.randint(1, 4))]
    return Document("\n".join(own), metadata={"source": f"s{number % 200}"})


class Chunks(RuleBasedStateMachine):
    """Splits, loses, rebuilds, changes and embeds chunks in every way at once."""

    engine: ClassVar[LateChunkEngine]
    folder: ClassVar[Path]
    workers: ClassVar[ProcessPoolExecutor]
    calls: ClassVar[Counter[str]] = Counter()

    pair: LateChunkPair

    @initialize(shared=st.booleans(), memory=st.sampled_from([1, 6_000, 1 << 20]))
    def start(self, shared: bool, memory: int) -> None:
        from langchain_classic.storage import LocalFileStore

        store = LocalFileStore(self.folder) if shared else None
        self.is_shared = shared
        self.pair = late_chunking(
            "words",
            lines,
            header=None,
            encoder=WORDS,
            parent_store=store,
            memory_bytes=memory,
        )
        self.held: list[Document] = []
        self.rows: list[Document] = []
        self.split([memory, memory + 1, memory + 2])

    @rule(numbers=st.lists(_seeds, min_size=1, max_size=4))
    def split(self, numbers: list[int]) -> None:
        """Keep the splitter's own chunks, and what a file would keep of them."""
        chunks = self.pair.splitter.split_documents([_document(n) for n in numbers])
        self.held += chunks
        self.rows += rebuilt(chunks)

    @rule(seed=_seeds)
    def edit(self, seed: int) -> None:
        """A source is split again with a line more: its old chunks are another parent's."""
        document = _document(seed)
        document.page_content += "\nOne more clause."
        self.rows += rebuilt(self.pair.splitter.split_documents([document]))

    @rule()
    def forget(self) -> None:
        """What memory held of these may go from now on."""
        self.held.clear()
        gc.collect()

    @rule(seed=_seeds, size=st.integers(1, 3))
    def embed_own(self, seed: int, size: int) -> None:
        """The splitter's chunks in any order, subset and repetition."""
        chosen = self._some(self.held, seed)
        self._check(chosen, self._embed([c.page_content for c in chosen], size), always_late=True)

    @rule(seed=_seeds, size=st.integers(1, 3))
    def embed_pickled(self, seed: int, size: int) -> None:
        chosen = [pickle.loads(pickle.dumps(c)) for c in self._some(self.held, seed)]
        self._check(chosen, self._embed([c.page_content for c in chosen], size), always_late=True)

    @rule(seed=_seeds, size=st.integers(1, 3))
    def embed_rebuilt(self, seed: int, size: int) -> None:
        chosen = self._some(self.rows, seed)
        read = [Document(**row) for row in json.loads(json.dumps([c.model_dump() for c in chosen]))]
        texts = [c.page_content for c in self.pair.embeddings.attach(read)]
        self._check(chosen, self._embed(texts, size))

    @rule(seed=_seeds, size=st.integers(1, 3))
    def store_rebuilt(self, seed: int, size: int) -> None:
        chosen = self._some(self.rows, seed)
        inner = InMemoryVectorStore(self.pair.embeddings)
        store = LateChunkVectorStore(inner)
        before = Counter(self.pair.embeddings.stats)
        for start in range(0, len(chosen), size):
            batch = chosen[start : start + size]
            store.add_documents(batch, ids=[str(start + row) for row in range(len(batch))])
            self.calls["store"] += 1
        vectors = [inner.store[str(row)]["vector"] for row in range(len(chosen))]
        self._check(chosen, (vectors, self._counted(before)))

    @rule(seed=_seeds)
    def embed_as_queries(self, seed: int) -> None:
        chosen = self._some(self.held, seed)[:4]
        before = Counter(self.pair.embeddings.stats)
        vectors = [self.pair.embeddings.embed_query(c.page_content) for c in chosen]
        self.calls["query"] += len(chosen)
        self._check(chosen, (vectors, self._counted(before)), always_late=True)

    @rule(seed=_seeds)
    def embed_in_threads(self, seed: int) -> None:
        chosen = self.pair.embeddings.attach(self._some(self.rows, seed))
        before = Counter(self.pair.embeddings.stats)
        with ThreadPoolExecutor(4) as pool:
            single = list(
                pool.map(lambda c: self.pair.embeddings.embed_documents([c.page_content]), chosen)
            )
        self.calls["thread"] += len(chosen)
        self._check(chosen, ([one for (one,) in single], self._counted(before)))

    @rule(seed=_seeds)
    def embed_elsewhere(self, seed: int) -> None:
        """A worker has nothing but pickles and the parent store."""
        mixed = self._some(self.held, seed)[:4] + self._some(self.rows, seed)[:4]
        sent = pickle.dumps((self.pair.embeddings, mixed))
        if mixed:
            found = self.workers.submit(embed_elsewhere, sent).result(600)
            self.calls["process"] += 1
            self._check(mixed, (found[0], Counter(found[1])), always_late=self.is_shared)

    @rule(seed=_seeds)
    def embed_foreign(self, seed: int) -> None:
        """Texts equal to chunks, without metadata or with those of a user: never late."""
        chosen = self._some(self.rows, seed)
        texts = [str(c.page_content) for c in chosen]
        plain = [Document(text, metadata={"source": "elsewhere"}) for text in texts]
        attached = [c.page_content for c in self.pair.embeddings.attach(plain)]
        vectors, counted = self._embed(attached, 2)
        for text, vector in zip(texts, vectors, strict=True):
            assert _near(vector, _alone(text))
        assert counted == Counter({"unknown": len(texts)} if texts else {})

    @rule(seed=_seeds, change=st.sampled_from(["lower", "spaces", "prefix", "longer", "other"]))
    def embed_changed(self, seed: int, change: str) -> None:
        chosen = self._some(self.rows, seed)
        changed = [c.model_copy(update={"page_content": _CHANGES[change](c)}) for c in chosen]
        vectors, counted = self._embed(
            [c.page_content for c in self.pair.embeddings.attach(changed)], 2
        )
        n_late = 0
        for chunk, new, vector in zip(chosen, changed, vectors, strict=True):
            if change in ("longer", "other"):
                assert _near(vector, _alone(new.page_content))
            elif _near(vector, _true(chunk)):
                n_late += 1
            else:
                assert _near(vector, _alone(new.page_content))
        assert counted["late"] == n_late
        assert sum(counted[reason] for reason in _REASONS) == len(chosen) - n_late

    def _some(self, chunks: list[Document], seed: int) -> list[Document]:
        rng = random.Random(seed)
        return rng.choices(chunks, k=rng.randint(1, 20)) if chunks else []

    def _embed(self, texts: list[str], size: int) -> tuple[list[Any], Counter[str]]:
        before = Counter(self.pair.embeddings.stats)
        vectors: list[Any] = []
        for start in range(0, len(texts), size):
            vectors += self.pair.embeddings.embed_documents(texts[start : start + size])
            self.calls["embed"] += 1
        return vectors, self._counted(before)

    def _counted(self, before: Counter[str]) -> Counter[str]:
        return Counter(self.pair.embeddings.stats) - before

    def _check(
        self,
        chunks: list[Document],
        found: tuple[list[Any], Counter[str]],
        *,
        always_late: bool = False,
    ) -> None:
        """Each vector is its chunk's own late one, or standalone and counted."""
        vectors, counted = found
        late = [_near(v, _true(c)) for c, v in zip(chunks, vectors, strict=True)]
        for chunk, vector, is_late in zip(chunks, vectors, late, strict=True):
            assert is_late or _near(vector, _alone(str(chunk.page_content)))
        assert counted["late"] == sum(late)
        assert counted["parent_not_held"] == len(late) - sum(late)
        assert counted["unknown"] == counted["altered"] == 0
        assert all(late) or not (always_late or self.is_shared)


_CHANGES: dict[str, Callable[[Document], str]] = {
    "lower": lambda chunk: chunk.page_content.lower(),
    "spaces": lambda chunk: "\n" + chunk.page_content.replace(" ", "\t "),
    "prefix": lambda chunk: f"{chunk.metadata['source']}: {chunk.page_content}",
    "longer": lambda chunk: f"{chunk.page_content} And so on.",
    "other": lambda chunk: f"Not {chunk.page_content}",
}


@cache
def _document_vectors(source: str, is_edited: bool) -> dict[int, Vector]:
    text = _document(int(source[1:])).page_content + ("\nOne more clause." if is_edited else "")
    spans = line_spans(text)
    (result,) = Chunks.engine.embed([Parent(text, spans)])
    alone = Chunks.engine.embed_texts(lines(text))
    assert np.abs(result.vectors - alone).max(axis=1).min() > 1e-3  # else nothing is tested
    return {start: v for (start, _), v in zip(spans, result.vectors, strict=True)}


@cache
def _first_fingerprint(source: str) -> str:
    text = _document(int(source[1:])).page_content
    return Parent(text, line_spans(text)).fingerprint


def _true(chunk: Document) -> Vector:
    source = chunk.metadata["source"]
    is_edited = chunk.metadata["late_parent"] != _first_fingerprint(source)
    return _document_vectors(source, is_edited)[chunk.metadata["start_index"]]


@cache
def _alone(text: str) -> Vector:
    vector: Vector = Chunks.engine.embed_texts([text])[0]
    return vector


def _near(vector: Any, truth: Vector) -> bool:
    return bool(np.abs(np.asarray(vector, np.float32) - truth).max() < 1e-5)


@pytest.fixture
def workers() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool:
        pool.submit(embed_elsewhere, b"").exception()  # imports take longer than any call
        yield pool


@pytest.mark.rule(5)
@pytest.mark.slow
def test_no_sequence_of_calls_gives_a_chunk_a_vector_that_is_not_its_own(
    tmp_path: Path,
    workers: ProcessPoolExecutor,
) -> None:
    Chunks.engine = LateChunkEngine.from_pretrained("words", encoder=WORDS)
    Chunks.folder, Chunks.workers = tmp_path, workers
    Chunks.calls.clear()
    gc.freeze()  # collecting what was loaded since takes a fifth of the test
    run_state_machine_as_test(
        Chunks,
        settings=settings(
            max_examples=110,
            stateful_step_count=80,
            deadline=None,
            derandomize=_IN_CI,
            suppress_health_check=list(HealthCheck),
        ),
    )
    logger.info("%d calls: %s", Chunks.calls.total(), dict(Chunks.calls))
    assert Chunks.calls.total() >= _N_CALLS, Chunks.calls
    assert min(Chunks.calls.values()) > 0, Chunks.calls
