"""Late chunking by its definition: float64, plain loops, nothing of the package.

The transformer runs one window at a time, without padding. A test checks that this file imports
nothing of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass
class Oracle:
    """A transformer in float64 with its tokenizer, and the options of a run.

    Chunks are pooled by mean, or by their last token; matrices after that are ``heads``.
    """

    model: Any
    tokenizer: Any
    max_tokens: int
    overlap: int | None = None
    prompt: str = ""
    context_weight: float = 1.0
    header_weight: float = 0.0
    pool_edges: bool = True
    last: bool = False
    heads: Sequence[NDArray[np.float64]] = ()

    def vectors(self, text: str, spans: Sequence[Pair], header: str = "") -> NDArray[np.float64]:
        """Unit vectors of the chunks, shape ``(n_chunks, dim)``."""
        late = self._late(text, spans, header)
        rows = []
        for (start, end), vector in zip(spans, late, strict=True):
            alone = None
            if vector is None or self.context_weight < 1:
                piece = text[start:end]
                (alone,) = self._late(piece, [(0, len(piece))], header, alone=True)
                assert alone is not None
            weight = self.context_weight if vector is not None else 0.0
            row = np.zeros(len(alone if alone is not None else vector))  # type: ignore[arg-type]  # one of them
            if vector is not None:
                row = row + weight * _unit(vector)
            if alone is not None:
                row = row + (1 - weight) * _unit(alone)
            if self.header_weight and header.strip():
                (own,) = self._late(header, [(0, len(header))], "", alone=True)
                assert own is not None
                row = row + self.header_weight * _unit(own)
            rows.append(_unit(row))
        return np.array(rows)

    def tokens(self, text: str) -> tuple[list[int], list[int], list[Pair]]:
        """Token ids of prompt and text, read as one string, and the text's offsets."""
        encoded = self.tokenizer(
            self.prompt + text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,
        )
        n = len(self.prompt)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        first = 0
        while first < len(ids) and offsets[first][1] <= n and offsets[first][0] < n:
            first += 1
        shifted = [(max(0, start - n), max(0, end - n)) for start, end in offsets[first:]]
        return ids[:first], ids[first:], shifted

    def windows(self, n_tokens: int, n_prompt: int, n_header: int) -> tuple[int, list[Pair]]:
        """Kept header tokens, and ``(start, end)`` of every window."""
        lead, tail = self._specials()
        fixed = len(lead) + len(tail) + n_prompt
        spare = self.max_tokens // 2 - fixed
        header = min(n_header, spare)
        room = self.max_tokens - fixed - header
        if n_tokens <= room:
            return header, [(0, n_tokens)]
        overlap = min(room // 2, 512) if self.overlap is None else min(self.overlap, room * 3 // 4)
        n_windows = 1
        while room + (n_windows - 1) * (room - overlap) < n_tokens:
            n_windows += 1
        slack = room + (n_windows - 1) * (room - overlap) - n_tokens
        windows, start = [], 0
        for index in range(n_windows):
            # The unused room is spread evenly over the windows so far.
            end = room + index * (room - overlap) - slack * (index + 1) // n_windows
            windows.append((start, end))
            start = end - overlap
        return header, windows

    def _specials(self) -> tuple[list[int], list[int]]:
        with_specials = self.tokenizer("a")["input_ids"]
        plain = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        for at in range(len(with_specials)):
            if with_specials[at : at + len(plain)] == plain:
                return with_specials[:at], with_specials[at + len(plain) :]
        raise AssertionError("no letter among the tokens")

    def _late(
        self, text: str, spans: Sequence[Pair], header: str, *, alone: bool = False
    ) -> list[NDArray[np.float64] | None]:
        prompt_ids, ids, offsets = self.tokens(text)
        header_ids = (
            self.tokenizer(header.strip() + "\n\n", add_special_tokens=False)["input_ids"]
            if header.strip()
            else []
        )
        kept, windows = self.windows(len(ids), len(prompt_ids), len(header_ids))
        lead, tail = self._specials()
        with_text = [i for i, (start, end) in enumerate(offsets) if end > start]
        members = [self._members(offsets, with_text, span) for span in spans]
        if alone:
            members = [set(range(len(ids)))]
        sums: list[Any] = [0.0] * len(spans)
        counts = [0] * len(spans)
        for start, end in windows:
            front = lead + prompt_ids + header_ids[:kept]
            hidden = self._hidden(front + ids[start:end] + tail)
            for chunk, tokens in enumerate(members):
                rows = [len(front) + i - start for i in tokens if start <= i < end]
                pooled = self.pool_edges or not ids
                holds_first = alone or bool(tokens and with_text[0] in tokens)
                holds_last = alone or bool(tokens and with_text[-1] in tokens)
                if start == 0 and holds_first and pooled:
                    rows += range(len(lead) + len(prompt_ids))
                if end == len(ids) and holds_last and pooled:
                    rows += range(len(hidden) - len(tail), len(hidden))
                if self.last:  # in every window that holds it
                    rows = [max(rows)] if rows and max(tokens) < end else []
                for row in rows:
                    sums[chunk] = sums[chunk] + hidden[row]
                    counts[chunk] += 1
        return [
            self._headed(total / count) if count else None
            for total, count in zip(sums, counts, strict=True)
        ]

    def _headed(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        for matrix in self.heads:
            vector = matrix @ vector
        return vector

    @staticmethod
    def _members(offsets: Sequence[Pair], with_text: Sequence[int], span: Pair) -> set[int]:
        start, end = span
        inside = {i for i, (a, b) in enumerate(offsets) if a < end and b > start}
        if not any(offsets[i][1] > offsets[i][0] for i in inside):
            return set()
        # Tokens without text before the first and after the last go with these (edge rule).
        if with_text[0] in inside:
            inside |= set(range(with_text[0]))
        if with_text[-1] in inside:
            inside |= set(range(with_text[-1], len(offsets)))
        return inside

    def _hidden(self, ids: list[int]) -> NDArray[np.float64]:
        with torch.no_grad():
            output = self.model(input_ids=torch.tensor([ids]))
        hidden: NDArray[np.float64] = output.last_hidden_state[0].double().numpy()
        return hidden


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)
