"""The cost model of docs/scaling.md against measured figures.

Per token, a forward pass multiplies every weight once and attends to its window:

    FLOPs = 2 * weights + 4 * layers * width * window

The two terms run at different speeds, which the shortest and the longest window give; what lies
between them is predicted and measured. The bytes are those that cross to the device and back.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from benchmarks.corpus import parent
from benchmarks.families import FAMILIES
from benchmarks.harness import print_table, seconds_in_turns
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.base import TokenBatch

WINDOWS = {"minilm": (32, 64, 128, 256, 512), "nomic_bert": (64, 256, 512, 1_024, 2_048)}


class Cost(NamedTuple):
    """FLOPs of a forward pass, per token."""

    weights: float
    attention_per_token: float

    def attention(self, window: int) -> float:
        """Of attention, in a window of so many tokens."""
        return self.attention_per_token * window


def cost_of(transformer: torch.nn.Module) -> Cost:
    """The model's cost, counted from its layers."""
    config: Any = transformer.config
    linear = sum(
        module.weight.numel()
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    return Cost(2.0 * linear, 4.0 * config.num_hidden_layers * config.hidden_size)


def by_window(path: str, windows: tuple[int, ...], rounds: int) -> list[list[str]]:
    """A row for each window length."""
    engine = LateChunkEngine.from_pretrained(path)
    encoder = engine.encoder
    cost = cost_of(encoder.model.transformers_model)  # type: ignore[attr-defined]  # a local encoder
    contenders = {}
    for window in windows:
        n_rows = max(1, encoder.batch_tokens // window)
        ids = np.random.default_rng(0).integers(1_000, 30_000, (n_rows, window))
        lengths = np.full(n_rows, window)
        contenders[window] = (partial(encoder.forward, TokenBatch(ids, lengths)), ids.size)
    named = {str(window): run for window, (run, _) in contenders.items()}
    times = seconds_in_turns(named, rounds)
    measured = {window: times[str(window)] / size for window, (_, size) in contenders.items()}
    shortest, longest = windows[0], windows[-1]
    per_length = (measured[longest] - measured[shortest]) / (longest - shortest)
    fixed = measured[shortest] - per_length * shortest
    return [
        [
            f"{window}",
            f"{cost.weights / 1e6:.1f}",
            f"{cost.attention(window) / 1e6:.1f}",
            f"{1 / (fixed + per_length * window):,.0f}",
            f"{1 / measured[window]:,.0f}",
            f"{measured[window] / (fixed + per_length * window) - 1:+.0%}".lstrip("+"),
            f"{per_length * window / (fixed + per_length * window):.0%}",
            f"{cost.weights / cost.attention_per_token:,.0f}",
            f"{fixed / per_length:,.0f}" if per_length > 0 else "-",
        ]
        for window in windows
    ]


def planning_speed(path: str, layout: str) -> list[list[str]]:
    """What one core plans: spans, windows, what is pooled; no forward pass.

    The tokenizer is timed inside the planning it is called from: of two runs one after the other,
    each may meet another clock. Columns: microseconds for each parent, those in the tokenizer, the
    rest.
    """
    engine = LateChunkEngine.from_pretrained(path, layout=layout, focus=0.0)
    tokenizer = _TimedCall(engine.encoder.tokenize)  # type: ignore[union-attr]  # gives tokens
    rows = []
    with mock.patch.object(engine.encoder, "tokenize", tokenizer):
        for name, n_parents, n_chars in (("200 tokens", 2_000, 900), ("4,000 tokens", 100, 18_000)):
            parents = [parent(n_chars, 530, seed) for seed in range(n_parents)]
            rounds = []
            for _ in range(5):
                tokenizer.seconds = 0.0
                start = time.thread_time()
                for at in range(0, n_parents, 150):
                    engine.plan(parents[at : at + 150])
                rounds.append((time.thread_time() - start, tokenizer.seconds))
            planned, own = min(rounds)
            costs = (planned, own, planned - own)
            rows.append([layout, name, *(f"{1e6 * cost / n_parents:.0f}" for cost in costs)])
    return rows


class _TimedCall:
    """A function that adds up the CPU seconds of its calls, all of them in one thread."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        result = self._work(*args, **kwargs)
        self.seconds += time.thread_time() - start
        return result


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for family, windows in WINDOWS.items():
            path = FAMILIES[family](Path(folder) / family)
            rows += [[family, *row] for row in by_window(path, windows, options.rounds)]
        columns = ["model", "window", "MFLOP weights", "MFLOP attention", "model tokens/s"]
        columns += ["measured", "error", "attention's time", "overtakes at, FLOPs", "at, time"]
        print_table("Cost by window length", columns, rows)
        columns = ["layout", "parents", "planning, us each", "in the tokenizer", "the rest"]
        minilm = FAMILIES["minilm"](Path())
        rows = [row for layout in ("units", "text") for row in planning_speed(minilm, layout)]
        print_table("What is not the encoder, of one core", columns, rows)


if __name__ == "__main__":
    main()
