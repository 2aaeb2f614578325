"""The chunks of a golden set's documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.similarity import sentence_spans
from latechunk_integrations.schema import CharSpans
from latechunk_integrations.splitting import Splitter as PlainSplitter
from latechunk_integrations.splitting import chunk_spans, text_splitter


@dataclass(frozen=True)
class Overlapping:
    """A splitter by name whose chunks overlap.

    Args:
        name: See `latechunk_integrations.splitting.text_splitter`.
        chunk_overlap: Tokens that neighbouring chunks share at most.
    """

    name: str
    chunk_overlap: int


Splitter: TypeAlias = PlainSplitter | Overlapping
"""A splitter as the package has it, or one with an overlap."""


def name_splitter(splitter: Splitter) -> str:
    """The name of a splitter, or the import path of a function or class."""
    if isinstance(splitter, Overlapping):
        return splitter.name
    if isinstance(splitter, str):
        return splitter
    named = splitter if hasattr(splitter, "__qualname__") else type(splitter)
    return f"{named.__module__}:{named.__qualname__}"


def sizes_of(
    splitter: Splitter, asked: Sequence[int | None] | None, default: Sequence[int | None]
) -> tuple[int | None, ...]:
    """The chunk sizes to use.

    Args:
        splitter: See `split_documents`.
        asked: What was asked for; ``None`` or empty: nothing.
        default: Taken then for ``"recursive"``; every other splitter has its own size, ``None``.
    """
    return tuple(asked or (default if name_splitter(splitter) == "recursive" else (None,)))


def split_documents(
    golden: GoldenSet, splitter: Splitter, chunk_size: int | None, encoder: TokenEncoder
) -> tuple[list[CharSpans], list[str]]:
    """Chunks of every document.

    Args:
        golden: The documents.
        splitter: ``"native"``: the chunks that the golden set brings; ``"sentences"``: sentences,
            by punctuation; else see `latechunk_integrations.splitting.text_splitter`. Chunks are
            texts, which are located, or pairs ``(start, end)``.
        chunk_size: Tokens of a chunk, or whatever a splitter of your own counts in; ``None``
            where it has a size of its own.
        encoder: Counts tokens.

    Returns:
        Spans for each document, and notes on chunks that were not found.

    Raises:
        OptionError: There is no such splitter, it takes no size, or it gave no chunk.
        MissingExtraError: The splitter's package is not installed.
    """
    if splitter == "native":
        _refuse_size(splitter, chunk_size)
        missing = [d.doc_id for d in golden.documents if not golden.chunks.get(d.doc_id)]
        if missing:
            raise OptionError(
                f"{golden.name} brings no chunks for {len(missing)} documents: add them to "
                "chunks.jsonl, or name another splitter"
            )
        return [CharSpans(golden.chunks[d.doc_id]) for d in golden.documents], []
    split = _find_function(splitter, chunk_size, encoder)
    spans, notes = [], []
    for document in golden.documents:
        found, n_lost = _split(document.text, split, f"document {document.doc_id!r}")
        if n_lost:
            notes.append(f"{n_lost} chunks of {document.doc_id!r} are not in its text")
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
        The spans, and the number of chunks that are not in the text.

    Raises:
        OptionError: There is no such splitter, it takes no size, or it gave no chunk.
        MissingExtraError: The splitter's package is not installed.
    """
    if splitter == "native":
        raise OptionError("only a golden set brings chunks of its own; name another splitter")
    return _split(text, _find_function(splitter, chunk_size, encoder), "the text")


def _find_function(
    splitter: Splitter, chunk_size: int | None, encoder: TokenEncoder
) -> Callable[[str], Iterable[Any]]:
    if splitter == "sentences":
        _refuse_size(splitter, chunk_size)
        return sentence_spans
    if isinstance(splitter, Overlapping):
        arguments = {"chunk_overlap": splitter.chunk_overlap}
        return text_splitter(splitter.name, chunk_size, encoder, arguments)
    return text_splitter(splitter, chunk_size, encoder)


def _refuse_size(splitter: str, chunk_size: int | None) -> None:
    if chunk_size is not None:
        raise OptionError(f"{splitter!r} has chunks of its own size: leave chunk_size out")


def _split(text: str, split: Callable[[str], Iterable[Any]], what: str) -> tuple[CharSpans, int]:
    found, n_lost = chunk_spans(text, split(text))
    if not len(found):
        raise OptionError(f"the splitter gave no chunk that is in {what}")
    return found, n_lost
