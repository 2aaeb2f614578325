"""Whether a device computes faster in bfloat16 than in float32."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import torch

_TRIALS = 5
_ROWS, _WIDTH = 512, 768
# Near a tie a trial could fall out otherwise the next time, and with it the vectors.
_CLEARLY = 1.2


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether ``dtype="auto"`` should take bfloat16 on a device.

    A CPU with AMX does, one without bfloat16 instructions does not. AVX512-bf16 alone says
    little: one processor multiplies at twice the speed of float32 with it, another at half,
    so a few milliseconds of trial decide, once in a process.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(has.get("amx_bf16")) or (bool(has.get("avx512_bf16")) and _wins_trial())


@cache
def _wins_trial() -> bool:
    return _CLEARLY * _best_seconds(torch.bfloat16) < _best_seconds(torch.float32)


@torch.inference_mode()
def _best_seconds(dtype: torch.dtype) -> float:
    """Of a product as encoders have them; processor time, which other processes leave alone."""
    rows, weights = torch.ones(_ROWS, _WIDTH, dtype=dtype), torch.ones(_WIDTH, _WIDTH, dtype=dtype)
    seconds = []
    for _ in range(_TRIALS):
        start = time.thread_time()
        torch.nn.functional.linear(rows, weights)
        seconds.append(time.thread_time() - start)
    return min(seconds)
