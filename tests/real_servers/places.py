"""Where the servers are installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONVERTER", "LLAMA", "VLLM"]

_ROOT = Path(__file__).resolve().parents[2]

VLLM = _ROOT / ".venv-vllm"
LLAMA = _ROOT / ".venv-llama"
CONVERTER = LLAMA / "converter"
