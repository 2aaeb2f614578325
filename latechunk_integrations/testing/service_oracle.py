"""Chunks of a service by their definition: float64, plain loops, nothing of the package.

A service reads a document, which is a list of elements, and gives a vector for each. The oracle
says which documents a parent becomes, what is read alone, and what the vectors add up to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]
Vector = NDArray[np.float64]


class ServiceRows(NamedTuple):
    """What a parent gives.

    Args:
        vectors: Unit vectors of its chunks, float64, shape ``(n_chunks, dim)``.
        modes: How each came about.
        n_windows: Documents that its chunks were read in together.
    """

    vectors: NDArray[np.float64]
    modes: tuple[str, ...]
    n_windows: int


class _Stretch(NamedTuple):
    """A run of a text in code points; without a chunk, its vector is dropped."""

    start: int
    end: int
    chunk: Pair | None


@dataclass
class ServiceOracle:
    """A service that reads all that its limits allow, and the options of a run.

    Args:
        read: The vectors of the elements of one document.
        count: The fewest and the most tokens that a text may have.
        document_tokens: Tokens of a document.
        document_elements: Elements of a document.
        element_tokens: Tokens that each element costs besides its own.
        joined: Elements are read as one string.
        notes: What could not be done as asked, and how often.
    """

    read: Callable[[list[str]], Sequence[NDArray[Any]]]
    count: Callable[[str], Pair]
    document_tokens: int
    document_elements: int
    element_tokens: int = 0
    joined: bool = False
    overlap: int | None = None
    context_weight: float = 1.0
    header_weight: float = 0.0
    fallback: str = "window"
    min_parent_tokens: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def rows(self, text: str, spans: Sequence[Pair], header: str = "") -> ServiceRows | None:
        """The vectors of a parent's chunks; None where the parent is left out."""
        header = header.strip()
        head = self._clip(header, self.document_tokens // 2)
        self._note("headers_cut", head != header)
        room = self.document_tokens - self._most(head)
        solid = sorted({span for span in spans if text[slice(*span)].strip()})
        late: dict[Pair, list[tuple[int, Vector]]] = {}
        windowed, n_windows = False, 0
        if self.context_weight > 0:
            self._note("chunks_without_token", sum(span not in solid for span in spans))
        if self.context_weight > 0 and solid:
            if self._most(text) < self.min_parent_tokens:
                self._note("short_parents")
            elif self._least(text) <= room or self.fallback == "window":
                documents, windowed = self._documents(text, solid, head)
                n_windows = len(documents)
                for runs in documents:
                    for chunk, weight, vector in self._read(text, head, runs):
                        late.setdefault(chunk, []).append((weight, vector))
            elif self.fallback == "skip":
                self._note("skipped_parents")
                return None
            else:
                self._note("long_parents_standalone")
        whole = text.strip() if self._most(text.strip()) <= room else None
        alone = {}
        for span in set(spans):
            piece = text[slice(*span)]
            if span not in late or (self.context_weight < 1 and piece.strip() != whole):
                alone[span] = self._alone(piece, head)
        own = self._alone(header, "") if self.header_weight and header else None
        rows = [self._blend(late.get(span), alone.get(span), own) for span in spans]
        late_mode = "windowed" if windowed else "late"
        modes = tuple(late_mode if span in late else "standalone" for span in spans)
        return ServiceRows(np.array(rows), modes, n_windows)

    def _blend(
        self,
        late: list[tuple[int, Vector]] | None,
        alone: list[tuple[int, Vector]] | None,
        header: list[tuple[int, Vector]] | None,
    ) -> Vector:
        if late and alone:
            weight = self.context_weight
            mixed = weight * _direction(late) + (1 - weight) * _direction(alone)
        else:
            mixed = _direction(late or alone or [])
        if header:
            mixed = mixed + self.header_weight * _direction(header)
        return mixed / np.linalg.norm(mixed)

    # Documents: lists of elements that are read together.

    def _documents(
        self, text: str, chunks: Sequence[Pair], head: str
    ) -> tuple[list[list[_Stretch]], bool]:
        """The runs of each document; whether anything was divided."""
        documents = []
        windowed = False
        layers: list[list[Pair]] = []
        for chunk in chunks:
            # After the chunk that ends first, so that layers stay few.
            ends = [(own[-1][1], at) for at, own in enumerate(layers) if own[-1][1] <= chunk[0]]
            if ends:
                layers[min(ends)[1]].append(chunk)
            else:
                layers.append([chunk])
        self._note("extra_layers", len(layers) - 1)
        for layer in layers:
            runs = self._tile(text, layer)
            size = self._least(text) + self.element_tokens * (len(runs) - 1)
            if size <= self.document_tokens - self._most(head) and len(runs) <= self._most_runs:
                documents.append(runs)
                continue
            n_cut = self.notes["chunks_cut"]
            groups = self._groups(text, runs, head)
            windowed |= len(groups) > 1 or self.notes["chunks_cut"] > n_cut
            documents += [group for group in groups if any(run.chunk for run in group)]
        return documents, windowed

    def _tile(self, text: str, chunks: Sequence[Pair]) -> list[_Stretch]:
        """The chunks and what lies between them; white space goes along where texts are joined."""
        runs = []
        at = 0
        for start, end in chunks:
            gap = text[at:start]
            if gap.strip():
                runs.append(_Stretch(at, start, None))
            begin = at if self.joined and not gap.strip() else start
            runs.append(_Stretch(begin, end, (start, end)))
            at = end
        if text[at:].strip():
            runs.append(_Stretch(at, len(text), None))
        elif self.joined:
            runs[-1] = runs[-1]._replace(end=len(text))
        return runs

    def _groups(self, text: str, runs: Sequence[_Stretch], head: str) -> list[list[_Stretch]]:
        """The runs of each document of a text that is too long for one."""
        room = self.document_tokens - self._most(head)
        overlap = min(room // 2, 512)
        if self.overlap is not None:
            overlap = min(self.overlap, room * 3 // 4)
            self._note("overlaps_cut", overlap < self.overlap)
        parts: list[_Stretch] = []
        for run in runs:
            measure = self._most if len(runs) == 1 else self._least
            if run.chunk is None:
                parts += self._cut(text, run, min(64, max(1, room // 4)))
            elif measure(text[run.start : run.end]) > room:
                self._note("chunks_cut")
                parts += self._cut(text, run, max(1, room))
            else:
                parts.append(run)
        sizes = [self._most(text[run.start : run.end]) for run in parts]
        groups = self._fill(sizes, room, overlap)
        # As even as can be: the smallest room, of at least half, that needs no more documents.
        low, high = room // 2, room
        while low < high:
            tried = (low + high) // 2
            found = self._fill(sizes, tried, overlap)
            if len(found) <= len(groups):
                groups, high = found, tried
            else:
                low = tried + 1
        return [parts[start:end] for start, end in groups]

    def _fill(self, sizes: Sequence[int], room: int, overlap: int) -> list[Pair]:
        """Neighbouring runs that fit a document, as many as do, sharing runs of the overlap."""
        groups: list[Pair] = []
        start = 0
        while True:
            end = start + 1
            while (
                end < len(sizes)
                and end - start < self._most_runs
                and sum(sizes[start : end + 1]) <= room
            ):
                end += 1
            groups.append((start, end))
            if end == len(sizes):
                return groups
            start = end
            n_shared = 1
            while overlap and end - n_shared > groups[-1][0] and n_shared < self._most_runs:
                shared = sum(sizes[end - n_shared : end])
                # One run is shared even where it is longer than the overlap.
                most = max(overlap, room // 2) if n_shared == 1 else overlap
                if shared > most or shared + sizes[end] > room:
                    break
                start = end - n_shared
                n_shared += 1

    def _cut(self, text: str, run: _Stretch, size: int) -> Iterator[_Stretch]:
        """Halves of halves that fit, cut at the white space nearest to the middle."""
        part = text[run.start : run.end]
        if self._most(part) <= size or len(part) == 1:
            if part.strip():
                yield run
            return
        middle = len(part) // 2
        reach = max(1, len(part) // 4)
        spaces = [
            at for at in range(1, len(part)) if part[at].isspace() and abs(at - middle) < reach
        ]
        at = run.start + min(spaces, key=lambda at: (abs(at - middle), at), default=middle)
        yield from self._cut(text, run._replace(end=at), size)
        yield from self._cut(text, run._replace(start=at), size)

    @property
    def _most_runs(self) -> int:
        return self.document_elements - 1

    # Elements.

    def _alone(self, text: str, head: str) -> list[tuple[int, Vector]]:
        """Weights and vectors of a text's parts, each read after the header only."""
        room = self.document_tokens - self._most(head)
        runs = [_Stretch(0, len(text), (0, len(text)))]
        if self._least(text) > room:
            self._note("chunks_cut")
            runs = list(self._cut(text, runs[0], max(1, room)))
        return [
            (weight, vector) for run in runs for _, weight, vector in self._read(text, head, [run])
        ]

    def _read(
        self, text: str, head: str, runs: Sequence[_Stretch]
    ) -> Iterator[tuple[Pair, int, Vector]]:
        """Chunk, weight and vector of each element that has a chunk."""
        elements = [head + ("\n\n" if self.joined else "")] if head else []
        chunks: list[Pair | None] = [None] * len(elements)
        own: list[_Stretch] = []
        for run in runs:
            start = run.start
            if self.joined and own and not text[own[-1].end : start].strip():
                start = own[-1].end
            if own and own[-1].chunk == run.chunk:
                own[-1] = own[-1]._replace(end=run.end)
            else:
                own.append(run._replace(start=start))
        elements += [text[run.start : run.end] for run in own]
        chunks += [run.chunk for run in own]
        for element, chunk, vector in zip(elements, chunks, self.read(elements), strict=True):
            if chunk is not None:
                yield chunk, max(1, self.count(element)[1]), np.asarray(vector, np.float64)

    def _clip(self, text: str, n_tokens: int) -> str:
        """The beginning of a text: by its share of tokens, until it fits, then to whole words."""
        kept = text if n_tokens > 0 else ""
        while kept and self._most(kept) > n_tokens:
            kept = kept[: min(len(kept) - 1, len(kept) * n_tokens // self._most(kept))]
        if kept.strip().count(" ") and text[len(kept) : len(kept) + 1].strip():
            kept = kept.rstrip().rpartition(" ")[0]
        return kept.rstrip()

    def _least(self, text: str) -> int:
        return self.count(text)[0] + self.element_tokens if text else 0

    def _most(self, text: str) -> int:
        return self.count(text)[1] + self.element_tokens if text else 0

    def _note(self, what: str, n: int = 1) -> None:
        self.notes[what] += int(n)


def _direction(parts: Sequence[tuple[int, Vector]]) -> Vector:
    total = np.zeros_like(parts[0][1])
    for weight, vector in parts:
        total += weight * vector
    unit: Vector = total / np.linalg.norm(total)
    return unit
