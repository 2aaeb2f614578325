"""Serves a GGUF file as ``llama-server --embeddings`` does; run by the Python of `.venv-llama`.

xllamacpp holds llama.cpp's own server; it has no command line, so this gives it one.
"""

from __future__ import annotations

import argparse
import time
from typing import Any


def main() -> None:
    """Serve until the time is over."""
    import xllamacpp  # only `.venv-llama` has it

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="-c")
    parser.add_argument("--batch", type=int, required=True, help="-b and -ub")
    parser.add_argument("--slots", type=int, default=1, help="-np; -1: as llama.cpp chooses")
    parser.add_argument("--pooling", choices=["none", "mean"], default="none")
    parser.add_argument("--seconds", type=float, default=1_200.0)
    given = parser.parse_args()

    params: Any = xllamacpp.CommonParams()
    params.model.path = given.model
    params.n_ctx = given.context
    params.n_batch = params.n_ubatch = given.batch
    params.n_parallel = given.slots
    params.embedding = True
    pooling = f"LLAMA_POOLING_TYPE_{given.pooling.upper()}"
    params.pooling_type = getattr(xllamacpp.llama_pooling_type, pooling)
    params.port = given.port
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    if not server.listening_address.startswith("http://127.0.0.1:"):
        raise SystemExit(f"it listens on {server.listening_address}")
    time.sleep(given.seconds)


if __name__ == "__main__":
    main()
