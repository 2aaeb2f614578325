"""The file that `tune` writes makes the same chunks and vectors in every part of the package."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from langchain_core.documents import Document as LangChainDocument
from llama_index.core import Document
from llama_index.core.schema import TextNode

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.bulk import Chunking
from latechunk_integrations.bulk.chunking import spans_of
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.dataset import GoldenDocument
from latechunk_integrations.evaluation.passes import make_parent
from latechunk_integrations.evaluation.splitters import Overlapping, split_text
from latechunk_integrations.langchain import LateChunkTextSplitter
from latechunk_integrations.langchain import late_chunking as with_langchain
from latechunk_integrations.llama_index import LateChunkNodeParser
from latechunk_integrations.llama_index import late_chunking as with_llama_index
from latechunk_integrations.llama_index.serialization import component_dict, component_from_dict

TEXT = "# Cities\n\n## Berlin\n\n" + " ".join(
    f"Berlin has {n} parks, and district {n} is proud of the café." for n in range(9)
)


@pytest.fixture
def config(tmp_path: Path, tiny_model_path: Path) -> Path:
    path = tmp_path / "latechunk.yaml"
    content = {
        "engine": {
            "model": str(tiny_model_path),
            "dtype": "float32",
            "device": "cpu",
            "focus": 2.0,
        },
        "chunking": {"splitter": "recursive", "chunk_size": 24, "chunk_overlap": 4},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _expected(config: Path) -> tuple[list[str], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Chunks and vectors as `compare` measures them."""
    engine = LateChunkEngine.from_config(config)
    spans, lost = split_text(TEXT, Overlapping("recursive", 4), 24, engine.encoder)
    assert not lost
    document = GoldenDocument("cities.md", TEXT, "Cities")
    (found,) = engine.embed([make_parent(document, spans, "auto")])
    return [TEXT[start:end] for start, end in spans.array.tolist()], found.vectors


def test_what_was_measured_is_what_both_frameworks_do(config: Path) -> None:
    texts, vectors = _expected(config)
    assert len(texts) > 4

    node_parser, embed_model = with_llama_index(str(config))
    assert node_parser.embed_model is embed_model
    for parser in (node_parser, LateChunkNodeParser.from_config(config)):
        nodes = parser.get_nodes_from_documents([Document(text=TEXT, metadata={"title": "Cities"})])
        assert [node.text for node in nodes if isinstance(node, TextNode)] == texts
        made = np.array([node.get_embedding() for node in nodes])
        np.testing.assert_allclose(made, vectors, atol=1e-5)

    splitter, embeddings = with_langchain(config)
    source = LangChainDocument(TEXT, metadata={"title": "Cities"})
    chunks = splitter.split_documents([source])
    assert [chunk.page_content for chunk in chunks] == texts
    found = embeddings.embed_documents([chunk.page_content for chunk in chunks])
    np.testing.assert_allclose(found, vectors, atol=1e-5)
    again = LateChunkTextSplitter.from_config(config).split_documents([source])
    assert [chunk.page_content for chunk in again] == texts


def test_the_bulk_api_cuts_the_same(config: Path) -> None:
    texts, _ = _expected(config)
    split = Chunking.from_config(config).build(LateChunkEngine.from_config(config))
    spans = spans_of(split, TEXT, "cities")
    assert [TEXT[start:end] for start, end in spans.array.tolist()] == texts


def test_a_configured_splitter_is_rebuilt_elsewhere(config: Path) -> None:
    texts, _ = _expected(config)
    splitter = LateChunkNodeParser.from_config(config).splitter
    rebuilt = component_from_dict("splitter", component_dict(splitter, splitter.to_dict()))
    for copy in (pickle.loads(pickle.dumps(splitter)), rebuilt):
        nodes = copy.get_nodes_from_documents([Document(text=TEXT)])
        assert [node.get_content() for node in nodes] == texts


def test_options_beside_a_file_are_refused(config: Path) -> None:
    with pytest.raises(OptionError, match="write them into it"):
        with_llama_index(str(config), focus=1.0)
    with pytest.raises(OptionError, match="write them into it"):
        with_langchain(config, parent_by="source")
