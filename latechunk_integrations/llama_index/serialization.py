"""Nested LlamaIndex components in dictionaries, with nothing left out that changes nodes."""

from __future__ import annotations

from typing import Any

from llama_index.core.node_parser import LangchainNodeParser, SentenceSplitter
from llama_index.core.node_parser.loading import load_parser
from llama_index.core.schema import BaseComponent

from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index.configured import ConfiguredSplitter
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding

_CLASS = "class"
_WRAPPED = "langchain_splitter"


def component_dict(component: BaseComponent, data: dict[str, Any]) -> dict[str, Any]:
    """A component's description with those of the components in its fields.

    LlamaIndex leaves out fields of nested components that their declared type does not have,
    and what a ``LangchainNodeParser`` wraps; an ingestion cache would not notice a change.
    """
    described = dict(data)
    for name in type(component).model_fields:
        if name in described:
            described[name] = _describe(getattr(component, name), described[name])
    return described


def component_from_dict(name: str, value: Any) -> Any:
    """What a description of a field means; plain values mean themselves.

    LlamaIndex's own node parsers and our embed model are built, with what they were made of.

    Raises:
        OptionError: The component cannot be built from its description.
    """
    if isinstance(value, list):
        return [component_from_dict(name, one) for one in value]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    fields = {key: one for key, one in value.items() if key not in (_CLASS, "id_func")}
    if value["class_name"] == LateChunkEmbedding.class_name():
        return LateChunkEmbedding.from_dict(fields)
    if value["class_name"] == ConfiguredSplitter.class_name():
        return ConfiguredSplitter.from_dict(fields)
    path = value.get(_CLASS, value["class_name"])
    try:
        built = load_parser(fields)
    except (TypeError, ValueError):
        built = None
    usual = value.get("id_func") in (None, SentenceSplitter().to_dict()["id_func"])
    if built is None or _path(type(built)) != path or not usual:
        raise OptionError(
            f"{path} cannot be built from its description: build it yourself and pass it as "
            f"from_dict(data, {name}=...)"
        )
    return built


def _describe(value: Any, plain: Any) -> Any:
    if isinstance(value, BaseComponent):
        described = component_dict(value, value.to_dict())
        described[_CLASS] = _path(type(value))
        if isinstance(value, LangchainNodeParser):
            described[_WRAPPED] = _settings(value)
        return described
    if isinstance(value, dict) and any(isinstance(one, BaseComponent) for one in value.values()):
        return {key: _describe(one, one) for key, one in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(one, BaseComponent) for one in value):
        return [_describe(one, one) for one in value]
    return plain


def _settings(parser: LangchainNodeParser) -> dict[str, Any]:
    """Class and plain settings of the splitter that a ``LangchainNodeParser`` wraps."""
    wrapped = parser._lc_splitter  # noqa: SLF001  # there is no public way to it
    settings = {
        name: value
        for name, value in vars(wrapped).items()
        if isinstance(value, str | int | float | bool | list | tuple | None)
    }
    return {_CLASS: _path(type(wrapped)), **settings}


def _path(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
