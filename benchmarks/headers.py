"""What ``header="auto"`` chooses for 50 documents of five kinds that have no metadata.

Each sample is written as such documents are found: the title where its kind puts it, chapters,
lists, listings, boilerplate. The table shows the header of the chunk that holds the sample's
marker, and the header that a careful reader would have given it.

    python -m benchmarks.headers
    python -m benchmarks.headers --data ../shared/data     # also: titles found in golden sets
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from latechunk_integrations.core.headings import (
    find_kind,
    find_title,
    heading_paths,
    join_header,
)

MARK = "The marked fact is forty-two."
_SAMPLES = Path(__file__).with_suffix(".jsonl")


class Sample(NamedTuple):
    """A document, and the header that its chunk with the marker deserves."""

    kind: str
    header: str
    text: str


def read_samples() -> list[Sample]:
    """Ten documents of each kind."""
    lines = _SAMPLES.read_text(encoding="utf-8").splitlines()
    return [Sample(**json.loads(line)) for line in lines]


def choose_header(text: str) -> str:
    """The header of the chunk that holds the marker."""
    start = text.index(MARK)
    kind = find_kind({}, text)
    (path,) = heading_paths(text, [(start, start + len(MARK))], kind=kind)
    return join_header(find_title({}, text), path)


def print_samples() -> None:
    """The table, and how many headers of each kind are those that were wanted."""
    right: Counter[str] = Counter()
    samples = read_samples()
    for sample in samples:
        chosen = choose_header(sample.text)
        right[sample.kind] += chosen == sample.header
        verdict = "as wanted" if chosen == sample.header else f"wanted {sample.header!r}"
        print(f"{sample.kind:12} {chosen!r:60} {verdict}")
    for kind, n_samples in Counter(sample.kind for sample in samples).items():
        print(f"{kind:12} {right[kind]} of {n_samples} as wanted")


def print_golden_sets(data: Path) -> None:
    """For documents of golden sets, their own titles left out: what is found in the text."""
    for file in sorted(data.glob("*/documents.jsonl")):
        texts = [json.loads(line)["text"] for line in file.open(encoding="utf-8")]
        kinds = Counter(find_kind({}, text) for text in texts)
        titles = [title for title in (find_title({}, text) for text in texts) if title]
        print(f"{file.parent.name}: {len(texts)} documents, {dict(kinds)}, {len(titles)} titles")
        for title in titles[:8]:
            print(f"    {title}")


def main() -> None:
    """Print what is chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of golden sets")
    arguments = parser.parse_args()
    print_samples()
    if arguments.data is not None:
        print_golden_sets(arguments.data)


if __name__ == "__main__":
    main()
