"""Speed and memory of the encoders that people late-chunk with, by window length.

Random weights of the real size: speed and memory do not depend on their values, but for the
reach of a jina-v2 head, which grows with its queries and keys. Each model runs in a process of
its own. Peak memory is the highest resident size of the first forward
pass over windows of that length, above what the process held with the weights loaded and warm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.harness import MIB, PeakMemory

# What the engine sends through a model on a CPU at once; a longer window goes alone.
BATCH_TOKENS = 2_048
_WARM_UP_TOKENS = 64
_SCALE = 3.0


def _jina_v2() -> nn.Module:
    from latechunk_integrations.encoders.local.jina_v2.jina_config import JinaBertConfig  # noqa: PLC0415
    from latechunk_integrations.encoders.local.jina_v2.jina_encoder import JinaBert  # noqa: PLC0415

    model = JinaBert(JinaBertConfig())
    # Initial weights give scores of about 1; trained ones have reason to be larger.
    for layer in model.layers:
        layer.query.weight.data *= _SCALE
        layer.key.weight.data *= _SCALE
    return model


def _nomic() -> nn.Module:
    from transformers import NomicBertConfig, NomicBertModel  # noqa: PLC0415

    config = NomicBertConfig(max_position_embeddings=8_192)
    return NomicBertModel(config, add_pooling_layer=False)


def _modernbert() -> nn.Module:
    from transformers import ModernBertConfig, ModernBertModel  # noqa: PLC0415

    return ModernBertModel(ModernBertConfig())


MODELS: dict[str, Callable[[], nn.Module]] = {
    "jina-embeddings-v2-base": _jina_v2,
    "nomic-embed-text-v1.5": _nomic,
    "modernbert-embed-base": _modernbert,
}


def measure(name: str, dtype: str, windows: list[int], repeats: int) -> None:
    """Print one JSON line for each window length: tokens per second, bytes of peak memory."""
    torch.manual_seed(0)
    # Each child measures one model only, so the imports above cost nobody else memory.
    model = MODELS[name]().to(getattr(torch, dtype)).eval()
    _forward(model, torch.randint(1_000, 20_000, (1, _WARM_UP_TOKENS)))
    for window in windows:
        ids = torch.randint(1_000, 20_000, (max(1, BATCH_TOKENS // window), window))
        with PeakMemory() as memory:
            seconds = [_forward(model, ids)]
        seconds += [_forward(model, ids) for _ in range(repeats - 1)]
        figures = {"window": window, "speed": ids.numel() / min(seconds), "above": memory.above}
        print(json.dumps(figures), flush=True)


@torch.inference_mode()
def _forward(model: nn.Module, ids: Tensor) -> float:
    start = time.perf_counter()
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments.add_argument("--windows", type=int, nargs="+", default=[512, 2_048, 8_192])
    arguments.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    arguments.add_argument("--repeats", type=int, default=3, help="the fastest one counts")
    arguments.add_argument("--child", choices=MODELS, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        measure(options.child, options.dtype, options.windows, options.repeats)
        return
    table = Table(title=f"{options.dtype}, {torch.get_num_threads()} threads, random weights")
    for heading in ("model", "window", "tokens/s", "peak above weights, MiB"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name in options.models:
        command = [sys.executable, "-m", "benchmarks.models", "--child", name]
        command += ["--dtype", options.dtype, "--repeats", str(options.repeats)]
        command += ["--windows", *map(str, options.windows)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603  # our own module
        for figures in map(json.loads, filter(str.strip, output.splitlines())):
            above = f"{figures['above'] / MIB:,.0f}"
            table.add_row(name, f"{figures['window']:,}", f"{figures['speed']:,.0f}", above)
    Console().print(table)


if __name__ == "__main__":
    main()
