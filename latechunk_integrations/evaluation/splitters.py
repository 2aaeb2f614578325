"""The chunks of a golden set's documents."""

from __future__ import annotations

from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.schema import CharSpans
from latechunk_integrations.splitting import Splitter, chunk_spans, text_splitter

__all__ = ["Splitter", "split_documents"]


def split_documents(
    golden: GoldenSet, splitter: Splitter, chunk_size: int | None, encoder: TokenEncoder
) -> tuple[list[CharSpans], list[str]]:
    """Chunks of every document.

    Args:
        golden: The documents.
        splitter: ``"native"``: the chunks that the golden set brings; else see
            `latechunk_integrations.splitting.text_splitter`. Chunks are texts, which are
            located, or pairs ``(start, end)``.
        chunk_size: Tokens of a chunk; ``None`` where the splitter has its own.
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
    split = text_splitter(splitter, chunk_size, encoder)
    spans, notes = [], []
    for document in golden.documents:
        found, n_lost = chunk_spans(document.text, list(split(document.text)))
        if n_lost:
            notes.append(f"{n_lost} chunks of {document.doc_id!r} do not stand in its text")
        if not len(found):
            raise OptionError(f"the splitter {splitter!r} gave no chunk of {document.doc_id!r}")
        spans.append(found)
    return spans, notes
