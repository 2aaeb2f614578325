"""Checks of encoders that pool chunks themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import ChunkEncoder, Reading
from latechunk_integrations.testing.rules import Checker

_DOCUMENTS = (
    ("The supplier delivers every part ", "within thirty days. ", "Section 1.3 says otherwise."),
    ("Berlin is a city. ", "It is proud of the café."),
)
_TIMEOUT_SECONDS = 300.0


def check_service(check: Checker, encoder: ChunkEncoder) -> None:
    """Rules ``members``, ``width``, ``numbers``, ``order``, ``documents``, ``determinism``."""
    _check_limits(check, encoder)
    _check_counts(check, encoder)
    together = [_read(check, encoder, [one], "chunks")[0] for one in _DOCUMENTS]
    again = _read(check, encoder, [_DOCUMENTS[0]], "chunks")[0]
    check.same("determinism", "the same document again", again, together[0])
    if encoder.limits.request_documents >= len(_DOCUMENTS):
        both = _read(check, encoder, _DOCUMENTS, "chunks")
        for found, wanted in zip(both, together, strict=True):
            check.same("documents", "two documents in one request", found, wanted)
    for reading in ("alone", "query"):
        _check_passages(check, encoder, reading)


def _check_passages(check: Checker, encoder: ChunkEncoder, reading: Reading) -> None:
    passages = [(text,) for text in _DOCUMENTS[0]]
    alone = [_read(check, encoder, [one], reading)[0] for one in passages]
    if encoder.limits.request_texts < len(passages):
        return
    first = _read(check, encoder, passages, reading)
    for found, wanted in zip(first, alone, strict=True):
        check.same("documents", f"several texts in one request ({reading})", found, wanted)
    backwards = _read(check, encoder, passages[::-1], reading)[::-1]
    for found, wanted in zip(backwards, first, strict=True):
        check.same("order", f"texts the other way round ({reading})", found, wanted)


def _read(
    check: Checker, encoder: ChunkEncoder, documents: Sequence[Sequence[str]], reading: Reading
) -> list[NDArray[np.float32]]:
    future = encoder.submit(documents, reading, parent_id="conformance")
    found = future.result(_TIMEOUT_SECONDS)
    check.require(
        holds=len(found) == len(documents),
        rule="order",
        found=f"{len(found)} answers for {len(documents)} documents ({reading})",
    )
    for elements, vectors in zip(documents, found, strict=True):
        check.vectors(f"a document ({reading})", vectors, (len(elements), encoder.dimensions))
    return found


def _check_limits(check: Checker, encoder: ChunkEncoder) -> None:
    for field in fields(encoder.limits):
        value = getattr(encoder.limits, field.name)
        least = 0 if field.name == "element_tokens" else 1
        check.require(
            holds=isinstance(value, int) and value >= least,
            rule="members",
            found=f"limits.{field.name} is {value!r}",
        )


def _check_counts(check: Checker, encoder: ChunkEncoder) -> None:
    texts = [text for elements in _DOCUMENTS for text in elements]
    counts = encoder.count_tokens(texts)
    check.require(
        holds=len(counts) == len(texts) and all(0 < low <= high for low, high in counts),
        rule="members",
        found=f"count_tokens gave {counts} for {len(texts)} texts: a fewest and a most for each",
    )
