"""Late chunking against the bare forward pass and against early chunking.

Same chunks, same dtype, one run; the contenders take turns, so that the ratios hold whatever
else the machine is doing. ``bare`` is the transformer alone on the very batches that the engine
makes; ``early`` is ``SentenceTransformer.encode_document`` on the same chunks. The textbook's
layout, without focus, is held to 0.93 of the bare forward's speed, the default to 0.85.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.corpus import parent
from benchmarks.families import FAMILIES, model_path
from benchmarks.harness import (
    Ratios,
    cpu_seconds_in_turns,
    parser,
    print_table,
)
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.encoders.local.encoder import LocalEncoder


@dataclass(frozen=True)
class Case:
    """A corpus shape to measure."""

    name: str
    n_parents: int
    parent_chars: int
    chunk_chars: int


CASES = (
    Case("short, one chunk of 350 characters", 64, 350, 530),
    Case("fit MiniLM's window, 64-token chunks", 32, 1_050, 270),
    Case("fit MiniLM's window, 128-token chunks", 32, 1_050, 530),
    Case("10,000 characters, 128-token chunks", 4, 10_000, 530),
)
# Enough for a family whose figures should look like MiniLM's.
OTHER_CASES = (CASES[0], *CASES[2:])
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "textbook": {"layout": "text", "focus": 0.0},
}


class Recorder:
    """Notes the batches that the engine sends through the encoder."""

    def __init__(self, encoder: LocalEncoder) -> None:
        self.batches: list[TokenBatch] = []
        self._forward = encoder.forward
        encoder.forward = self
        self._encoder = encoder

    def __call__(self, batch: TokenBatch) -> torch.Tensor:
        """Note a batch and pass it on."""
        self.batches.append(batch)
        return self._forward(batch)

    def stop(self) -> list[TokenBatch]:
        """Give the encoder back as it was."""
        self._encoder.forward = self._forward
        return self.batches


def measure(path: str, case: Case, way: str, dtype: str, options: Namespace) -> tuple[Any, ...]:
    """One row of the table, without the family's name."""
    engine = LateChunkEngine.from_pretrained(path, dtype=dtype, **WAYS[way])
    encoder = engine.encoder
    assert isinstance(encoder, LocalEncoder)
    model = encoder.model
    parents = [
        parent(case.parent_chars - 17 * (seed % 9), case.chunk_chars, seed)
        for seed in range(ceil(case.n_parents * options.share))
    ]
    texts = [p.chunk_text(i) for p in parents for i in range(len(p.spans))]
    recorder = Recorder(encoder)
    engine.embed(parents)
    batches = recorder.stop()

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            ids, lengths = batch.ids, batch.lengths
            mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
            features = {"input_ids": ids, "attention_mask": mask}
            model[0]({k: torch.from_numpy(v).to(model.device) for k, v in features.items()})

    wall, cpu = cpu_seconds_in_turns(
        {
            "bare": bare,
            "late": lambda: engine.embed(parents),
            "early": lambda: model.encode_document(texts, show_progress_bar=False),
        },
        options.rounds,
    )
    n_late = sum(int(batch.lengths.sum()) for batch in batches)
    n_padded = sum(batch.ids.size for batch in batches)
    n_early = sum(len(ids) for ids in model.tokenizer(texts)["input_ids"])
    return (
        case.name,
        way,
        str(model.dtype).removeprefix("torch."),
        f"{n_late / wall['late']:,.0f}",
        f"{wall['bare'] / wall['late']:.3f}",
        f"{cpu['bare'] / cpu['late']:.3f}",
        f"{cpu['early'] / cpu['late']:.2f}",
        f"{n_late / n_early:.2f}",
        f"{n_padded / n_late - 1:.1%}",
    )


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--dtype", nargs="+", default=["float32", "auto"])
    arguments.add_argument("--share", type=float, default=1.0, help="of the documents")
    arguments.add_argument("--family", nargs="+", default=list(FAMILIES), help="or folders")
    arguments.add_argument("--way", nargs="+", default=list(WAYS), choices=list(WAYS))
    options = arguments.parse_args()
    rows: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for family in options.family:
            path = model_path(family, Path(folder) / Path(family).name)
            cases = CASES if family == "minilm" else OTHER_CASES
            for case, way, dtype in product(cases, options.way, options.dtype):
                row = (Path(family).name, *measure(path, case, way, dtype, options))
                # "auto" is float32 on many machines: the same row again.
                if row[:4] not in [done[:4] for done in rows]:
                    rows.append(row)
    columns = ["model", "parents", "way", "dtype", "late tokens/s", "late / bare", "the same, CPU"]
    columns += ["late / early, CPU", "tokens late / early", "padding"]
    ratios = Ratios(labels=4, higher=("late / bare", "the same, CPU", "late / early, CPU"))
    print_table("Throughput", columns, rows, ratios, options.json)
    print("Above 1 late chunking is the faster.")


if __name__ == "__main__":
    main()
