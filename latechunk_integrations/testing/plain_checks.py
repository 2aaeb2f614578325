"""Checks of queries and standalone passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.testing.rules import Checker
from latechunk_integrations.testing.token_checks import TEXTS, embed_rows, row_of


def check_plain_texts(check: Checker, encoder: Any) -> None:
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
