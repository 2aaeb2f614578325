"""Where the servers are installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONVERTER", "LLAMA", "ROOT", "VLLM"]

ROOT = Path(__file__).resolve().parents[2]

VLLM = ROOT / ".venv-vllm"
LLAMA = ROOT / ".venv-llama"
CONVERTER = LLAMA / "converter"
