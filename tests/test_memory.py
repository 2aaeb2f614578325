"""A huge parent: peak memory grows with its vectors, not with its tokens."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from latechunk_integrations import CharSpans, LateChunkEngine, Parent
from tests.prepared import Prepared

pytestmark = pytest.mark.slow

MIB = 1 << 20
# Token ids, four bytes each until a window has passed over them, and what the allocator keeps.
# The token embeddings of the larger parent would be more than ten times as much.
_ALLOWANCE_BYTES = 16 * MIB


def _measure(model: Path, n_chars: int) -> None:
    """Prints the peak over one parent, and the bytes of its vectors."""
    sentence = "The supplier delivers every part within 30 days, as agreed in Section 1.3. "

    def parent(n: int) -> Parent:
        text = (sentence * (n // len(sentence) + 1))[:n]
        return Parent(text, CharSpans([(i, min(i + 300, n)) for i in range(0, n, 300)]))

    engine = LateChunkEngine.from_pretrained(
        str(model), device="cpu", dtype="float32", max_tokens=128, overlap_tokens=0
    )
    engine.embed([parent(400_000)])
    document, process, peaks, stop = parent(n_chars), psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def sample() -> None:
        while not stop.wait(0.002):
            peaks[0] = max(peaks[0], process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    (result,) = engine.embed([document])
    stop.set()
    thread.join()
    print(max(peaks[0], process.memory_info().rss) - before, result.vectors.nbytes)  # noqa: T201  # for `_peak`


def _peak(folder: Path, model: Path, n_chars: int) -> tuple[int, int]:
    """Peak and bytes of the vectors, of a process of its own."""
    finished = Prepared(folder, _measure, model, n_chars).finish()
    assert finished.returncode == 0, finished.stderr
    peak, vectors = finished.stdout.split()[-2:]
    return int(peak), int(vectors)


@pytest.mark.rule(2)
def test_five_megabytes_take_no_more_than_one_but_for_the_vectors(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    """Of two runs the lower peak counts, since an allocator only adds."""
    small_peak, small_vectors = min(_peak(tmp_path, tiny_model_path, 1_000_000) for _ in range(2))
    large_peak, large_vectors = _peak(tmp_path, tiny_model_path, 5_000_000)
    bound = small_peak + large_vectors - small_vectors + _ALLOWANCE_BYTES
    if large_peak > bound:  # else a second run, of half a minute, could change nothing
        large_peak = min(large_peak, _peak(tmp_path, tiny_model_path, 5_000_000)[0])
    assert large_peak < 600 * MIB
    assert large_peak <= bound
