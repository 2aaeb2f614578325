"""What a corpus costs: a simulation with the engine's own windows, and stated assumptions.

Document lengths are drawn (log-normal), divided into windows by the package itself, and counted:
tokens that pass through the encoder, FLOPs, chunks, bytes. Nothing is embedded. Every assumption
is an option or a constant below; benchmarks/cost_model.py measures the first three.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import print_table
from latechunk_integrations.core.windows import (
    choose_unit_windows,
    divide_budgets,
    pack_units,
    plan_runs,
)
from latechunk_integrations.options import LateChunkOptions

_SPECIALS = 2
_HEADER = 10
_SAMPLE = 4_000


@dataclass(frozen=True)
class Model:
    """Shape of an encoder.

    ``mlp`` counts the matrices of width times ``inner``; ``reached`` is the share of a GPU's
    peak, an assumption: narrow matrices keep it low.
    """

    layers: int
    width: int
    inner: int
    mlp: int
    window: int
    reached: float

    def flops(self, lengths: NDArray[np.int64]) -> float:
        """Of windows of these lengths."""
        weights = self.layers * (4 * self.width**2 + self.mlp * self.width * self.inner)
        attention = 4 * self.layers * self.width * lengths.astype(float)
        return float((lengths * (2 * weights + attention)).sum())


MODELS = {
    "MiniLM, 256": Model(layers=6, width=384, inner=1_536, mlp=2, window=256, reached=0.1),
    "nomic-like, 2,048": Model(
        layers=12, width=768, inner=3_072, mlp=3, window=2_048, reached=0.25
    ),
}
# TFLOP/s and dollars an hour: for CPU cores what is reached, for GPUs the peak.
CORES = {"CPU core float32": (0.12, 0.04), "CPU core AMX": (0.36, 0.04)}
GPUS = {"L4": (121.0, 0.7), "H100": (989.0, 3.0)}
CONFIGURATIONS = ("early", "default", "textbook late")


def lengths_of(
    model: Model, tokens: NDArray[np.int64], configuration: str, chunk: int
) -> NDArray[np.int64]:
    """Lengths of all windows of all documents."""
    fixed = _SPECIALS + _HEADER
    if configuration == "textbook late":
        each = np.ones_like(tokens)
        budgets = divide_budgets(
            model.window,
            fixed=_SPECIALS * each,
            header=_HEADER * each,
            n_tokens=tokens,
            overlap=LateChunkOptions.overlap_tokens,
        )
        runs = plan_runs(tokens, budgets)
        return fixed + runs.bounds[:, 1] - runs.bounds[:, 0]
    n_chunks = -(-tokens // chunk)
    documents = np.repeat(np.arange(len(tokens)), n_chunks)
    sizes = np.full(len(documents), fixed + chunk)
    sizes[np.cumsum(n_chunks) - 1] = fixed + tokens - (n_chunks - 1) * chunk
    if configuration == "early":
        return sizes
    rooms = choose_unit_windows(sizes, documents, model.window)
    windows = pack_units(sizes, documents, rooms)
    return np.bincount(windows, weights=sizes).astype(np.int64)


def compute(model: Model, lengths: NDArray[np.int64], scale: float) -> tuple[list[str], float]:
    """Cells of tokens, FLOPs and device hours, and the hours of the last device."""
    flops = scale * model.flops(lengths)
    rates = {**CORES, **{n: (peak * model.reached, cost) for n, (peak, cost) in GPUS.items()}}
    hours = [flops / (rate * 1e12) / 3_600 for rate, _ in rates.values()]
    prices = [price for _, price in rates.values()]
    cells = [f"{scale * lengths.sum() / 1e9:,.1f}", f"{flops / 1e18:,.2f}"]
    cells += [f"{h:,.1f} (${h * price:,.0f})" for h, price in zip(hours, prices, strict=True)]
    return cells, hours[-1]


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--documents", type=float, nargs="+", default=[1e6, 1e9])
    arguments.add_argument("--median-tokens", type=int, default=600)
    arguments.add_argument("--spread", type=float, default=1.0)
    arguments.add_argument("--chunk-tokens", type=int, default=128)
    arguments.add_argument("--planned-per-second", type=int, default=350_000)
    arguments.add_argument("--upserts-per-second", type=int, default=5_000)
    options = arguments.parse_args()
    drawn = np.random.default_rng(0).lognormal(
        np.log(options.median_tokens), options.spread, _SAMPLE
    )
    tokens = np.clip(drawn, 8, 200_000).astype(np.int64)
    costs, others = [], []
    for n_documents in options.documents:
        scale = n_documents / _SAMPLE
        n_chunks = scale * float(np.ceil(tokens / options.chunk_tokens).sum())
        for name, model in MODELS.items():
            for configuration in CONFIGURATIONS:
                lengths = lengths_of(model, tokens, configuration, options.chunk_tokens)
                cells, gpu_hours = compute(model, lengths, scale)
                case = [f"{n_documents:,.0f}", name, configuration]
                costs.append([*case, *cells])
                planning = scale * lengths.sum() / options.planned_per_second / 3_600
                vectors = f"{n_chunks * model.width * 4 / 1e9:,.0f}"
                upserts = f"{n_chunks / options.upserts_per_second / 3_600:,.1f}"
                feeding = f"{planning / gpu_hours:.1f}"
                others.append([*case, f"{planning:,.1f}", feeding, vectors, upserts])
    case = ["documents", "model, window", "pass"]
    devices = [f"hours: {name}" for name in (*CORES, *GPUS)]
    print_table("The encoder (simulated)", [*case, "10^9 tokens", "10^18 FLOP", *devices], costs)
    columns = ["planning, core hours", "cores to feed an H100", "vectors GB", "upsert hours"]
    print_table("The rest", [*case, *columns], others)
    print(
        f"Assumed: documents of {options.median_tokens} tokens in the median (log-normal, spread "
        f"{options.spread}), chunks of {options.chunk_tokens}, headers of {_HEADER}; "
        f"TFLOP/s reached and dollars an hour {CORES}; peaks {GPUS}, of which "
        f"{ {name: model.reached for name, model in MODELS.items()} } is reached; "
        f"{options.planned_per_second:,} tokens planned a second by a core; "
        f"{options.upserts_per_second:,} vectors upserted a second."
    )


if __name__ == "__main__":
    main()
