"""Public golden sets, read from their sources at fixed commits, with checksums of what comes out.

The files are fetched once and never stored in the project. Each set becomes a folder that
``GoldenSet.load`` reads. XQuAD and SQuAD are CC BY-SA 4.0, the source files of the cookbook MIT.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

_MOST_BYTES = 64 << 20
_RAW = "https://raw.githubusercontent.com"

Row = dict[str, Any]


@dataclass(frozen=True)
class GoldenRows:
    """A set as its rows: documents, queries, and the spans that answer them."""

    documents: list[Row]
    queries: list[Row]
    qrels: list[Row]

    @property
    def checksum(self) -> str:
        """SHA-256 of texts, questions and spans; ids have no part in it."""
        asked = {row["query_id"]: row["query"] for row in self.queries}
        texts = {row["doc_id"]: row["text"] for row in self.documents}
        lines = [json.dumps(text) for text in texts.values()]
        lines += [
            json.dumps([asked[row["query_id"]], texts[row["doc_id"]][row["start"] : row["end"]]])
            for row in self.qrels
        ]
        return sha256("\n".join(sorted(lines)).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """As JSON lines, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("documents", "queries", "qrels"):
            lines = "".join(json.dumps(row) + "\n" for row in getattr(self, name))
            (folder / f"{name}.jsonl").write_text(lines, "utf-8")


def build_squad(files: list[bytes]) -> GoldenRows:
    """An article is a document: its paragraphs, two line breaks between them."""
    rows = GoldenRows([], [], [])
    for number, article in enumerate(json.loads(files[0])["data"]):
        doc_id, start = f"d{number}", 0
        texts = [paragraph["context"] for paragraph in article["paragraphs"]]
        title = article["title"].replace("_", " ")
        rows.documents.append({"doc_id": doc_id, "title": title, "text": "\n\n".join(texts)})
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                if question["answers"]:  # the others have none in the text
                    answer = question["answers"][0]
                    place = start + answer["answer_start"]
                    end = place + len(answer["text"])
                    ask(rows, question["question"], [(doc_id, place, end)])
            start += len(paragraph["context"]) + 2
    return rows


def build_codebase(files: list[bytes]) -> GoldenRows:
    """A source file is a document; the chunks that a question was written from answer it."""
    rows = GoldenRows([], [], [])
    spans: dict[tuple[str, int], tuple[str, int, int]] = {}
    for document in json.loads(files[0]):
        text = ""
        for chunk in document["chunks"]:
            end = len(text) + len(chunk["content"])
            key = (document["original_uuid"], chunk["original_index"])
            spans[key] = (document["doc_id"], len(text), end)
            text += chunk["content"]
        title = document["doc_id"]
        rows.documents.append({"doc_id": title, "title": title, "text": text})
    for line in files[1].splitlines():
        asked = json.loads(line)
        places = [spans[uuid, index] for uuid, index in asked["golden_chunk_uuids"]]
        ask(rows, asked["query"], places)
    return rows


@dataclass(frozen=True)
class PublicSet:
    """Where a set comes from, and what has to come out."""

    repository: str
    commit: str
    paths: tuple[str, ...]
    build: Callable[[list[bytes]], GoldenRows]
    checksum: str


_COOKBOOK = "skills/contextual-embeddings/data"
SETS = {
    "squad_dev_half": PublicSet(
        "chrischute/squad",
        "85623adeb9e6639f145081fea9cae2d8f3a26379",
        ("data/dev-v2.0.json",),
        build_squad,
        "20478674a54fbe185fde4ca76a0df44c2d4b31099ea24219c20862f597e3723f",
    ),
    "xquad_en": PublicSet(
        "deepmind/xquad",
        "60cac411649156efb6aab9dd4c9cde787a2c0345",
        ("xquad.en.json",),
        build_squad,
        "c5a38c9cb1439b770cbf244967c1c0d6bffd3b1ed93c82e802eab283dcbbed41",
    ),
    "codebase": PublicSet(
        "anthropics/claude-cookbooks",
        "4b36a1e1f64361397f4cbe4fbc7cdace338f16f8",
        (f"{_COOKBOOK}/codebase_chunks.json", f"{_COOKBOOK}/evaluation_set.jsonl"),
        build_codebase,
        "37577e8d8354322fe2fa99d6f66f3b71ff40b64e86a64227e97436eda586fa7b",
    ),
}


def fetch_sets(folder: Path) -> Iterator[str]:
    """Make every set in a folder, and yield the name of each; one that is there is only checked.

    Raises:
        SystemExit: A set is not what it was; nothing of it is written.
        httpx.HTTPError: A source could not be read.
    """
    with httpx.Client(timeout=60, follow_redirects=True) as client:
        for name, source in SETS.items():
            if (folder / name).is_dir():
                rows = read_rows(folder / name)
            else:
                urls = [f"{_RAW}/{source.repository}/{source.commit}/{p}" for p in source.paths]
                rows = source.build([_download(client, url) for url in urls])
            if rows.checksum != source.checksum:
                raise SystemExit(
                    f"{name} is not the set that the published figures are of: its checksum is "
                    f"{rows.checksum}, not {source.checksum}. Remove {folder / name} and run this "
                    "again; if that does not help, its source has changed."
                )
            if not (folder / name).is_dir():
                rows.write(folder / name)
            yield name


def read_rows(folder: Path) -> GoldenRows:
    """A set as it was written."""
    names = ("documents", "queries", "qrels")
    texts = [(folder / f"{name}.jsonl").read_text("utf-8") for name in names]
    return GoldenRows(*([json.loads(line) for line in text.split("\n") if line] for text in texts))


@retry(
    retry=retry_if_exception_type(httpx.TransportError),
    stop=stop_after_attempt(3),
    wait=wait_exponential(max=20),
    reraise=True,
)
def _download(client: httpx.Client, url: str) -> bytes:
    with client.stream("GET", url) as answer:
        answer.raise_for_status()
        parts, n_bytes = [], 0
        for part in answer.iter_bytes():
            parts.append(part)
            n_bytes += len(part)
            if n_bytes > _MOST_BYTES:
                raise SystemExit(f"{url} has more than {_MOST_BYTES >> 20} MiB: not what it was")
    return b"".join(parts)


def ask(rows: GoldenRows, question: str, places: list[tuple[str, int, int]]) -> None:
    """Add a question, and where its answers are: document, start, end."""
    query_id = f"q{len(rows.queries)}"
    rows.queries.append({"query_id": query_id, "doc_id": places[0][0], "query": question})
    rows.qrels.extend(
        {"query_id": query_id, "doc_id": doc_id, "start": start, "end": end}
        for doc_id, start, end in places
    )
