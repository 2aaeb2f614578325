"""What ``dtype="auto"`` takes on a CPU."""

from __future__ import annotations

import time

import pytest
import torch

from latechunk_integrations.encoders.local.loading import bfloat16_is_fast

CPU = torch.device("cpu")


def with_instructions(monkeypatch: pytest.MonkeyPatch, **has: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)


def test_a_cpu_with_amx_is_fast_and_one_without_bfloat16_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_instructions(monkeypatch, amx_bf16=True, avx512_bf16=True)
    assert bfloat16_is_fast(CPU)
    with_instructions(monkeypatch, avx512_f=True)
    assert not bfloat16_is_fast(CPU)


def test_other_devices_than_cuda_and_cpu_stay_at_float32() -> None:
    assert not bfloat16_is_fast(torch.device("mps"))


def test_avx512_bf16_alone_is_tried_once_and_decides_the_same_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Processors differ: what counts is that one process never changes its mind."""
    with_instructions(monkeypatch, avx512_bf16=True)
    first = bfloat16_is_fast(CPU)

    def no_clock() -> float:
        raise AssertionError("a second trial")

    monkeypatch.setattr(time, "thread_time", no_clock)
    assert bfloat16_is_fast(CPU) is first
