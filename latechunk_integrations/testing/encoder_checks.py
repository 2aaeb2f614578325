"""`check_encoder`: whether an encoder does what the engine relies on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import (
    ChunkEncoder,
    QueryEncoder,
    Reading,
    TokenEncoder,
    check_encoder_members,
)
from latechunk_integrations.errors import OptionError
from latechunk_integrations.testing.rules import Checker, ConformanceError
from latechunk_integrations.testing.token_checks import (
    TEXTS,
    check_forward,
    check_tokens,
    embed_rows,
    row_of,
)

# Of two forward passes that differ in their padding only.
_TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "float16": 3e-2, "bfloat16": 6e-2}
_UNKNOWN_DTYPE = 1e-3
_DOCUMENTS = (
    ("The supplier delivers every part ", "within thirty days. ", "Section 1.3 says otherwise."),
    ("Berlin is a city. ", "It is proud of the café."),
)
_TIMEOUT_SECONDS = 300.0


def check_encoder(encoder: Any, *, tolerance: float | None = None) -> None:
    """Check an encoder against every rule that can be seen from outside; seconds, no training.

    Args:
        encoder: A `TokenEncoder`, with a `QueryEncoder`'s members or without, or a
            `ChunkEncoder`. Of a service, it costs some twenty requests of a few words.
        tolerance: Largest difference of vectors that are to be the same, relative to their
            length; None: by the encoder's ``dtype``.

    Raises:
        ConformanceError: It breaks a rule; the message names the rule and what was found.
    """
    name = type(encoder).__name__
    try:
        checked = check_encoder_members(encoder, name)
    except OptionError as error:
        raise ConformanceError(str(error), "members") from error
    dtype = checked.dtype or ""
    check = Checker(name, tolerance or _TOLERANCES.get(dtype, _UNKNOWN_DTYPE))
    for member, kind in (("fingerprint", str), ("dimensions", int)):
        value = getattr(checked, member)
        check.require(
            holds=isinstance(value, kind) and bool(value),
            rule="members",
            found=f"{member} is {value!r}",
        )
    if isinstance(checked, ChunkEncoder):
        _check_service(check, checked)
    else:
        check_tokens(check, checked)
        check_forward(check, checked)
        if isinstance(checked, QueryEncoder):
            _check_plain_texts(check, checked)
    checked.close()


def _check_plain_texts(check: Checker, encoder: Any) -> None:
    """Rules ``width``, ``numbers``, ``order``, ``determinism`` and ``own vector``."""
    for what, encode in (
        ("queries", encoder.encode_queries),
        ("documents", encoder.encode_documents),
    ):
        _check_encode(check, what, encode, encoder.dimensions)
    for what, encode, prompt in (
        ("query", encoder.encode_queries, encoder.query_prompt),
        ("document", encoder.encode_documents, encoder.document_prompt),
    ):
        _check_own_vector(check, encoder, what, encode, prompt)


def _check_encode(
    check: Checker,
    what: str,
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    dimensions: int,
) -> None:
    texts = list(TEXTS)
    first = encode(texts)
    check.vectors(what, first, (len(texts), dimensions))
    check.same("determinism", f"the same {what} again", encode(texts), first)
    check.same("order", f"{what} the other way round", encode(texts[::-1])[::-1], first)
    alone = np.concatenate([encode([text]) for text in texts])
    check.same("padding", f"{what} one by one", alone, first)
    nothing = encode([])
    check.require(
        holds=np.shape(nothing) == (0, dimensions),
        rule="width",
        found=f"no {what} give the shape {np.shape(nothing)} instead of (0, {dimensions})",
    )


def _check_own_vector(
    check: Checker,
    encoder: Any,
    what: str,
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    prompt: str,
) -> None:
    """Pool token embeddings by the definition, and compare with the encoder's own vector."""
    text = TEXTS[0]
    row = row_of(encoder, text, prompt)
    if len(row) >= encoder.max_tokens:  # it may have been cut
        return
    (embeddings,) = embed_rows(encoder, [row])
    vector = encoder.finish(_pool(encoder, embeddings, text, prompt)[None].astype(np.float32))
    ours, own = _unit(vector[0]), _unit(encode([text])[0])
    check.same("own vector", f"a {what} pooled from its token embeddings", ours[None], own[None])


def _pool(
    encoder: TokenEncoder, embeddings: NDArray[Any], text: str, prompt: str
) -> NDArray[np.float64]:
    rows = embeddings.astype(np.float64)
    n_prompt = len(encoder.tokenize([text], prompt)[0].prompt)
    first = len(encoder.lead) + n_prompt if n_prompt and not encoder.prompt_pooled else 0
    pooled = rows[first:]
    if encoder.standalone_pooling == "mean":
        mean: NDArray[np.float64] = pooled.mean(axis=0)
        return mean
    if encoder.standalone_pooling == "weighted":
        weights = np.arange(first + 1, len(rows) + 1, dtype=np.float64)
        weighted: NDArray[np.float64] = weights @ pooled / weights.sum()
        return weighted
    one: NDArray[np.float64] = pooled[0 if encoder.standalone_pooling == "cls" else -1]
    return one


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = vector.astype(np.float64)
    unit: NDArray[np.float64] = exact / np.linalg.norm(exact)
    return unit


def _check_service(check: Checker, encoder: ChunkEncoder) -> None:
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
