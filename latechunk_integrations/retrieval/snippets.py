"""Snippets: the best runs of consecutive chunks of long texts, for one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.schema import CharSpans, Parent, Span

__all__ = ["Snippet", "SnippetIndex", "SnippetOptions", "select_snippets"]


@dataclass(frozen=True, kw_only=True)
class SnippetOptions:
    """How long and how many snippets are.

    Args:
        length: Length of a snippet, in ``unit``, rounded down to whole chunks; neighbours
            that are both chosen are merged into a longer one.
        n_snippets: How many are chosen, over all texts together.
        chunk_size: Length of the chunks that are scored, in ``unit``.
        unit: ``"tokens"`` of the model or ``"characters"``.

    Raises:
        OptionError: A value is outside its range.
    """

    length: int = 512
    n_snippets: int = 5
    chunk_size: int = 64
    unit: Literal["tokens", "characters"] = "tokens"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("length", "n_snippets", "chunk_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"{name} must be an integer of at least 1, not {value!r}")
        if self.chunk_size > self.length:
            raise OptionError(
                f"chunk_size={self.chunk_size} is more than the length={self.length} of a snippet"
            )
        if self.unit not in ("tokens", "characters"):
            raise OptionError(f"unit={self.unit!r} is not one of 'tokens', 'characters'")


@dataclass(frozen=True)
class Snippet:
    """A run of consecutive chunks.

    Args:
        index: Which of the texts it is cut from.
        span: Where it is in that text, in code points.
        text: The text of the span, verbatim.
        score: Mean similarity of its chunks with the question: a cosine, or a dot product
            where the engine has ``normalize=False``.
    """

    index: int
    span: Span
    text: str
    score: float


@dataclass(frozen=True)
class _Cut:
    """One of the texts, cut into chunks of equal length without gaps."""

    index: int
    text: str
    spans: CharSpans
    length: int  # of the text, in the unit of the options


def select_snippets(
    engine: LateChunkEngine,
    question: str,
    texts: Sequence[str],
    *,
    options: SnippetOptions | None = None,
) -> list[Snippet]:
    """The runs of chunks that answer a question best.

    Every text is late-chunked with spans of equal length. Similarities with the question are
    averaged over a sliding window as long as a snippet; the best window is taken and masked,
    and so on. Texts that hold no more than was asked for (``length * n_snippets``, over all of
    them) come back whole. Memory does not grow with the tokens of a text, only with its chunks.

    Args:
        engine: Embeds the chunks and the question.
        question: What is looked for.
        texts: Long texts; those without text are left out, and those that the engine skips
            (``fallback="skip"``), which it logs.
        options: Lengths and number; ``None``: the defaults.

    Returns:
        Snippets in the order of the texts, and inside a text from its start to its end;
        none overlaps or touches another.

    Raises:
        InputTypeError: ``texts`` is one ``str``.
    """
    chosen = options or SnippetOptions()
    cuts = _cut_all(engine, texts, chosen)
    if not cuts:
        return []
    query = engine.embed_query(question)
    return _choose([(cut, rows @ query) for cut, rows in _embed_all(engine, cuts)], chosen)


class SnippetIndex:
    """The chunk vectors of a few long texts, to ask many questions of.

    Args:
        engine: Embeds the chunks and the questions.
        texts: As for `select_snippets`.
        options: Lengths and number; ``None``: the defaults.

    Raises:
        InputTypeError: ``texts`` is one ``str``.
    """

    def __init__(
        self, engine: LateChunkEngine, texts: Sequence[str], options: SnippetOptions | None = None
    ) -> None:
        self._engine = engine
        self._options = options or SnippetOptions()
        self._embedded = list(_embed_all(engine, _cut_all(engine, texts, self._options)))

    def select(self, question: str, n_snippets: int | None = None) -> list[Snippet]:
        """What `select_snippets` returns; only the question is embedded.

        Args:
            question: What is looked for.
            n_snippets: How many snippets, exactly, where the texts have as many: the best ones.
                None: the number of the options, less where chosen neighbours are merged.

        Raises:
            OptionError: The number is less than 1.
        """
        if n_snippets is not None and n_snippets < 1:
            raise OptionError(f"the number of snippets must be at least 1, not {n_snippets}")
        if not self._embedded:
            return []
        query = self._engine.embed_query(question)
        scored = [(cut, rows @ query) for cut, rows in self._embedded]
        if n_snippets is None:
            return _choose(scored, self._options)
        # Merging takes from the number, so that more may have to be chosen than are wanted.
        n_chunks = sum(len(scores) for _, scores in scored)
        asked, chosen = n_snippets, list[Snippet]()
        while len(chosen) < n_snippets and asked < 2 * max(n_chunks, n_snippets):
            now = _choose(scored, replace(self._options, n_snippets=asked))
            chosen, asked = max(chosen, now, key=len), 2 * asked
        best = sorted(chosen, key=lambda one: one.score, reverse=True)[:n_snippets]
        return [one for one in chosen if one in best]


def _cut_all(engine: LateChunkEngine, texts: Sequence[str], options: SnippetOptions) -> list[_Cut]:
    if isinstance(texts, str):
        raise InputTypeError("snippets are cut from a list of texts, not one str: pass [text]")
    return [_cut(engine, i, text, options) for i, text in enumerate(texts) if text.strip()]


def _cut(engine: LateChunkEngine, index: int, text: str, options: SnippetOptions) -> _Cut:
    if options.unit == "characters":
        starts, length = list(range(0, len(text), options.chunk_size)), len(text)
    else:
        starts, length = _token_starts(engine, text, options.chunk_size)
    spans = CharSpans(list(zip(starts, [*starts[1:], len(text)], strict=True)))
    return _Cut(index, text, spans, length)


def _token_starts(engine: LateChunkEngine, text: str, size: int) -> tuple[list[int], int]:
    """Where every ``size``-th token starts, and the number of tokens.

    The first chunk starts with the text. Tokens that share a character, as the bytes of an
    emoji do, stay in one chunk. Tokens that hold no text, as some tokenizers make of a space,
    do not count. So no chunk is without a token.
    """
    starts, n_tokens = [0], 0
    for piece in engine.encoder.tokenize_pieces(text, ""):
        begins = piece.offsets[piece.offsets[:, 1] > piece.offsets[:, 0], 0]
        first = (-n_tokens) % size if n_tokens else size
        for start in begins[first::size].tolist():
            if start > starts[-1]:
                starts.append(start)
        n_tokens += len(begins)
    return starts, n_tokens


def _embed_all(
    engine: LateChunkEngine, cuts: Sequence[_Cut]
) -> Iterator[tuple[_Cut, NDArray[np.float32]]]:
    """Chunk vectors, shape ``(n_chunks, dim)``, of each text that is not skipped."""
    parents = (Parent(cut.text, cut.spans, id=f"text {cut.index}") for cut in cuts)
    for cut, result in zip(cuts, engine.embed_iter(parents), strict=True):
        if not result.skipped:
            yield cut, result.vectors


def _choose(
    scored: Sequence[tuple[_Cut, NDArray[np.float32]]], options: SnippetOptions
) -> list[Snippet]:
    if sum(cut.length for cut, _ in scored) <= options.length * options.n_snippets:
        taken = [np.ones(len(scores), dtype=bool) for _, scores in scored]
    else:
        n_chunks = options.length // options.chunk_size
        taken = _take_best([scores for _, scores in scored], n_chunks, options.n_snippets)
    return [
        _make_snippet(cut, scores, first, end)
        for (cut, scores), rows in zip(scored, taken, strict=True)
        for first, end in _find_runs(rows)
    ]


def _take_best(
    scores: Sequence[NDArray[np.float32]], n_chunks: int, n_snippets: int
) -> list[NDArray[np.bool_]]:
    """Which chunks are taken: the best windows, one after the other, none on another."""
    taken = [np.zeros(len(one), dtype=bool) for one in scores]
    means = [_window_means(one, n_chunks) for one in scores]
    for _ in range(n_snippets):
        best = max(range(len(means)), key=lambda row: float(means[row].max()))
        at = int(means[best].argmax())
        if means[best][at] == -np.inf:
            break  # every window is masked
        taken[best][at : at + n_chunks] = True
        means[best][max(0, at - n_chunks + 1) : at + n_chunks] = -np.inf
    return taken


def _window_means(scores: NDArray[np.float32], n_chunks: int) -> NDArray[np.float64]:
    """Mean score of every window of ``n_chunks``, a 1-D convolution; of all if there are fewer."""
    width = min(n_chunks, len(scores))
    return np.convolve(scores, np.full(width, 1 / width), mode="valid")


def _find_runs(taken: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Half-open runs of taken chunks; neighbours are merged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], taken.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _make_snippet(cut: _Cut, scores: NDArray[np.float32], first: int, end: int) -> Snippet:
    span = Span(int(cut.spans.starts[first]), int(cut.spans.ends[end - 1]))
    score = float(scores[first:end].mean())
    return Snippet(cut.index, span, cut.text[span.start : span.end], score)
