"""Nested LlamaIndex components to plain values and back, with nothing left out."""

from __future__ import annotations

from typing import Any

from llama_index.core.node_parser import LangchainNodeParser, NodeParser, SentenceSplitter
from llama_index.core.schema import BaseComponent

from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding

__all__ = ["component_dict", "component_from_dict"]

_CLASS = "class"
_WRAPPED = "langchain_splitter"


def component_dict(component: BaseComponent, data: dict[str, Any]) -> dict[str, Any]:
    """A component's description with those of the components in its fields.

    LlamaIndex leaves out fields of nested components that their declared type does not have,
    and what a ``LangchainNodeParser`` wraps; an ingestion cache would not notice a change.

    Args:
        component: The component.
        data: What its own ``to_dict`` gives.
    """
    described = dict(data)
    for name in type(component).model_fields:
        value = getattr(component, name)
        if name in described:
            described[name] = _describe(value, described[name])
    return described


def component_from_dict(name: str, value: Any) -> Any:
    """What a description of a field stands for; plain values stand for themselves.

    Raises:
        OptionError: The component cannot be built from its description.
    """
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    fields = {key: one for key, one in value.items() if key not in (_CLASS, "id_func")}
    if value["class_name"] == LateChunkEmbedding.class_name():
        return LateChunkEmbedding.from_dict(fields)
    path = value.get(_CLASS, value["class_name"])
    refusal = OptionError(
        f"{path} cannot be built from its description: build it yourself and pass it as "
        f"from_dict(data, {name}=...)"
    )
    found = [one for one in _subclasses(NodeParser) if _path(one) == path]
    id_func = value.get("id_func")
    if len(found) != 1 or _WRAPPED in value or id_func not in (None, _default_id_func()):
        raise refusal
    try:
        return found[0].from_dict(fields)
    except (TypeError, ValueError) as error:
        raise refusal from error


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


def _default_id_func() -> Any:
    """How LlamaIndex describes the function that makes ids unless another one is given."""
    return SentenceSplitter().to_dict()["id_func"]


def _subclasses(base: type[Any]) -> list[type[Any]]:
    found = base.__subclasses__()
    for one in found:
        found.extend(one.__subclasses__())
    return found
