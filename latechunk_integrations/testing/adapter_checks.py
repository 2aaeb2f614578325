"""`check_adapter`: whether what a framework stores is what the engine gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.schema import Parent
from latechunk_integrations.testing.rules import Checker

_TOLERANCE = 1e-4
_SENTENCES = ("The supplier delivers. ", "Payment is due in 30 days. ", "Nothing else applies. ")


def _parent(*sentences: str, name: str) -> Parent:
    text, spans = "", []
    for sentence in sentences:
        spans.append((len(text), len(text) + len(sentence.rstrip())))
        text += sentence
    return Parent(text, spans, id=name)


ADAPTER_CASES: tuple[tuple[Parent, ...], ...] = (
    # Equal chunks in parents that differ: by the text alone they cannot be told apart.
    (
        _parent(*_SENTENCES, name="whole"),
        _parent(_SENTENCES[1], "Berlin is a city. ", _SENTENCES[0], name="other"),
        _parent(_SENTENCES[1], name="alone"),
    ),
    # One chunk several times in one parent.
    (_parent(*_SENTENCES[:2], *_SENTENCES[:2], _SENTENCES[0], name="again"),),
    # Offsets are code points, not bytes, and not UTF-16.
    (
        _parent(
            "Größe 🎉🚀 naïve. ", "東京タワー is a tower. ", "한국어 and e\u0301. ", name="letters"
        ),
    ),
)
"""Parents that are given in one call each; their chunks are the sentences of their texts."""


def check_adapter(
    embed: Callable[[Sequence[Parent]], Sequence[Any]],
    engine: LateChunkEngine,
    *,
    tolerance: float = _TOLERANCE,
) -> None:
    """Send parents through a framework, and compare what comes out with the engine's vectors.

    Args:
        embed: Makes the framework's own documents and chunks of some parents, lets the adapter
            embed them, and gives for each parent the vectors of its chunks, in order. Of what it
            is given, only ``text`` and ``spans`` matter.
        engine: The engine that the adapter uses.
        tolerance: Largest difference of two vectors, relative to their length.

    Raises:
        ConformanceError: A chunk got another vector; the message names the rule.
    """
    check = Checker("the adapter", tolerance)
    for parents in ADAPTER_CASES:
        for given in (parents, parents[::-1]):
            found = [np.asarray(vectors) for vectors in embed(given)]
            check.require(
                holds=len(found) == len(given),
                rule="order",
                found=f"{len(found)} results for {len(given)} parents",
            )
            for parent, vectors, wanted in zip(given, found, engine.embed(given), strict=True):
                shared = len(given) > 1 or len(set(_texts(parent))) < len(parent.spans)
                check.same(
                    "own parent" if shared else "same vectors",
                    f"parent {parent.id!r} of {[one.id for one in given]}",
                    vectors,
                    wanted.vectors,
                )


def _texts(parent: Parent) -> list[str]:
    return [parent.chunk_text(row) for row in range(len(parent.spans))]
