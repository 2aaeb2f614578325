"""Copies of the adapters' public classes have their original's encoder, or say that they cannot."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document as LlamaDocument
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import SentenceSplitter
from pydantic import BaseModel

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations import langchain as for_langchain
from latechunk_integrations import llama_index as for_llama_index
from latechunk_integrations.errors import FingerprintMismatchError
from tests.evaluation.word_encoder import WordEncoder

TEXT = "One supplier delivers every part. Another one does not. Nothing else applies here. " * 3
PICKLED = "pickle"


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def _deep_model_copy(value: Any) -> Any:
    return value.model_copy(deep=True) if isinstance(value, BaseModel) else copy.deepcopy(value)


WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": _deep_model_copy,
    PICKLED: _pickled,
}


def _llama_embedding(engine: LateChunkEngine) -> Any:
    return for_llama_index.LateChunkEmbedding(engine=engine)


def _llama_parser(engine: LateChunkEngine) -> Any:
    return for_llama_index.LateChunkNodeParser(
        embed_model=_llama_embedding(engine),
        splitter=SentenceSplitter(chunk_size=30, chunk_overlap=0),
    )


def _langchain_embeddings(engine: LateChunkEngine) -> Any:
    return for_langchain.LateChunkEmbeddings(engine=engine)


def _langchain_pair(engine: LateChunkEngine) -> Any:
    embeddings = _langchain_embeddings(engine)
    splitter = RecursiveCharacterTextSplitter(chunk_size=60, chunk_overlap=0)
    return embeddings, for_langchain.LateChunkTextSplitter(embeddings=embeddings, splitter=splitter)


def _use_embedding(one: Any) -> Any:
    return one.get_query_embedding("where")


def _use_parser(one: Any) -> Any:
    nodes = one.get_nodes_from_documents([LlamaDocument(text=TEXT)])
    return [node.get_embedding() for node in nodes]


def _use_embeddings(one: Any) -> Any:
    return one.embed_query("where")


def _use_pair(one: Any) -> Any:
    embeddings, splitter = one
    chunks = splitter.split_documents([Document(TEXT, metadata={"source": "a"})])
    return embeddings.embed_documents([chunk.page_content for chunk in chunks])


MAKERS: dict[str, tuple[Callable[[LateChunkEngine], Any], Callable[[Any], Any]]] = {
    "LateChunkEmbedding": (_llama_embedding, _use_embedding),
    "LateChunkNodeParser": (_llama_parser, _use_parser),
    "LateChunkEmbeddings": (_langchain_embeddings, _use_embeddings),
    "LateChunkTextSplitter": (_langchain_pair, _use_pair),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("make", "use"), MAKERS.values(), ids=MAKERS)
def test_a_copy_gives_its_originals_vectors(
    make: Callable[[LateChunkEngine], Any],
    use: Callable[[Any], Any],
    way: Callable[[Any], Any],
    tiny_engine: LateChunkEngine,
) -> None:
    original = make(tiny_engine)
    twin = way(original)
    np.testing.assert_allclose(use(twin), use(original), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("make", "use"), MAKERS.values(), ids=MAKERS)
def test_a_copy_keeps_an_encoder_that_no_option_names(
    make: Callable[[LateChunkEngine], Any], use: Callable[[Any], Any], way: Callable[[Any], Any]
) -> None:
    engine = LateChunkEngine(WordEncoder(context=0.25), LateChunkOptions(model="words"))
    original = make(engine)
    twin = way(original)
    np.testing.assert_allclose(use(twin), use(original), atol=1e-6)


def test_a_description_of_another_engine_is_told(
    tiny_engine: LateChunkEngine,
) -> None:
    """``from_dict`` compares the fingerprint that ``to_dict`` wrote."""
    described = _llama_embedding(tiny_engine).to_dict()
    same: BaseEmbedding = for_llama_index.LateChunkEmbedding.from_dict(described)
    np.testing.assert_allclose(
        same.get_query_embedding("where"), tiny_engine.embed_query("where"), atol=1e-6
    )
    described["fingerprint"] = "0" * 32
    with pytest.raises(FingerprintMismatchError):
        for_llama_index.LateChunkEmbedding.from_dict(described).get_query_embedding("where")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_wrapped_store_is_copied_with_its_embeddings(
    way: Callable[[Any], Any], tiny_engine: LateChunkEngine
) -> None:
    store: Any = for_langchain.LateChunkVectorStore(
        InMemoryVectorStore(_langchain_embeddings(tiny_engine))
    )
    twin = way(store)
    assert twin.embeddings.embed_query("where") == store.embeddings.embed_query("where")


def _others(engine: LateChunkEngine) -> dict[str, Any]:
    return {
        "SnippetPostprocessor": for_llama_index.SnippetPostprocessor(
            embed_model=_llama_embedding(engine)
        ),
        "SnippetCompressor": for_langchain.SnippetCompressor(
            embeddings=_langchain_embeddings(engine)
        ),
        "LlamaPlain": for_llama_index.PlainEmbedding(late=_llama_embedding(engine)),
        "LangchainPlain": _langchain_embeddings(engine).plain,
    }


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "name", ["SnippetPostprocessor", "SnippetCompressor", "LlamaPlain", "LangchainPlain"]
)
def test_what_holds_an_engine_can_be_copied(
    name: str, way: Callable[[Any], Any], tiny_engine: LateChunkEngine
) -> None:
    one = _others(tiny_engine)[name]
    assert type(way(one)) is type(one)
