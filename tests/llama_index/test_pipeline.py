"""`IngestionPipeline`: caches, docstore strategies, workers and concurrent runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.schema import BaseNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import IncompleteParentError
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkNodeParser,
    stamp_parents,
)
from tests.llama_index.support import SPLITTER, check, check_stored, expected

Ways = Callable[[LateChunkEmbedding], list[TransformComponent]]
BOTH: list[Ways] = [
    lambda model: [LateChunkNodeParser(embed_model=model, splitter=SPLITTER)],
    lambda model: [SPLITTER, model],
]
both_hooks = pytest.mark.parametrize("hook", BOTH, ids=["node parser", "embed model"])


def model_of(path: Path, **options: Any) -> LateChunkEmbedding:
    return LateChunkEmbedding(model_name=str(path), dtype="float32", **options)


@both_hooks
def test_the_cache_hits_only_what_would_come_out_the_same(
    hook: Ways, tiny_model_path: Path, documents: list[Document], tiny_engine: LateChunkEngine
) -> None:
    """Unchanged: no forward pass. A changed option or parent text: new vectors, all right."""
    cache = IngestionCache()

    def run(given: list[Document], **options: Any) -> tuple[list[BaseNode], int]:
        model = model_of(tiny_model_path, **options)
        pipeline = IngestionPipeline(transformations=hook(model), cache=cache)
        return list(pipeline.run(documents=given)), model.stats["windows"]

    first, taken = run(documents)
    assert taken > 0
    check(first, expected(tiny_engine, documents))
    again, taken = run(documents)
    assert taken == 0
    check(again, expected(tiny_engine, documents))
    neutral: dict[str, Any] = {"timeout_seconds": 9.0, "batch_tokens": 128, "embed_batch_size": 3}
    for name, value in (neutral | {"device": "cpu", "num_workers": 2, "strict": True}).items():
        assert run(documents, **{name: value})[1] == 0, name
    changed, taken = run(documents, document_prompt="passage: ")
    assert taken > 0
    assert changed[0].embedding != first[0].embedding
    edited = [Document(text=d.text, id_=d.doc_id, metadata=d.metadata) for d in documents]
    edited[0].set_content(documents[0].text + " One more sentence.")
    after, taken = run(edited)
    assert taken > 0
    check(after, expected(tiny_engine, edited))
    alike = [
        (a, b) for a, b in zip(after, first, strict=False) if a.get_content() == b.get_content()
    ]
    assert any(one.embedding != other.embedding for one, other in alike)
    assert after[0].metadata["late_parent"] != first[0].metadata["late_parent"]


def test_another_revision_of_the_weights_misses_the_cache(
    tiny_model_paths: dict[str, Path], tmp_path: Path
) -> None:
    """The key holds the model's fingerprint, not only its name."""
    link = tmp_path / "model"
    keys = []
    for family in ("wordpiece", "unigram"):
        link.unlink(missing_ok=True)
        link.symlink_to(tiny_model_paths[family])
        model = LateChunkEmbedding(model_name=str(link), dtype="float32")
        keys.append(model.to_dict()["fingerprint"])
        keys.append(LateChunkNodeParser(embed_model=model).to_dict()["embed_model"]["fingerprint"])
    assert keys[0] == keys[1] != keys[2] == keys[3]


def test_describing_an_embed_model_loads_nothing(tiny_model_path: Path) -> None:
    """A pipeline asks for the key of every step, also where all of them are cached."""
    model = model_of(tiny_model_path)
    described = [model.to_dict(), LateChunkNodeParser(embed_model=model).to_dict()]
    loaded = model_of(tiny_model_path)
    assert loaded.engine.dimensions
    assert described == [loaded.to_dict(), LateChunkNodeParser(embed_model=loaded).to_dict()]
    assert model._handle.loaded is None  # noqa: SLF001  # asking for the engine would load it


@both_hooks
def test_stamped_documents_never_share_cached_nodes(
    hook: Ways, tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """LlamaIndex's key runs all texts together, without ids: the stamp tells them apart."""
    cache = IngestionCache()
    text = "Berlin is large. The supplier delivers every part on time. Rights are reserved."
    runs = [
        [Document(text=text, id_="one")],
        [Document(text=text, id_="two")],
        [Document(text=text[:20], id_="a"), Document(text=text[20:], id_="b")],
        [Document(text=text[:40], id_="a"), Document(text=text[40:], id_="b")],
    ]
    for documents in runs:
        pipeline = IngestionPipeline(transformations=hook(embed_model), cache=cache)
        nodes = pipeline.run(documents=stamp_parents(documents))
        check(list(nodes), expected(tiny_engine, documents))


@both_hooks
@pytest.mark.parametrize("strategy", list(DocstoreStrategy))
def test_docstore_strategies_embed_what_changed_and_nothing_else(
    strategy: DocstoreStrategy,
    hook: Ways,
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    documents: list[Document],
) -> None:
    """The second run embeds the changed document only; the store holds what is current."""
    filled = [document for document in documents if document.text]
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(
        transformations=hook(embed_model),
        docstore=SimpleDocumentStore(),
        docstore_strategy=strategy,
        vector_store=store,
        disable_cache=True,
    )
    pipeline.run(documents=filled)
    check_stored(list(store.data.embedding_dict.values()), expected(tiny_engine, filled))
    changed = Document(
        text=filled[1].text + " It is final.", id_=filled[1].doc_id, metadata=filled[1].metadata
    )
    kept = [filled[0], changed, *filled[3:]]
    before = tiny_engine.stats["parents"]
    pipeline.run(documents=kept)
    assert tiny_engine.stats["parents"] == before + 1
    there = {
        DocstoreStrategy.UPSERTS: [*kept, filled[2]],
        DocstoreStrategy.UPSERTS_AND_DELETE: kept,
        DocstoreStrategy.DUPLICATES_ONLY: [*filled, changed],
    }[strategy]
    right = np.concatenate([list(expected(tiny_engine, [one]).values()) for one in there])
    check_stored(
        list(store.data.embedding_dict.values()),
        {(str(row), row): vector for row, vector in enumerate(right)},
    )


def test_an_upsert_of_one_document_in_a_hundred_embeds_its_parents_only(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    documents = [
        Document(text=f"Report {n}. It ends after {n} days. The rest is silence.", id_=str(n))
        for n in range(100)
    ]
    pipeline = IngestionPipeline(
        transformations=[LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER)],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(),
    )
    before = tiny_engine.stats.get("parents", 0)
    pipeline.run(documents=documents)
    assert tiny_engine.stats["parents"] == before + 100
    documents[42] = Document(text="Report 42. It never ends.", id_="42")
    pipeline.run(documents=documents)
    assert tiny_engine.stats["parents"] == before + 101


@pytest.mark.slow
@both_hooks
@pytest.mark.usefixtures("offline_workers")
def test_two_workers_give_the_vectors_of_one(
    hook: Ways,
    tiny_model_path: Path,
    tiny_engine: LateChunkEngine,
    documents: list[Document],
) -> None:
    """Spawned workers load the model themselves; whole documents go to each."""
    pipeline = IngestionPipeline(transformations=hook(model_of(tiny_model_path)))
    nodes = pipeline.run(documents=documents, num_workers=2)
    check(list(nodes), expected(tiny_engine, documents), atol=1e-5)


@pytest.mark.slow
async def test_concurrent_runs_give_the_vectors_of_one(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    """Ten pipelines at once, of both kinds, each with its own documents."""

    async def run(number: int) -> tuple[list[Document], list[BaseNode]]:
        own = [
            Document(text=f"{number}. {one.text}", id_=f"{number}-{one.doc_id}")
            for one in documents
            if one.text
        ]
        pipeline = IngestionPipeline(transformations=BOTH[number % 2](embed_model))
        return own, list(await pipeline.arun(documents=own))

    for own, nodes in await asyncio.gather(*map(run, range(10))):
        check(nodes, expected(tiny_engine, own))


def test_nodes_of_half_a_document_are_reported(
    tiny_model_path: Path, documents: list[Document], caplog: pytest.LogCaptureFixture
) -> None:
    """A docstore that drops unchanged nodes cuts parents: counted, or an error under strict."""
    nodes = SPLITTER(documents[:1])
    model = model_of(tiny_model_path)
    model(nodes[1:])
    assert model.stats["incomplete_parents"] == 1
    assert "report-0" in caplog.text
    with pytest.raises(IncompleteParentError, match="report-0"):
        model_of(tiny_model_path, strict=True)(SPLITTER(documents[:1])[1:])


def test_a_node_without_a_vector_embeds_its_whole_parent(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    """A new neighbour makes another parent: the vectors that its nodes have are out of date."""
    nodes = embed_model(SPLITTER(documents[:1]))
    nodes[0].embedding = None
    embed_model(nodes)
    assert embed_model.stats["parents"] == 2
    check(list(nodes), expected(tiny_engine, documents[:1]))


def test_a_saved_cache_serves_another_process(
    tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path, documents: list[Document]
) -> None:
    """``pipeline.persist`` and ``load``: hits, with fingerprints and vectors as they were."""
    pipeline = IngestionPipeline(transformations=BOTH[0](model_of(tiny_model_path)))
    pipeline.run(documents=documents)
    pipeline.persist(str(tmp_path))
    fresh = model_of(tiny_model_path)
    again = IngestionPipeline(transformations=BOTH[0](fresh))
    again.load(str(tmp_path))
    check(list(again.run(documents=documents)), expected(tiny_engine, documents))
    assert fresh.stats["windows"] == 0
    assert "late_parent" in json.dumps(again.cache.cache.to_dict())  # type: ignore[attr-defined]  # the simple one
