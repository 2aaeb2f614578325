"""OpenVINO on a CPU against float32 PyTorch, on the windows of the default.

    pip install -c constraints.txt openvino nncf    # the package itself needs none of them
    python -m benchmarks.int8

It runs MiniLM's graph with our bias for focus as an input, over the very batches that the engine
makes of the sample documents. The cosine is that of chunk vectors with PyTorch's. Activations are
calibrated on the README. Nothing of this is offered: see docs/models.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
import torch

from benchmarks.corpus import cut
from benchmarks.harness import Ratios, minilm, parser, print_table, seconds_in_turns
from benchmarks.throughput import Recorder
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.encoders.local.focus_attention import FocusBias

Forward = Callable[[TokenBatch], torch.Tensor]
_ROOT = Path(__file__).parents[1]
_CHUNK_CHARS = 530
_HIDDEN = -1e9
_ROUNDS = 3


class Graph(torch.nn.Module):
    """A model as a graph of arrays alone: positions and the bias of all heads are inputs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Any, positions: Any, bias: Any) -> Any:
        """Token embeddings, ``(n_rows, row_length, dim)``."""
        return self.model(input_ids=ids, position_ids=positions, attention_mask=bias)[0]


def inputs_of(batch: TokenBatch) -> dict[str, Any]:
    """What the graph takes of a batch."""
    places = np.broadcast_to(np.arange(batch.ids.shape[1]), batch.ids.shape)
    positions = places if batch.positions is None else batch.positions
    bias = torch.zeros(len(places), 1, *places.shape[1:] * 2)
    if batch.units is not None:
        bias = FocusBias(batch, torch.device("cpu"), torch.float32).values()
    outside = torch.from_numpy(places >= batch.lengths[:, None])[:, None, None]
    bias = bias.masked_fill(outside, _HIDDEN)
    return {"ids": batch.ids, "positions": positions.copy(), "bias": bias.numpy()}


def by_openvino(model: Any) -> Forward:
    """A graph, compiled for this machine."""
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda batch: torch.from_numpy(request.infer(inputs_of(batch), share_outputs=True)[0])


@torch.inference_mode()
def prepare(encoder: Any, seen: list[TokenBatch]) -> dict[str, Forward]:
    """Every way; activations are calibrated on some batches."""
    graph = Graph(encoder.model[0].model)
    example = {name: torch.from_numpy(each) for name, each in inputs_of(seen[0]).items()}
    shapes: Any = {"ids": [-1, -1], "positions": [-1, -1], "bias": [-1, 1, -1, -1]}
    plain, weights, full = (
        openvino.convert_model(graph, example_input=example, input=shapes) for _ in range(3)
    )
    data = nncf.Dataset([inputs_of(batch) for batch in seen])
    full = nncf.quantize(full, data, model_type=nncf.ModelType.TRANSFORMER)
    return {
        "PyTorch, float32": encoder.forward,
        "OpenVINO, float32": by_openvino(plain),
        "OpenVINO, int8 weights": by_openvino(nncf.compress_weights(weights)),
        "OpenVINO, int8, calibrated": by_openvino(full),
    }


def main() -> None:
    """Print the table."""
    options = parser(__doc__).parse_args()
    engine = LateChunkEngine.from_pretrained(minilm(), dtype="float32")
    encoder: Any = engine.encoder

    def embed(*paths: Path) -> Any:
        texts = [path.read_text(encoding="utf-8")[:6_000] for path in paths]
        parents = [cut(text, _CHUNK_CHARS, str(number)) for number, text in enumerate(texts)]
        return np.concatenate([each.vectors for each in engine.embed(parents)])

    recorder = Recorder(encoder)
    embed(_ROOT / "README.md")
    ways = prepare(encoder, recorder.stop())
    samples = sorted((_ROOT / "examples" / "samples").glob("*.md"))
    recorder = Recorder(encoder)
    vectors = embed(*samples)
    batches = recorder.stop()
    runs = {name: lambda way=way: [*map(way, batches)] for name, way in ways.items()}
    seconds = seconds_in_turns(runs, _ROUNDS)
    n_tokens, first = sum(int(each.lengths.sum()) for each in batches), next(iter(seconds.values()))
    rows = []
    for name, encoder.forward in ways.items():
        cosines = (embed(*samples) * vectors).sum(axis=1)
        speed = f"{n_tokens / seconds[name]:,.0f}", f"{first / seconds[name]:.2f}"
        rows.append((name, *speed, f"{cosines.mean():.4f}", f"{cosines.min():.4f}"))
    columns = ["backend", "tokens/s", "PyTorch's time / its own", "mean cosine", "least cosine"]
    ratios = Ratios(labels=1, higher=("PyTorch's time / its own",))
    print_table("Backends", columns, rows, ratios, options.json)
    print(f"{openvino.__version__=} {nncf.__version__=}")


if __name__ == "__main__":
    main()
