"""Units and focus by their definition: float64, plain loops, nothing of the package but the oracle.

One window at a time, without padding, with attention written out: the focus is an additive mask
that transformers' own eager attention takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latechunk_integrations.testing.oracle import Oracle, Pair


@dataclass
class UnitsOracle(Oracle):
    """The oracle of both layouts with focus.

    Args:
        focus: Nats toward the own unit; infinity: nothing else is seen.
        header_focus: Nats toward the own header.
        header_pooling: Weight of header tokens in the mean.
        first_position: Position of a unit's first token: RoBERTa and its kin count from 2, one
            past the id of padding.
        sliding: Largest distance of tokens that see each other in sliding layers.
        common_window: Tokens of a window of units, where the model reads more.
    """

    focus: float = 0.0
    header_focus: float = 0.0
    header_pooling: float = 0.0
    first_position: int = 0
    sliding: int | None = None
    common_window: int = 2_048

    def unit_vectors(
        self, text: str, spans: Sequence[Pair], headers: Sequence[str]
    ) -> NDArray[np.float64]:
        """Unit vectors of the chunks in layout ``units``, shape ``(n_chunks, dim)``."""
        vectors: list[Any] = [None] * len(spans)
        units = [self._unit(text[a:b], head) for (a, b), head in zip(spans, headers, strict=True)]
        whole = [i for i, unit in enumerate(units) if unit[2] and len(unit[0]) <= self.max_tokens]
        for level in self._levels(spans, whole, [bool(unit[2]) for unit in units]):
            for window in self._windows_of_units([len(units[i][0]) for i in level]):
                members = [level[i] for i in window]
                for chunk, vector in zip(
                    members, self._pool_window([units[i] for i in members]), strict=True
                ):
                    vectors[chunk] = vector
        for chunk, (start, end) in enumerate(spans):
            if vectors[chunk] is None:
                vectors[chunk] = self._divided(text[start:end], headers[chunk])
        return np.array([vector / np.linalg.norm(vector) for vector in vectors])

    def running_vectors(
        self, text: str, spans: Sequence[Pair], header: str
    ) -> list[NDArray[np.float64] | None]:
        """Unit vectors of the chunks in layout ``text``; None for a chunk without a token."""
        prompt_ids, ids, offsets = self.tokens(text)
        lead, tail = self._specials()
        head: list[int] = []
        if header.strip():
            head = self.tokenizer(header.strip() + "\n\n", add_special_tokens=False)["input_ids"]
        kept, windows = self.windows(len(ids), len(prompt_ids), len(head))
        with_text = [i for i, (start, end) in enumerate(offsets) if end > start]
        members = [self._members(offsets, with_text, span) for span in spans]
        chunk_of = [
            min(
                (c for c in range(len(spans)) if token in members[c]),
                key=lambda c: (len(members[c]), -c),
                default=None,
            )
            for token in range(len(ids))
        ]
        sums: list[Any] = [0.0] * len(spans)
        counts = [0] * len(spans)
        for start, end in windows:
            fixed = lead + prompt_ids
            front = fixed + head[:kept]
            window = front + ids[start:end] + tail
            marks: list[Any] = ["shared"] * len(fixed) + ["header"] * kept
            marks += chunk_of[start:end] + ["shared"] * len(tail)
            positions = self._positions(window)
            hidden = self._attend(window, positions, self._running_bias(marks))
            for chunk, tokens in enumerate(members):
                rows = [len(front) + i - start for i in tokens if start <= i < end]
                if tokens and start == 0 and with_text[0] in tokens and self.pool_edges:
                    rows += range(len(fixed))
                if tokens and end == len(ids) and with_text[-1] in tokens and self.pool_edges:
                    rows += range(len(window) - len(tail), len(window))
                for row in rows:
                    sums[chunk] = sums[chunk] + hidden[row]
                    counts[chunk] += 1
        vectors = [s / n if n else None for s, n in zip(sums, counts, strict=True)]
        return [None if v is None else v / np.linalg.norm(v) for v in vectors]

    def _positions(self, ids: Sequence[int]) -> list[int]:
        """Of the tokens of a unit; RoBERTa and its kin do not count a padding token in the text."""
        padding = self.first_position - 1
        positions, following = [], self.first_position
        for token in ids:
            positions.append(padding if token == padding else following)
            following += token != padding
        return positions

    def _running_bias(self, marks: Sequence[Any]) -> NDArray[np.float64]:
        bias = np.zeros((len(marks), len(marks)))
        for query, own in enumerate(marks):
            if own is None or isinstance(own, str):
                continue
            for key, other in enumerate(marks):
                if other == "header":
                    bias[query, key] = 0.0 if math.isinf(self.focus) else self.header_focus
                elif other in ("shared", own):
                    bias[query, key] = 0.0 if math.isinf(self.focus) else self.focus
                elif math.isinf(self.focus):
                    bias[query, key] = -math.inf
        return bias

    def _unit(self, chunk: str, header: str) -> tuple[list[int], list[float], int, list[bool]]:
        """Ids, weights in the mean, text tokens, and which ids are of the header."""
        prompt_ids, ids, _ = self.tokens(chunk)
        lead, tail = self._specials()
        head: list[int] = []
        if header.strip():
            head = self.tokenizer(header.strip() + "\n\n", add_special_tokens=False)["input_ids"]
        spare = max(0, self.max_tokens // 2 - len(lead) - len(tail) - len(prompt_ids))
        head = head[:spare]
        edge = 1.0 if self.pool_edges else 0.0
        front = [edge] * (len(lead) + len(prompt_ids))
        weights = front + [self.header_pooling] * len(head) + [1.0] * len(ids) + [edge] * len(tail)
        is_header = [False] * len(front) + [True] * len(head) + [False] * (len(ids) + len(tail))
        return lead + prompt_ids + head + ids + tail, weights, len(ids), is_header

    def _divided(self, chunk: str, header: str) -> NDArray[np.float64]:
        """The vector of a chunk that is longer than a window, or has no token."""
        total, count = self._sum_divided(chunk, header)
        return self._headed(total / count)

    def _sum_divided(self, chunk: str, header: str) -> tuple[NDArray[np.float64], float]:
        prompt_ids, ids, _ = self.tokens(chunk)
        lead, tail = self._specials()
        head: list[int] = []
        if header.strip():
            head = self.tokenizer(header.strip() + "\n\n", add_special_tokens=False)["input_ids"]
        kept, windows = self.windows(len(ids), len(prompt_ids), len(head))
        total, count = np.zeros(1), 0.0
        edge = 1.0 if self.pool_edges or not ids else 0.0
        for start, end in windows:
            fixed = lead + prompt_ids
            front = fixed + head[:kept]
            window = front + ids[start:end] + tail
            bias = np.zeros((len(window), len(window)))
            if ids and not math.isinf(self.focus):
                bias[:] = self.focus
                bias[:, len(fixed) : len(fixed) + kept] = self.header_focus
            positions = self._positions(window)
            hidden = self._attend(window, positions, bias)
            weights = np.zeros(len(hidden))
            weights[len(front) : len(front) + end - start] = 1.0
            if start == 0:
                weights[: len(fixed)] = edge
                weights[len(fixed) : len(fixed) + kept] = self.header_pooling
            if end == len(ids):
                weights[len(hidden) - len(tail) :] = edge
            total = total + (hidden * weights[:, None]).sum(axis=0)
            count += float(weights.sum())
        return total, count

    @staticmethod
    def _levels(
        spans: Sequence[Pair], units: Sequence[int], has_text: Sequence[bool]
    ) -> list[list[int]]:
        """Units in text order, each on the first level where it lies in no other and holds none.

        Levels count all chunks. A chunk that is longer than a window ends what may share one.
        """
        order = sorted(range(len(spans)), key=lambda i: (spans[i][0], -spans[i][1], i))
        levels: list[list[int]] = []
        for chunk in order:
            for level in levels:
                last = spans[level[-1]]
                if last[0] < spans[chunk][0] and last[1] < spans[chunk][1]:
                    level.append(chunk)
                    break
            else:
                levels.append([chunk])
        parts: list[list[int]] = []
        for level in levels:
            parts.append([])
            for chunk in level:
                if chunk in units:
                    parts[-1].append(chunk)
                elif has_text[chunk]:
                    parts.append([])
        return [part for part in parts if part]

    def _windows_of_units(self, sizes: Sequence[int]) -> list[list[int]]:
        """The fewest windows, in order, for the smallest size that needs no more of them."""

        def fill(size: int) -> list[list[int]]:
            windows: list[list[int]] = []
            for unit, length in enumerate(sizes):
                fits = windows and sum(sizes[i] for i in windows[-1]) + length <= size
                if fits:
                    windows[-1].append(unit)
                else:
                    windows.append([unit])
            return windows

        # Units of a model with a window from 256 to 383 tokens share windows of 384. Long windows
        # are not filled: three units of mean length are enough.
        room = self.common_window
        while room * len(sizes) < 3 * sum(sizes):
            room *= 2
        room = min(room, 384 if self.max_tokens in range(256, 384) else self.max_tokens)
        fewest = len(fill(room))
        for size in range(1, room + 1):
            if len(fill(size)) == fewest:
                return fill(size)
        return []

    def _pool_window(self, units: Sequence[Any]) -> list[NDArray[np.float64]]:
        return [self._headed(total / count) for total, count in self._sum_window(units)]

    def _sum_window(self, units: Sequence[Any]) -> list[tuple[NDArray[np.float64], float]]:
        """What each unit of one window pools, and what it weighs."""
        ids = [i for unit in units for i in unit[0]]
        own = [number for number, unit in enumerate(units) for _ in unit[0]]
        is_header = [header for unit in units for header in unit[3]]
        positions = [at for unit in units for at in self._positions(unit[0])]
        bias = np.zeros((len(ids), len(ids)))
        for query in range(len(ids)):
            for key in range(len(ids)):
                if own[query] == own[key]:
                    if not math.isinf(self.focus):
                        bias[query, key] = self.header_focus if is_header[key] else self.focus
                elif math.isinf(self.focus):
                    bias[query, key] = -math.inf
        hidden = self._attend(ids, positions, bias)
        pooled: list[tuple[NDArray[np.float64], float]] = []
        start = 0
        for unit in units:
            rows = hidden[start : start + len(unit[0])]
            weights = np.array(unit[1])[:, None]
            if self.last:
                pooled.append((rows[-1], 1.0))
            else:
                pooled.append(((rows * weights).sum(axis=0), float(weights.sum())))
            start += len(unit[0])
        return pooled

    def _attend(
        self, ids: list[int], positions: list[int], bias: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        mask = torch.tensor(bias)[None, None]
        masks: Any = mask
        if self.sliding is not None:
            at = torch.arange(len(ids))
            far = (at[:, None] - at[None, :]).abs() > self.sliding
            masks = {"full_attention": mask, "sliding_attention": mask.masked_fill(far, -math.inf)}
        with torch.no_grad():
            output = self.model(
                input_ids=torch.tensor([ids]),
                position_ids=torch.tensor([positions]),
                attention_mask=masks,
            )
        hidden: NDArray[np.float64] = output.last_hidden_state[0].double().numpy()
        return hidden
