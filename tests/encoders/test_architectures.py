"""Each architecture in its published layout: the model's own vectors, whatever stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from latechunk_integrations import LateChunkEngine, Parent
from tests import strategies
from tests.architectures import LAYOUTS, Layout

TEXTS = [
    "Berlin is the capital of Germany.",
    "naïve café 東京 🎉",
    "Section 1.3 of the part",
    " leading space",
    "the supplier delivers every part within 30 days",
]
# Models that cut vectors, and a width that they were trained for.
MATRYOSHKA = {
    "nomic-embed-text-v1.5": 64,
    "embeddinggemma-300m": 128,
    "Qwen3-Embedding-0.6B": 33,
    "jina-embeddings-v3-hf": 32,
}
_TOO_SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


def _own_model(path: Path, adapter: str | None = None) -> SentenceTransformer:
    """The model as sentence-transformers loads it, with an adapter as its card shows it."""
    model = SentenceTransformer(str(path), device="cpu")
    if adapter:
        loaded = AutoModel.from_pretrained(str(path))
        loaded.load_adapter(
            str(path), adapter_name=adapter, adapter_kwargs={"subfolder": adapter}
        )
        loaded.set_adapter(adapter)
        model[0].model = loaded.eval()
    return model


def _own(
    model: SentenceTransformer, texts: list[str], prompt: str, width: int | None, *, norm: bool
) -> NDArray[np.float32]:
    """Vectors by the model's card: float64 after the model itself."""
    full = model.encode(texts, prompt=prompt, show_progress_bar=False).astype(np.float64)
    if norm:
        full = full - full.mean(axis=1, keepdims=True)
        full /= full.std(axis=1, keepdims=True)
    return full[:, :width]  # type: ignore[no-any-return]  # numpy types a slice loosely


def _adapters(layout: Layout) -> dict[str, Any]:
    if not layout.adapters:
        return {}
    return {"document_adapter": "retrieval_passage", "query_adapter": "retrieval_query"}


def _least_cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())


@pytest.mark.rule(3)
@pytest.mark.parametrize(
    ("name", "width"), [*((name, None) for name in LAYOUTS), *MATRYOSHKA.items()]
)
def test_one_chunk_over_the_parent_is_the_models_own_vector(
    published: dict[str, Path], name: str, width: int | None
) -> None:
    """With prompts, heads, Matryoshka and adapters on; CLS models with their own CLS pooling."""
    layout = LAYOUTS[name]
    pooling = "cls" if layout.pooling == "cls" else "auto"
    engine = _engine(published[name], pooling=pooling, dimensions=width, **_adapters(layout))
    document_prompt, query_prompt = layout.asked
    norm = width is not None and name == "nomic-embed-text-v1.5"
    own = _own_model(published[name], engine.options.document_adapter)
    documents = _own(own, TEXTS, document_prompt, width, norm=norm)
    own = _own_model(published[name], engine.options.query_adapter)
    queries = _own(own, TEXTS, query_prompt, width, norm=norm)

    results = engine.embed([Parent(text) for text in TEXTS])
    assert {mode for result in results for mode in result.modes} == {"late"}
    late = np.concatenate([result.vectors for result in results])
    assert late.shape[1] == (width or own.get_embedding_dimension())
    assert _least_cosine(late, documents) >= 0.99999
    assert _least_cosine(engine.embed_texts(TEXTS), documents) >= 0.99999
    assert _least_cosine(engine.embed_queries(TEXTS), queries) >= 0.99999
