"""Splitters by name, import path or factory, and the spans of their chunks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.core.spans import locate
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.errors import InputTypeError, MissingExtraError, OptionError
from latechunk_integrations.plugins import SPLITTERS
from latechunk_integrations.schema import CharSpans

# Some 16 MiB at most, however long the texts are.
_REMEMBERED_TEXTS = 1 << 14
_REMEMBERED_CHARS = 1 << 10

Splitter: TypeAlias = str | Callable[..., Any]
"""A name, ``"module:name"``, what takes a text and gives its chunks, or a factory of it."""


def text_splitter(
    splitter: Any,
    chunk_size: int | None,
    encoder: TokenEncoder,
    arguments: Mapping[str, Any] | None = None,
) -> Callable[[str], Iterable[Any]]:
    """The function from a text to its chunks that a splitter means.

    Args:
        splitter: ``"recursive"``: LangChain's RecursiveCharacterTextSplitter, sized in the
            model's tokens; ``"module:name"``, imported; the name of an entry point (group
            ``latechunk_integrations.splitters``); an object with a method ``split_text``;
            a function ``text -> chunks``; or a class or factory of one of these: what can be
            called without an argument.
        chunk_size: Tokens of a chunk; ``None`` where the splitter has its own.
        encoder: Counts tokens.
        arguments: More arguments of the class, factory or function.

    Raises:
        OptionError: There is no such splitter, or it does not take the size or the arguments.
        MissingExtraError: The splitter's package is not installed.
    """
    given = dict(arguments or {})
    if chunk_size is not None and chunk_size < 1:
        raise OptionError(f"a chunk holds at least one token: chunk_size={chunk_size}")
    if splitter == "recursive":
        return _make_recursive(chunk_size or 128, encoder, given)
    found = SPLITTERS.find(splitter) if isinstance(splitter, str) else splitter
    if not hasattr(found, "split_text") or isinstance(found, type):
        if not callable(found):
            raise OptionError(f"a splitter is a name, a function or an object, not {splitter!r}")
        if not _is_factory(found):
            return _set_size(found, chunk_size, given)
        found = _build(found, chunk_size, given)
    elif given or chunk_size is not None:
        raise OptionError(f"{splitter!r} is built already: it takes no chunk size or arguments")
    split: Callable[[str], Iterable[Any]] = getattr(found, "split_text", found)
    return split


def configured_splitter(
    options: ChunkingOptions, encoder: TokenEncoder
) -> Callable[[str], list[str]]:
    """The function from a text to the texts of its chunks that a file of options names."""
    split = text_splitter(options.splitter, options.chunk_size, encoder, options.arguments)

    def split_text(text: str) -> list[str]:
        return [chunk if isinstance(chunk, str) else text[slice(*chunk)] for chunk in split(text)]

    return split_text


def chunk_spans(text: str, chunks: Iterable[Any]) -> tuple[CharSpans, int]:
    """The spans of chunks in reading order, and how many were not found.

    Args:
        text: What was split.
        chunks: Texts, which are searched for, or pairs ``(start, end)``.

    Raises:
        InputTypeError: They are neither, or some of both.
        SpanError: Pairs are no spans.
    """
    if isinstance(chunks, str) or not isinstance(chunks, Iterable):
        raise InputTypeError(f"a splitter must give a list of chunks, not {type(chunks).__name__}")
    chunks = list(chunks)
    if not any(isinstance(chunk, str) for chunk in chunks):
        return CharSpans(chunks), 0
    if not all(isinstance(chunk, str) for chunk in chunks):
        raise InputTypeError("a splitter must give texts or pairs (start, end), not both")
    located = locate(text, chunks)
    kept = located.spans[located.spans[:, 0] >= 0].astype(np.int64)
    return CharSpans(kept), len(located.missing)


def _is_factory(found: Callable[..., Any]) -> bool:
    """Whether this builds a splitter: a function of texts cannot be called without one."""
    if isinstance(found, type):
        return True
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(
        parameter.kind in optional or parameter.default is not inspect.Parameter.empty
        for parameter in inspect.signature(found).parameters.values()
    )


def _build(factory: Callable[..., Any], chunk_size: int | None, given: dict[str, Any]) -> Any:
    sizes = {} if chunk_size is None else {"chunk_size": chunk_size, "chunk_overlap": 0}
    try:
        return factory(**sizes | given)
    except (TypeError, ValueError) as error:
        raise OptionError(f"the splitter {factory!r} cannot be built: {error}") from error


def _set_size(
    function: Callable[..., Any], chunk_size: int | None, given: dict[str, Any]
) -> Callable[[str], Iterable[Any]]:
    if chunk_size is not None:
        if "chunk_size" not in inspect.signature(function).parameters:
            name = getattr(function, "__qualname__", repr(function))
            raise OptionError(f"{name} has chunks of its own size: leave chunk_size out")
        given = {"chunk_size": chunk_size} | given
    return (lambda text: function(text, **given)) if given else function


def _make_recursive(
    chunk_size: int, encoder: TokenEncoder, given: Mapping[str, Any]
) -> Callable[[str], Iterable[str]]:
    try:
        from langchain_text_splitters import RecursiveCharacterTextSplitter  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("langchain_text_splitters", extra="langchain") from error

    def counted(text: str) -> int:
        return len(encoder.tokenize([text], "")[0].ids)

    # The splitter asks for the same pieces again and again.
    remembered = lru_cache(maxsize=_REMEMBERED_TEXTS)(counted)

    def n_tokens(text: str) -> int:
        return (remembered if len(text) <= _REMEMBERED_CHARS else counted)(text)

    arguments: dict[str, Any] = {"chunk_size": chunk_size, "chunk_overlap": 0, **given}
    try:
        made = RecursiveCharacterTextSplitter(length_function=n_tokens, **arguments)
    except (TypeError, ValueError) as error:
        raise OptionError(f"the splitter 'recursive' cannot be built: {error}") from error
    split: Callable[[str], Iterable[str]] = made.split_text
    return split
