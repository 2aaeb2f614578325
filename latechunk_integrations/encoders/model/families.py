"""What a model's card asks for and its files do not say: prompts and trained dimensions."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelCard:
    """The part of a model's contract that only its card holds.

    Args:
        pattern: Regular expression of the model's name, without its owner.
        document_prompt: Prefix of passages; None: the card names no prompts.
        query_prompt: Prefix of queries.
        query_prompt_name: Name that the files may state that prompt by.
        dimensions: Widths that the vectors were trained to be cut to; empty: not known.
        least_dimensions: Any width from here on was trained; None: only those listed.
        layer_norm: A vector that is cut goes through a layer norm without weights before.
        lora_prompts: Prompts that go with a LoRA, by its name.
    """

    pattern: str
    document_prompt: str | None = None
    query_prompt: str = ""
    query_prompt_name: str = ""
    dimensions: tuple[int, ...] = ()
    least_dimensions: int | None = None
    layer_norm: bool = False
    lora_prompts: tuple[tuple[str, str], ...] = ()


_NOMIC = ("search_document: ", "search_query: ")
_E5 = ("passage: ", "query: ")
_GEMMA = ("title: none | text: ", "task: search result | query: ")
_WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query"
_BGE_EN = ("", "Represent this sentence for searching relevant passages: ")

# The first pattern that fits counts. docs/models.md lists the same models.
_CARDS = (
    ModelCard(
        r"nomic-embed-text-v1\.5", *_NOMIC, dimensions=(64, 128, 256, 512, 768), layer_norm=True
    ),
    ModelCard(r"nomic-embed-text-v1", *_NOMIC, dimensions=(768,)),
    ModelCard(r"modernbert-embed-base", *_NOMIC, dimensions=(256, 768)),
    ModelCard(r"modernbert-embed-large", *_NOMIC, dimensions=(256, 1024)),
    ModelCard(r"(multilingual-)?e5-small(-v2)?", *_E5, dimensions=(384,)),
    ModelCard(r"(multilingual-)?e5-base(-v2)?", *_E5, dimensions=(768,)),
    ModelCard(r"(multilingual-)?e5-large(-v2)?", *_E5, dimensions=(1024,)),
    ModelCard(r"multilingual-e5-large-instruct", "", _WEB_SEARCH + "\nQuery: ", dimensions=(1024,)),
    ModelCard(
        r"e5-mistral-7b-instruct",
        "",
        _WEB_SEARCH + "\nQuery: ",
        query_prompt_name="web_search_query",
        dimensions=(4096,),
    ),
    ModelCard(
        r"stella_en_(400M|1\.5B)_v5", "", _WEB_SEARCH + ".\nQuery: ", query_prompt_name="s2p_query"
    ),
    ModelCard(r"bge-small-en(-v1\.5)?", *_BGE_EN, dimensions=(384,)),
    ModelCard(r"bge-base-en(-v1\.5)?", *_BGE_EN, dimensions=(768,)),
    ModelCard(r"bge-large-en(-v1\.5)?", *_BGE_EN, dimensions=(1024,)),
    ModelCard(r"bge-m3", dimensions=(1024,)),
    ModelCard(r"all-mpnet-base-v2", dimensions=(768,)),
    ModelCard(r"jina-embeddings-v2-small-en", dimensions=(512,)),
    ModelCard(r"jina-embeddings-v2-base-(en|de|es|zh|code)", dimensions=(768,)),
    ModelCard(r"embeddinggemma-300m", dimensions=(128, 256, 512, 768)),
    ModelCard(r"embeddinggemma-2(-text)?(-\d+m)?", *_GEMMA, dimensions=(128, 256, 512, 768)),
    ModelCard(r"gte-multilingual-base", least_dimensions=128),
    ModelCard(r"Qwen3-Embedding-.*", least_dimensions=32),
    ModelCard(r"snowflake-arctic-embed-m-v1\.5", dimensions=(256, 768)),
    ModelCard(r"snowflake-arctic-embed-m-v2\.0", dimensions=(256, 768)),
    ModelCard(r"snowflake-arctic-embed-l-v2\.0", dimensions=(256, 1024)),
    ModelCard(
        r"jina-embeddings-v3(-hf)?",
        dimensions=(32, 64, 128, 256, 512, 768, 1024),
        lora_prompts=(
            ("retrieval_query", "Represent the query for retrieving evidence documents: "),
            ("retrieval_passage", "Represent the document for retrieval: "),
        ),
    ),
)


# The same weights in a layout that transformers runs by itself.
_NATIVE = {
    "gte-multilingual-base": "alibaba-nlp-community/gte-multilingual-base",
    "jina-embeddings-v3": "jinaai/jina-embeddings-v3-hf",
}


def find_native(model: str) -> str | None:
    """The hub name of a model's copy that needs no code of its own; None: none is known.

    Args:
        model: Hub name or local path, as for `find_card`.
    """
    names = {name.lower() for name in _names_of(model)}
    return next((copy for name, copy in _NATIVE.items() if name in names), None)


def find_card(model: str) -> ModelCard | None:
    """The card of a model, by its name.

    Args:
        model: Hub name or local path. A folder that is called as the model counts, and so does
            a snapshot in the hub's own cache (``models--OWNER--NAME/snapshots/COMMIT``).
    """
    for card in _CARDS:
        if any(re.fullmatch(card.pattern, name, re.IGNORECASE) for name in _names_of(model)):
            return card
    return None


def _names_of(model: str) -> list[str]:
    names = [part.rpartition("--")[2] for part in re.split(r"[/\\]", model.rstrip("/\\"))]
    return names[-3:] if names[-2:-1] == ["snapshots"] else names[-1:]
