"""A result as options to paste: the one file, and what reads it in both frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.evaluation.results import ConfigurationResult
from latechunk_integrations.options import LateChunkOptions

LLAMA_INDEX = """\
from latechunk_integrations.llama_index import late_chunking

node_parser, embed_model = late_chunking("latechunk.yaml")
index = VectorStoreIndex.from_documents(
    documents, transformations=[node_parser], embed_model=embed_model
)
"""

LANGCHAIN = """\
from latechunk_integrations.langchain import late_chunking

splitter, embeddings = late_chunking("latechunk.yaml")
store = Milvus.from_documents(splitter.split_documents(documents), embeddings)
"""

_DEFAULTS = {
    option.name: option.default for option in fields(LateChunkOptions) if option.name != "model"
}
# What only golden sets know by these names.
_SPLITTERS = {
    "sentences": "latechunk_integrations.evaluation.similarity:sentence_spans",
    "native": "recursive",
}
_PREPENDED = (
    "The title is to be in front of each chunk's text: LlamaIndex puts it there if it is in the "
    "metadata; with LangChain, write it into page_content yourself."
)


def config_of(result: ConfigurationResult, options: Mapping[str, Any]) -> dict[str, Any]:
    """The sections ``engine`` and ``chunking`` that give what was measured."""
    engine = {**options, **result.configuration.options(), "enabled": True}
    if engine["focus"] == 0 and not engine["context_weight"]:
        engine |= {"layout": "auto", "focus": "auto"}  # nothing is late
    kept = {k: v for k, v in engine.items() if k in _DEFAULTS and v != _DEFAULTS[k]}
    header = {"none": None, "prepended": None, "attended": "title", "auto": "auto"}
    return {
        "engine": {"model": engine["model"], **kept},
        "chunking": ChunkingOptions(
            splitter=_SPLITTERS.get(result.splitter, result.splitter),
            chunk_size=result.chunk_size,
            chunk_overlap=result.chunk_overlap,
            header=header[result.configuration.header],
        ).to_dict(),
    }


def config_text(result: ConfigurationResult, options: Mapping[str, Any], comment: str = "") -> str:
    """The same as YAML, which `LateChunkOptions` and `ChunkingOptions` read.

    Args:
        result: What was measured.
        options: Of the engine that it was measured with.
        comment: Stands above, line by line.
    """
    import yaml  # noqa: PLC0415  # only configuration files need it

    lines = comment.splitlines()
    if result.configuration.header == "prepended":
        lines.append(_PREPENDED)
    text: str = yaml.safe_dump(config_of(result, options), sort_keys=False, allow_unicode=True)
    return "".join([*(f"# {line}\n" for line in lines), text])


def write_config(
    result: ConfigurationResult, options: Mapping[str, Any], path: str | Path, comment: str = ""
) -> None:
    """Write the file; see `config_text`."""
    Path(path).write_text(config_text(result, options, comment), encoding="utf-8")
