"""``parent_by``: the pages of a file are one parent, and stay documents of their own."""

from __future__ import annotations

import copy
import pickle
import random
import textwrap
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import (
    DocstoreStrategy,
    IngestionCache,
    IngestionPipeline,
    run_transformations,
)
from llama_index.core.schema import BaseNode, MetadataMode, TextNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from benchmarks.llama_index_loop import RareWords
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import IncompleteParentError, InputTypeError, OptionError
from latechunk_integrations.llama_index import (
    JoinedDocument,
    LateChunkEmbedding,
    LateChunkNodeParser,
    stamp_parents,
)
from tests.llama_index.support import (
    SPLITTER,
    Vectors,
    check,
    check_stored,
    expected,
)

Hook = Callable[[LateChunkEngine], list[TransformComponent]]


def node_parser(engine: LateChunkEngine, **options: Any) -> list[TransformComponent]:
    model = LateChunkEmbedding(engine=engine)
    return [
        LateChunkNodeParser(embed_model=model, splitter=SPLITTER, parent_by="file_path", **options)
    ]


def behind(engine: LateChunkEngine) -> list[TransformComponent]:
    return [SPLITTER, LateChunkEmbedding(engine=engine, parent_by="file_path")]


both_hooks = pytest.mark.parametrize("hook", [node_parser, behind], ids=["parser", "embedding"])


LONG = (
    "Page {page} of report {file}. The supplier delivers within {page} days. "
    "All rights are reserved. It costs {cost} euros."
)
SHORT = "Page {page} costs {cost} euros."


def pages(n_files: int = 3, n_pages: int = 4, text: str = LONG) -> list[Document]:
    """What a reader of PDFs gives: a document for each page."""
    return [
        Document(
            text=text.format(page=page, file=file, cost=file * page),
            id_=f"report-{file}-page-{page}",
            metadata={"file_path": f"/pdf/report-{file}.pdf", "page_label": str(page)},
            excluded_embed_metadata_keys=["file_path"],
            excluded_llm_metadata_keys=["file_path"],
        )
        for file in range(n_files)
        for page in range(1, n_pages + 1)
    ]


def file_vectors(engine: LateChunkEngine, documents: list[Document]) -> Vectors:
    """The engine's vectors of each file's text, by page and place in the page."""
    files: dict[str, list[Document]] = {}
    for document in documents:
        files.setdefault(str(document.metadata["file_path"]), []).append(document)
    vectors: Vectors = {}
    for members in files.values():
        text, spans, places, headers = "", [], [], []
        for page in members:
            text += "\n\n" if text else ""
            header = page.get_metadata_str(mode=MetadataMode.EMBED)
            end = 0
            for chunk in SPLITTER.split_text_metadata_aware(page.text, header):
                start = page.text.index(chunk, end)
                end = start + len(chunk)
                spans.append((len(text) + start, len(text) + end))
                places.append((page.doc_id, start))
                headers.append(header)
            text += page.text
        (result,) = engine.embed([Parent(text, spans, headers=headers)])
        vectors |= dict(zip(places, result.vectors, strict=True))
    return vectors


def edited(documents: list[Document], row: int) -> list[Document]:
    """Read again, with one page changed."""
    fresh = [Document(**document.to_dict()) for document in documents]
    fresh[row].set_content(fresh[row].text + " This page has grown.")
    return fresh


def parents_taken(engine: LateChunkEngine, call: Callable[[], object]) -> int:
    before = engine.stats.get("parents", 0)
    call()
    return engine.stats.get("parents", 0) - before


@both_hooks
def test_from_documents_makes_a_file_of_its_pages(hook: Hook, tiny_engine: LateChunkEngine) -> None:
    """Vectors of the file; ids, labels, offsets and deletion of each page."""
    documents = pages()
    steps = hook(tiny_engine)
    model = LateChunkEmbedding(engine=tiny_engine)
    index = VectorStoreIndex.from_documents(documents, transformations=steps, embed_model=model)
    right = file_vectors(tiny_engine, documents)
    store = index.vector_store
    assert isinstance(store, SimpleVectorStore)
    check_stored(list(store.data.embedding_dict.values()), right)
    for node in index.docstore.docs.values():
        assert isinstance(node, TextNode)
        page = next(one for one in documents if one.doc_id == node.ref_doc_id)
        assert page.text[node.start_char_idx : node.end_char_idx] == node.text
        assert node.metadata["page_label"] == page.metadata["page_label"]
    index.delete_ref_doc("report-1-page-2")
    kept = {place: vector for place, vector in right.items() if place[0] != "report-1-page-2"}
    check_stored(list(store.data.embedding_dict.values()), kept)


@pytest.mark.parametrize("hook", ["parser", "embedding"])
def test_pages_that_nobody_joined_are_said(
    hook: str, tiny_engine: LateChunkEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader of PDFs cuts files into pages without a word; the log says what to write."""

    def files_by_page(documents: list[Document], **options: Any) -> int:
        model = LateChunkEmbedding(engine=tiny_engine, **options)
        if hook == "parser":
            LateChunkNodeParser(embed_model=model, splitter=SPLITTER, **options)(documents)
        else:
            model(SPLITTER(documents))
        return model.stats["files_by_page"]

    assert files_by_page(pages(2, 3)) == 2
    assert "'/pdf/report-0.pdf' came as 3 documents" in caplog.text
    assert "parent_by='file_path'" in caplog.text
    assert files_by_page(pages(2, 3), parent_by="file_path") == 0
    assert files_by_page(stamp_parents(pages(2, 3), parent_by="file_path")) == 0
    assert files_by_page(pages(2, 1)) == 0


@both_hooks
async def test_async_and_interleaved_pages(hook: Hook, tiny_engine: LateChunkEngine) -> None:
    documents = pages()
    mixed = [documents[row] for row in (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)]
    nodes = await IngestionPipeline(transformations=hook(tiny_engine)).arun(documents=mixed)
    check(list(nodes), file_vectors(tiny_engine, documents))
    assert [node.ref_doc_id for node in nodes][:1] == ["report-0-page-1"]


def test_shuffled_nodes_of_stamped_pages_find_their_order(tiny_engine: LateChunkEngine) -> None:
    documents = stamp_parents(pages(), parent_by="file_path")
    model = LateChunkEmbedding(engine=tiny_engine)
    nodes = SPLITTER(documents)
    random.Random(7).shuffle(nodes)  # a seed, not a secret
    check(list(model(nodes)), file_vectors(tiny_engine, documents))
    assert model.stats["parents"] == 3


def test_a_function_can_name_the_parent(tiny_engine: LateChunkEngine) -> None:
    def file_of(node: BaseNode) -> str:
        return str(node.metadata["file_path"])

    model = LateChunkEmbedding(engine=tiny_engine, parent_by=file_of)
    documents = pages()
    check(list(model(SPLITTER(documents))), file_vectors(tiny_engine, documents))
    assert "file_of" in str(model.to_dict()["parent_by"])
    with pytest.raises(InputTypeError, match="must return"):
        LateChunkEmbedding(engine=tiny_engine, parent_by=lambda _: ["x"])(SPLITTER(documents))
    with pytest.raises(OptionError, match="file_path"):
        LateChunkEmbedding(engine=tiny_engine, parent_by=3)  # type: ignore[arg-type]  # the point


def test_functions_are_told_apart_by_what_they_do(tiny_engine: LateChunkEngine) -> None:
    """Caches take the description for the function, in this process and in others."""

    def described(function: Any) -> str:
        model = LateChunkEmbedding(engine=tiny_engine, parent_by=function)
        return str(model.to_dict()["parent_by"])

    def by(key: str) -> Callable[[BaseNode], object]:
        return lambda node: node.metadata[key]

    def of(key: str, node: BaseNode) -> object:
        return node.metadata[key]

    functions: list[Any] = [
        lambda node: node.node_id,
        lambda node: node.ref_doc_id,
        lambda node: node.metadata["a"],
        lambda node, key="a": node.metadata[key],
        lambda node, key="b": node.metadata[key],
        *(by("a"), by("b"), partial(of, "a"), partial(of, "b")),
    ]
    assert len({described(one) for one in functions}) == len(functions)
    source = "def f(node):\n    return any(key in {'a', 'b'} for key in node.metadata)"
    twins: list[dict[str, Any]] = [{"__name__": "x"}, {"__name__": "x"}]
    for names in twins:
        exec(source, names)  # noqa: S102  # the same function, compiled again
    assert described(twins[0]["f"]) == described(twins[1]["f"])


class Titles:
    """Headers from a table, as a user's own class gives them."""

    def __init__(self, title: str) -> None:
        self.titles = {"title": title}

    def header(self, node: BaseNode) -> str:
        return self.titles["title"] if node.metadata else ""


_MODULE = """
TITLES = {{"a": {title!r}, "parts": {{"x", "y", "z"}}}}
def title_of(node):
    return {helper!r}
def f(node, depth=0):
    return [TITLES["a"] + title_of(node) for _ in "x"][0] if depth else f(node, depth=1)
"""


def _of_module(title: str, helper: str) -> Any:
    names: dict[str, Any] = {"__name__": "x"}
    exec(_MODULE.format(title=title, helper=helper), names)  # noqa: S102  # a user's module
    return names["f"]


def test_a_function_is_what_it_reads_too(tiny_engine: LateChunkEngine) -> None:
    """The object whose method it is, tables and functions of its module."""

    def described(function: Any) -> str:
        return str(LateChunkEmbedding(engine=tiny_engine, header=function).to_dict()["header"])

    def keyed(*, key: str) -> Callable[[BaseNode], object]:
        def function(node: BaseNode, *, key: str = key) -> object:
            return node.metadata[key]

        return function

    alpha, beta = Titles("Alpha"), Titles("Beta")
    alike: list[tuple[Any, ...]] = [
        (alpha.header, beta.header),
        (lru_cache(alpha.header), lru_cache(beta.header)),
        (keyed(key="a"), keyed(key="b")),
        (_of_module("a", "b"), _of_module("c", "b"), _of_module("a", "c")),
    ]
    for functions in alike:
        assert len({described(one) for one in functions}) == len(functions)
    assert described(Titles("Alpha").header) == described(alpha.header)
    assert described(_of_module("a", "b")) == described(_of_module("a", "b"))


def test_functions_that_all_call_each_other_are_told_once(tiny_engine: LateChunkEngine) -> None:
    """A program's own module may hold many; and those of other modules are told by name."""
    names = [f"f{number}" for number in range(30)]
    body = "".join(f"def {name}(node):\n    return {' or '.join(names)}\n" for name in names)
    twins: list[dict[str, Any]] = [{"__name__": "x", "f29": textwrap.shorten} for _ in "ab"]
    described = set()
    for module in twins:
        exec(body.replace("def f29", "def unused"), module)  # noqa: S102  # a user's module
        model = LateChunkEmbedding(engine=tiny_engine, parent_by=module["f0"])
        described.add(str(model.to_dict()["parent_by"]))
    assert len(described) == 1


def test_a_cache_never_serves_the_headers_of_another_table(
    tiny_engine: LateChunkEngine,
) -> None:
    cache = IngestionCache()
    text = "Rights are reserved. The supplier delivers."
    for title in ("Alpha", "Beta"):
        model = LateChunkEmbedding(engine=tiny_engine, header=Titles(title).header)
        parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
        given = [Document(text=text, id_="one", metadata={"kind": "terms"})]
        nodes = IngestionPipeline(transformations=[parser], cache=cache).run(documents=given)
        spans = [(node.start_char_idx, node.end_char_idx) for node in nodes]  # type: ignore[attr-defined]  # text nodes
        (right,) = tiny_engine.embed([Parent(text, spans, header=title)])
        np.testing.assert_allclose(
            [node.get_embedding() for node in nodes], right.vectors, atol=1e-6
        )


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
def test_documents_without_the_key_are_their_own_parents_and_counted(
    nothing: object, tiny_engine: LateChunkEngine
) -> None:
    documents = pages(1, 3)
    for document in documents[1:]:
        document.metadata["file_path"] = nothing
    model = LateChunkEmbedding(engine=tiny_engine, parent_by="file_path")
    nodes = model(SPLITTER(documents))
    assert model.stats["parents"] == 3
    assert model.stats["nodes_without_parent_key"] == sum(
        node.ref_doc_id != "report-0-page-1" for node in nodes
    )


@both_hooks
@pytest.mark.parametrize("stamped", [True, False])
def test_a_blank_page_changes_nothing_for_the_others(
    stamped: bool, hook: Hook, tiny_engine: LateChunkEngine
) -> None:
    """No chunk tells of it; the file is complete, and its words are those of the other pages."""
    documents = pages(1, 4)
    documents[1].set_content(" \n")
    right = file_vectors(tiny_engine, [documents[0], *documents[2:]])
    if stamped:
        documents = stamp_parents(documents, "file_path")
    steps = hook(tiny_engine)
    check(run_transformations(documents, steps), right)
    model: Any = getattr(steps[-1], "embed_model", steps[-1])
    assert model.stats["incomplete_parents"] == 0


@both_hooks
def test_vectors_of_another_model_on_one_page_embed_the_file(
    hook: Hook, tiny_engine: LateChunkEngine
) -> None:
    """A page that has a vector already, copied and pickled with the others on its way."""
    documents = pages(1, 3)
    right = file_vectors(tiny_engine, documents)
    documents[1].embedding = [1.0] * tiny_engine.dimensions
    steps = hook(tiny_engine)
    nodes = run_transformations(pickle.loads(pickle.dumps(copy.deepcopy(documents))), steps)
    check(nodes, right)
    model: Any = getattr(steps[-1], "embed_model", steps[-1])
    n_foreign = sum(node.ref_doc_id == "report-0-page-2" for node in nodes)
    assert model.stats["foreign_vectors_replaced"] == n_foreign
    again = pickle.loads(pickle.dumps(copy.deepcopy(nodes)))
    behind(tiny_engine)[1](again)
    check(again, right)


@both_hooks
def test_the_pipelines_cache_serves_pages(hook: Hook, tiny_engine: LateChunkEngine) -> None:
    """Unchanged: nothing is embedded. A page changed: every chunk of its file is another."""
    cache = IngestionCache()

    def run(documents: list[Document]) -> list[BaseNode]:
        pipeline = IngestionPipeline(transformations=hook(tiny_engine), cache=cache)
        return list(pipeline.run(documents=stamp_parents(documents, parent_by="file_path")))

    first = run(pages())
    assert parents_taken(tiny_engine, lambda: run(pages())) == 0
    check(run(pages()), file_vectors(tiny_engine, pages()))
    changed = edited(pages(), 5)
    after = run(changed)
    check(after, file_vectors(tiny_engine, changed))
    marks = [{node.metadata["late_parent"] for node in some} for some in (first, after)]
    assert len(marks[0] & marks[1]) == 2


@both_hooks
@pytest.mark.parametrize(
    "strategy", [DocstoreStrategy.UPSERTS, DocstoreStrategy.UPSERTS_AND_DELETE]
)
def test_a_changed_page_embeds_its_file_anew_and_no_other(
    strategy: DocstoreStrategy, hook: Hook, tiny_engine: LateChunkEngine
) -> None:
    """The stamp changes for all pages of the file, so that upserts bring them together."""
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(
        transformations=hook(tiny_engine),
        docstore=SimpleDocumentStore(),
        docstore_strategy=strategy,
        vector_store=store,
        disable_cache=True,
    )

    def run(documents: list[Document]) -> int:
        stamped = stamp_parents(documents, parent_by="file_path")
        return parents_taken(tiny_engine, lambda: pipeline.run(documents=stamped))

    documents = pages(2, 40, SHORT)  # several to a window, so that a change reaches others
    assert run(documents) == 2
    assert run(pages(2, 40, SHORT)) == 0
    changed = edited(documents, 43)
    assert run(changed) == 1
    before, after = (file_vectors(tiny_engine, some) for some in (documents, changed))
    moved = [page for page in before if not np.allclose(before[page], after[page], atol=1e-3)]
    assert len(moved) > 1
    check_stored(list(store.data.embedding_dict.values()), after)


def test_a_refresh_page_by_page_reads_the_file_once(tiny_engine: LateChunkEngine) -> None:
    """LlamaIndex inserts pages one by one; stamped ones know the others of their file."""
    documents = pages(2, 5, SHORT)
    late = LateChunkEmbedding(engine=tiny_engine)
    parser = LateChunkNodeParser(embed_model=late, splitter=SPLITTER)
    index = VectorStoreIndex.from_documents(
        stamp_parents(documents, parent_by="file_path"),
        transformations=[parser],
        embed_model=late,
    )
    changed = edited(documents, 7)
    stamped = stamp_parents(changed, parent_by="file_path")
    refreshed: list[bool] = []
    taken = parents_taken(tiny_engine, lambda: refreshed.extend(index.refresh_ref_docs(stamped)))
    assert sum(refreshed) == 5
    assert taken == 1
    store = index.vector_store
    assert isinstance(store, SimpleVectorStore)
    check_stored(list(store.data.embedding_dict.values()), file_vectors(tiny_engine, changed))
    assert late.stats["incomplete_parents"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.usefixtures("offline_workers")
async def test_two_workers_know_the_pages_that_the_other_has(
    asynchronous: bool, tiny_model_path: Path, tiny_engine: LateChunkEngine
) -> None:
    """LlamaIndex deals pages out to workers: stamped ones carry their file."""
    model = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32", strict=True)
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    documents = pages(3, 3)
    pipeline = IngestionPipeline(transformations=[parser])
    call: dict[str, Any] = {
        "documents": stamp_parents(documents, parent_by="file_path"),
        "num_workers": 2,
    }
    nodes = await pipeline.arun(**call) if asynchronous else pipeline.run(**call)
    check(list(nodes), file_vectors(tiny_engine, documents), atol=1e-5)


@both_hooks
def test_a_page_that_is_gone_changes_its_file(hook: Hook, tiny_engine: LateChunkEngine) -> None:
    """``upserts_and_delete``: its rows go, and the other pages no longer see it."""
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(
        transformations=hook(tiny_engine),
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=store,
    )
    for documents in (pages(2, 4), [*pages(2, 4)[:2], *pages(2, 4)[3:]]):
        pipeline.run(documents=stamp_parents(documents, parent_by="file_path"))
        check_stored(list(store.data.embedding_dict.values()), file_vectors(tiny_engine, documents))


@both_hooks
def test_the_same_documents_twice_are_embedded_right_both_times(
    hook: Hook, tiny_engine: LateChunkEngine
) -> None:
    """Loaded through two readers: equal objects and equal copies, as LlamaIndex keeps them."""
    documents = [Document(text=page.text, id_=page.doc_id) for page in pages(1, 3)]
    model = LateChunkEmbedding(engine=tiny_engine)
    steps: list[TransformComponent] = (
        [LateChunkNodeParser(embed_model=model, splitter=SPLITTER)]
        if hook is node_parser
        else [SPLITTER, model]
    )
    for again in (documents, copy.deepcopy(documents)):
        nodes = IngestionPipeline(transformations=steps).run(documents=[*documents, *again])
        half = len(nodes) // 2
        right = expected(tiny_engine, documents)
        for some in (nodes[:half], nodes[half:]):
            found = [node.get_embedding() for node in some]
            np.testing.assert_allclose(found, list(right.values()), atol=1e-6)


def test_a_stamped_page_that_is_given_twice_is_one_page(tiny_engine: LateChunkEngine) -> None:
    stamped = stamp_parents(pages(1, 3), parent_by="file_path")
    nodes = IngestionPipeline(transformations=node_parser(tiny_engine)).run(
        documents=[*stamped, *stamped]
    )
    check(list(nodes), file_vectors(tiny_engine, pages(1, 3)))


def test_pages_that_are_missing_are_counted_or_refused(
    tiny_model_path: Path, tiny_engine: LateChunkEngine
) -> None:
    """Nodes of half a file; and documents, where an earlier call or a stamp tells of more."""
    documents = pages(1, 4)
    stamped = [Document(**one.to_dict()) for one in stamp_parents(documents, "file_path")]
    model = LateChunkEmbedding(engine=tiny_engine)
    model(SPLITTER(stamped[:2]))
    LateChunkNodeParser(embed_model=model, splitter=SPLITTER)(stamped[:2])
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER, parent_by="file_path")
    fresh = pages(1, 4)
    parser(fresh)
    assert model.stats["incomplete_parents"] == 2
    parser(fresh[1:3])
    assert model.stats["incomplete_parents"] == 3
    strict = LateChunkEmbedding(model_name=str(tiny_model_path), strict=True)
    with pytest.raises(IncompleteParentError, match="stamp_parents"):
        LateChunkNodeParser(embed_model=strict, splitter=SPLITTER)(stamped[:2])
    with pytest.raises(IncompleteParentError, match="stamp_parents"):
        strict(SPLITTER(stamped[2:]))


def test_joined_documents_are_documents_that_travel_with_their_file() -> None:
    documents = stamp_parents(pages(1, 3), parent_by="file_path")
    (page, *_) = documents
    assert isinstance(page, JoinedDocument)
    assert Document(**page.to_dict()).get_content() == page.get_content()
    docstore = SimpleDocumentStore()
    docstore.add_documents(documents)
    kept = docstore.get_document(page.doc_id)
    assert kept is not None
    assert kept.hash == page.hash
    for twin in (pickle.loads(pickle.dumps(page)), copy.deepcopy(page)):
        assert [one.doc_id for one in twin.documents] == [one.doc_id for one in documents]
        assert twin.hash == page.hash
    again = stamp_parents(documents, parent_by="file_path")
    assert [one.metadata["late_sources"] for one in again] == [
        one.metadata["late_sources"] for one in documents
    ]
    assert not any(isinstance(one, JoinedDocument) for one in again[0].documents)  # type: ignore[attr-defined]  # it is joined


def test_sections_of_joined_documents_are_refused(embed_model: LateChunkEmbedding) -> None:
    with pytest.raises(OptionError, match="take one"):
        LateChunkNodeParser(embed_model=embed_model, parent_by="file_path", parent_level="section")


def test_extractors_see_the_pages_and_their_words_are_pooled(
    tiny_engine: LateChunkEngine,
) -> None:
    (parser,) = node_parser(tiny_engine, extractors=[RareWords()])
    nodes = list(parser(pages(1, 3)))
    text, spans, headers = "", [], []
    for node in nodes:
        text += "\n\n" if text else ""
        own = f"excerpt_keywords: {node.metadata['excerpt_keywords']}\n\n{node.get_content()}"
        spans.append((len(text), len(text) + len(own)))
        headers.append(f"page_label: {node.metadata['page_label']}")
        text += own
    (right,) = tiny_engine.embed([Parent(text, spans, headers=headers)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


def test_a_page_that_waited_is_read_again_where_its_metadata_changed(
    tiny_engine: LateChunkEngine,
) -> None:
    """What models do not see is no part of the stamp: who may read a page, for instance."""
    (parser,) = node_parser(tiny_engine)

    def stamped(readers: str) -> list[Document]:
        documents = pages(1, 3)
        for document in documents:
            document.metadata["readers"] = readers
            document.excluded_embed_metadata_keys.append("readers")
            document.excluded_llm_metadata_keys.append("readers")
        return stamp_parents(documents, parent_by="file_path")

    before, after = stamped("all"), stamped("staff")
    assert before[0].metadata["late_sources"] == after[0].metadata["late_sources"]
    nodes = [*parser([before[0]]), *parser([after[1]]), *parser([after[2]])]
    readers = {str(node.ref_doc_id): node.metadata["readers"] for node in nodes}
    assert list(readers.values()) == ["all", "staff", "staff"]
    check(nodes, file_vectors(tiny_engine, pages(1, 3)))
