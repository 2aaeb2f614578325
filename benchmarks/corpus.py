"""Text to measure on: made here from a seed, so that nobody has to download anything."""

from __future__ import annotations

import random

from latechunk_integrations import CharSpans, Parent

_SUBJECTS = ["the broker", "a replica", "this release", "the scheduler", "each tenant"]
_VERBS = ["keeps", "forwards", "rejects", "rewrites", "compresses", "acknowledges", "delays"]
_OBJECTS = ["every pending message", "the signed agreement", "older segments", "an idle session"]
_TAILS = ["until the quorum agrees", "within thirty days", "unless it was paused", "by default"]


def sentences(n_chars: int, seed: int = 0) -> str:
    """About ``n_chars`` characters of English-like sentences in paragraphs."""
    rng = random.Random(seed)
    parts: list[str] = []
    length = 0
    while length < n_chars:
        words = [rng.choice(choices) for choices in (_SUBJECTS, _VERBS, _OBJECTS, _TAILS)]
        sentence = " ".join(words).capitalize() + f", see note {rng.randrange(10_000)}."
        parts.append(sentence + ("\n\n" if rng.random() < 0.15 else " "))  # noqa: PLR2004
        length += len(parts[-1])
    return "".join(parts)[:n_chars]


def parent(n_chars: int, chunk_chars: int, seed: int = 0) -> Parent:
    """A parent of about ``n_chars`` characters in chunks of equal length."""
    return cut(sentences(n_chars, seed), chunk_chars, f"generated-{seed}")


def cut(text: str, chunk_chars: int, name: str, header: str = "") -> Parent:
    """A text in chunks of equal length."""
    starts = range(0, len(text), chunk_chars)
    spans = CharSpans([(start, min(start + chunk_chars, len(text))) for start in starts])
    return Parent(text, spans, id=name, header=header)
