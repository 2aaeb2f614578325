"""Splitters by name or import path, and the spans of their chunks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from latechunk_integrations.core.spans import locate
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.errors import MissingExtraError, OptionError
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.similarity import sentence_spans
from latechunk_integrations.schema import CharSpans

__all__ = ["Splitter", "split_documents", "split_text"]

Splitter: TypeAlias = str | Callable[[str], Iterable[Any]]
"""``"recursive"``, ``"sentences"``, ``"native"``, ``"module:name"``, or what takes a text and
gives its chunks."""


def split_documents(
    golden: GoldenSet, splitter: Splitter, chunk_size: int | None, encoder: TokenEncoder
) -> tuple[list[CharSpans], list[str]]:
    """Chunks of every document.

    Args:
        golden: The documents.
        splitter: ``"recursive"``: LangChain's RecursiveCharacterTextSplitter, sized in the
            model's tokens; ``"sentences"``: sentences, by punctuation; ``"native"``: the chunks
            that the golden set brings; else ``"module:name"`` of a class that takes
            ``chunk_size`` and has ``split_text``, or of a function ``text -> chunks``; or such
            a function or splitter itself. Chunks are texts, which are located, or pairs
            ``(start, end)``.
        chunk_size: Tokens of a chunk, or whatever a splitter of your own counts in; ``None``
            where it has a size of its own.
        encoder: Counts tokens.

    Returns:
        Spans for each document, and notes on chunks that were not found.

    Raises:
        OptionError: There is no such splitter, or it gave no chunk.
        MissingExtraError: The splitter's package is not installed.
    """
    if splitter == "native":
        missing = [d.doc_id for d in golden.documents if not golden.chunks.get(d.doc_id)]
        if missing:
            raise OptionError(f"{golden.name} brings no chunks for {len(missing)} documents")
        return [CharSpans(golden.chunks[d.doc_id]) for d in golden.documents], []
    split = _function(splitter, chunk_size, encoder)
    spans, notes = [], []
    for document in golden.documents:
        found, n_lost = _split(document.text, split, f"document {document.doc_id!r}")
        if n_lost:
            notes.append(f"{n_lost} chunks of {document.doc_id!r} do not stand in its text")
        spans.append(found)
    return spans, notes


def split_text(
    text: str, splitter: Splitter, chunk_size: int | None, encoder: TokenEncoder
) -> tuple[CharSpans, int]:
    """Chunks of one text.

    Args:
        text: The text.
        splitter: As for `split_documents`, but for ``"native"``.
        chunk_size: Tokens of a chunk; ``None`` where the splitter has its own.
        encoder: Counts tokens.

    Returns:
        The spans, and the number of chunks that do not stand in the text.

    Raises:
        OptionError: There is no such splitter, or it gave no chunk.
        MissingExtraError: The splitter's package is not installed.
    """
    return _split(text, _function(splitter, chunk_size, encoder), "the text")


def _split(text: str, split: Callable[[str], Iterable[Any]], what: str) -> tuple[CharSpans, int]:
    found, n_lost = _spans(text, list(split(text)))
    if not len(found):
        raise OptionError(f"the splitter gave no chunk that stands in {what}")
    return found, n_lost


def _function(
    splitter: Splitter, chunk_size: int | None, encoder: TokenEncoder
) -> Callable[[str], Iterable[Any]]:
    if splitter == "recursive":
        return _recursive(chunk_size or 128, encoder)
    if splitter == "sentences":
        return sentence_spans
    if splitter == "native":
        raise OptionError("only a golden set brings chunks of its own; name another splitter")
    if not isinstance(splitter, str):
        return _method(splitter)
    module, _, name = splitter.partition(":")
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(
            f"no splitter {splitter!r}: name 'recursive', 'sentences', 'native' or 'module:name' "
            f"({error})"
        ) from error
    if not isinstance(found, type):
        return _sized(_method(found), chunk_size)
    make: Callable[..., Any] = found
    try:
        built = make() if chunk_size is None else make(chunk_size=chunk_size, chunk_overlap=0)
        method: Callable[[str], Iterable[Any]] = built.split_text
    except (TypeError, ValueError, AttributeError, ImportError) as error:
        raise OptionError(f"the splitter {splitter!r} cannot be used: {error}") from error
    return method


def _method(splitter: Any) -> Callable[[str], Iterable[Any]]:
    """A function as it is, of a framework's splitter its method."""
    method: Callable[[str], Iterable[Any]] = getattr(splitter, "split_text", splitter)
    if not callable(method):
        raise OptionError(f"{splitter!r} is no splitter: it can neither be called nor split_text")
    return method


def _sized(function: Callable[..., Any], chunk_size: int | None) -> Callable[[str], Iterable[Any]]:
    takes_size = "chunk_size" in inspect.signature(function).parameters
    if chunk_size is None or not takes_size:
        return function
    return lambda text: function(text, chunk_size=chunk_size)


def _recursive(chunk_size: int, encoder: TokenEncoder) -> Callable[[str], Iterable[str]]:
    try:
        from langchain_text_splitters import RecursiveCharacterTextSplitter  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("langchain_text_splitters", extra="evaluation") from error

    # The splitter asks for the same pieces again and again.
    @lru_cache(maxsize=1 << 16)
    def n_tokens(text: str) -> int:
        return len(encoder.tokenize([text], "")[0].ids)

    made = RecursiveCharacterTextSplitter(
        chunk_size=chunk_size, chunk_overlap=0, length_function=n_tokens
    )
    split: Callable[[str], Iterable[str]] = made.split_text
    return split


def _spans(text: str, chunks: Sequence[Any]) -> tuple[CharSpans, int]:
    """The spans of chunks in reading order, and how many were not found."""
    if chunks and not isinstance(chunks[0], str):
        return CharSpans(chunks), 0
    located = locate(text, chunks)
    kept = located.spans[located.spans[:, 0] >= 0].astype(np.int64)
    return CharSpans(kept), len(located.missing)
