"""What an edit of a long document costs with a window cache, over embedding the document anew.

One paragraph of 100 pages (3,000 characters each) is rewritten, added or deleted, many times, each
time in the same document. Counted are the tokens of windows that the document before did not have:
those that the encoder is given. What a splitter makes of an edit is part of it. The last line
embeds one edit. A rewritten paragraph, a chunk for each, is held to 5 % with stable windows.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.node_parser import SentenceSplitter

from benchmarks.corpus import sentences
from benchmarks.families import FAMILIES
from benchmarks.harness import Ratios, parser, print_table
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.flow.window_sums import hash_windows
from latechunk_integrations.splitting import chunk_spans, text_splitter

_PAGE_CHARS = 3_000
_MOST = 0.05
_TITLE = "Handbook of the message broker"
_CHUNK_TOKENS = 128
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "MiniLM, 384": ("minilm", {}),
    "ModernBERT, 8,192": ("modernbert", {"max_tokens": 8_192}),
}
_PARAGRAPHS = "a chunk for each paragraph"
_HELD = [_PARAGRAPHS, "stable", "rewritten"]


def split_paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, with the gap after each."""
    return re.findall(r".+?(?:\n\n|\Z)", text, re.DOTALL)


def splitters(engine: LateChunkEngine) -> dict[str, Callable[[str], Iterable[Any]]]:
    """What cuts chunks."""

    def tokenize(text: str) -> list[int]:
        ids: list[int] = engine.encoder.tokenize([text], "")[0].ids.tolist()
        return ids

    size = {"chunk_size": _CHUNK_TOKENS, "chunk_overlap": 0}
    return {
        _PARAGRAPHS: split_paragraphs,
        "LangChain, recursive": text_splitter("recursive", _CHUNK_TOKENS, engine.encoder),
        "LlamaIndex, sentences": SentenceSplitter(tokenizer=tokenize, **size).split_text,
    }


def edit(paragraphs: list[str], kind: str, seed: int) -> str:
    """The text with one paragraph rewritten, added or deleted."""
    rng = random.Random(seed)
    at = rng.randrange(len(paragraphs))
    new = sentences(len(paragraphs[at]), 1_000 + seed).replace("\n\n", " ") + "\n\n"
    edited = {"rewritten": [new], "added": [new, paragraphs[at]], "deleted": []}[kind]
    return "".join([*paragraphs[:at], *edited, *paragraphs[at + 1 :]])


def windows_of(engine: LateChunkEngine, parent: Parent) -> dict[bytes, int]:
    """Tokens of each window, by all that its sums depend on."""
    block = engine.plan([parent])
    windows = np.arange(len(block.lengths), dtype=np.int64)
    keys = hash_windows(block, windows, None, engine.fingerprint)
    return dict(zip(keys, block.lengths.tolist(), strict=True))


def parent_of(split: Callable[[str], Iterable[Any]], text: str) -> Parent:
    """The document in the chunks of a splitter."""
    return Parent(text, chunk_spans(text, list(split(text)))[0], header=_TITLE)


def measure(
    engine: LateChunkEngine, split: Callable[[str], Iterable[Any]], text: str, n_edits: int
) -> list[list[str]]:
    """A row for each kind of edit: tokens of a window, mean and worst share of the tokens."""
    known = windows_of(engine, parent_of(split, text))
    size = f"{np.mean(list(known.values())):.0f}"
    rows = []
    for kind in ("rewritten", "added", "deleted"):
        shares = []
        for seed in range(n_edits):
            edited = edit(split_paragraphs(text), kind, seed)
            windows = windows_of(engine, parent_of(split, edited))
            new = sum(n for key, n in windows.items() if key not in known)
            shares.append(new / sum(windows.values()))
        rows.append([kind, size, f"{np.mean(shares):.4f}", f"{max(shares):.4f}"])
    return rows


def embed_one(text: str) -> str:
    """Embed a document and an edit of it, and say what that took."""
    options = {"dtype": "float32", "stable_windows": True}
    engines = [
        LateChunkEngine.from_pretrained(FAMILIES["minilm"](Path()), window_cache=cache, **options)
        for cache in (":memory:", None)
    ]
    before, after = (
        parent_of(split_paragraphs, each)
        for each in (text, edit(split_paragraphs(text), "rewritten", 0))
    )
    engines[0].embed([before])
    n_before = engines[0].stats["tokens"]
    (found,), (right,) = (engine.embed([after]) for engine in engines)
    n_edit = engines[0].stats["tokens"] - n_before
    n_anew = engines[1].stats["tokens"]
    farthest = float(np.abs(found.vectors - right.vectors).max())
    return (
        f"Embedded: {n_edit:,} of {n_anew:,} tokens ({n_edit / n_anew:.1%}), vectors at most "
        f"{farthest:.0e} from those embedded anew."
    )


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--pages", type=int, default=100)
    arguments.add_argument("--edits", type=int, default=20)
    arguments.add_argument("--models", nargs="+", default=list(_MODELS), choices=list(_MODELS))
    options = arguments.parse_args()
    text = sentences(options.pages * _PAGE_CHARS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            family, given = _MODELS[name]
            build = partial(LateChunkEngine.from_pretrained, FAMILIES[family](Path(folder)))
            for stable in (False, True):
                engine = build(dtype="float32", stable_windows=stable, **given)
                for splitter, split in splitters(engine).items():
                    case = [name, splitter, "stable" if stable else "even"]
                    measured = measure(engine, split, text, options.edits)
                    rows += [[*case, *row] for row in measured]
    columns = ["model, window", "splitter", "windows", "a paragraph"]
    columns += ["tokens a window", "mean", "worst"]
    print_table(
        f"Tokens of an edit over those of {options.pages} pages",
        columns,
        rows,
        Ratios(labels=4, lower=("mean",)),
        options.json,
    )
    held = [float(row[5]) for row in rows if row[1:4] == _HELD]
    print(f"At most {_MOST:.0%} of the tokens: {'yes' if held[0] <= _MOST else 'no'}.")
    print(embed_one(text))


if __name__ == "__main__":
    main()
