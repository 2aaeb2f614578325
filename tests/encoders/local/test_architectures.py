"""Each architecture in its published layout: the model's own vectors, whatever stands beside."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.testing.oracle import Oracle
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
_WIDTHS = {
    "nomic-embed-text-v1.5": 64,
    "embeddinggemma-300m": 128,
    "embeddinggemma-2-text": 128,
    "Qwen3-Embedding-0.6B": 33,
    "jina-embeddings-v3-hf": 32,
}
MATRYOSHKA = {name: width for name, width in _WIDTHS.items() if name in LAYOUTS}
_TOO_SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


def _own_model(path: Path, lora: str | None = None) -> SentenceTransformer:
    """The model as sentence-transformers loads it, with a LoRA as its card shows it."""
    model = SentenceTransformer(str(path), device="cpu")
    if lora:
        loaded = AutoModel.from_pretrained(str(path))
        loaded.load_adapter(str(path), adapter_name=lora, adapter_kwargs={"subfolder": lora})
        loaded.set_adapter(lora)
        model[0].model = loaded.eval()
    return model


def _own(
    model: SentenceTransformer, texts: list[str], prompt: str, width: int | None, *, norm: bool
) -> NDArray[np.float64]:
    """Vectors by the model's card: float64 after the model itself."""
    encoded = model.encode(texts, prompt=prompt, show_progress_bar=False)
    full: NDArray[np.float64] = encoded.astype(np.float64)
    if norm:
        full = full - full.mean(axis=1, keepdims=True)
        full /= full.std(axis=1, keepdims=True)
    return full[:, :width]


def _loras(layout: Layout) -> dict[str, Any]:
    if not layout.loras:
        return {}
    return {"document_lora": "retrieval_passage", "query_lora": "retrieval_query"}


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
    """With prompts, heads, Matryoshka and LoRAs on; CLS models with their own CLS pooling."""
    layout = LAYOUTS[name]
    pooling = "cls" if layout.pooling == "cls" else "auto"
    engine = _engine(published[name], pooling=pooling, dimensions=width, **_loras(layout))
    document_prompt, query_prompt = layout.asked
    norm = width is not None and name == "nomic-embed-text-v1.5"
    own = _own_model(published[name], engine.options.document_lora)
    documents = _own(own, TEXTS, document_prompt, width, norm=norm)
    own = _own_model(published[name], engine.options.query_lora)
    queries = _own(own, TEXTS, query_prompt, width, norm=norm)

    results = engine.embed([Parent(text) for text in TEXTS])
    assert {mode for result in results for mode in result.modes} == {"late"}
    late = np.concatenate([result.vectors for result in results])
    assert late.shape[1] == (width or own.get_embedding_dimension())
    assert _least_cosine(late, documents) >= 0.99999
    assert _least_cosine(engine.embed_texts(TEXTS), documents) >= 0.99999
    assert _least_cosine(engine.embed_queries(TEXTS), queries) >= 0.99999


@pytest.fixture(scope="module")
def engines(published: dict[str, Path]) -> dict[str, LateChunkEngine]:
    """An engine over each model, as a user would make it."""
    return {name: _engine(published[name], **_loras(layout)) for name, layout in LAYOUTS.items()}


@pytest.mark.rule(3)
@pytest.mark.parametrize("focus", [math.inf, 60.0])
@pytest.mark.parametrize("name", LAYOUTS)
def test_units_out_of_focus_of_each_other_are_the_models_own_vectors(
    published: dict[str, Path], name: str, focus: float
) -> None:
    """Each chunk pooled as the model was trained, whatever its pooling mode, in shared windows.

    A focus of 60 leaves neighbours a weight of e^-60: positions, masks and the bias are at work.
    """
    layout = LAYOUTS[name]
    engine = _engine(published[name], layout="units", focus=focus, max_tokens=200, **_loras(layout))
    text = "\n".join(TEXTS)
    starts = np.cumsum([0, *(len(one) + 1 for one in TEXTS)])
    spans = [(int(at), int(at) + len(one)) for at, one in zip(starts, TEXTS, strict=False)]
    (result,) = engine.embed([Parent(text, spans)])
    own = _own_model(published[name], engine.options.document_lora)
    expected = _own(own, TEXTS, layout.asked[0], None, norm=False)
    assert _least_cosine(result.vectors, expected) >= 0.99999
    assert (result.n_windows < len(TEXTS)) == math.isfinite(focus)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_a_chunk_reads_of_its_neighbours_fades_with_the_focus(
    published: dict[str, Path], name: str
) -> None:
    """As exp(-focus), once the focus is large; between small ones random weights know no order."""
    engine = _engine(published[name], max_tokens=200, **_loras(LAYOUTS[name]))
    text = " ".join(TEXTS[2:])
    spans = [(0, len(TEXTS[2])), (len(TEXTS[2]) + 1, len(text))]

    def vector(focus: float) -> NDArray[np.float32]:
        options = replace(engine.options, layout="units", focus=focus)
        # The second chunk: a causal model reads what comes before.
        (result,) = LateChunkEngine(engine.encoder, options).embed([Parent(text, spans)])
        second: NDArray[np.float32] = result.vectors[1]
        return second

    alone = vector(math.inf)
    distances = [float(np.abs(vector(focus) - alone).max()) for focus in (0.0, 9.0, 13.0)]
    assert distances[0] > distances[1] > distances[2] > 0


@pytest.mark.rule(6)
@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=15 if os.environ.get("CI") else 8, suppress_health_check=_TOO_SLOW)
@given(data=st.data())
def test_padding_batch_mates_and_order_change_no_vector(
    engines: dict[str, LateChunkEngine], name: str, data: st.DataObject
) -> None:
    """Every architecture's own positions and masks: rotary, tables, local and causal attention."""
    parents = []
    for _ in range(data.draw(st.integers(2, 5))):
        text = data.draw(strategies.texts())
        spans = data.draw(strategies.spans_of(text))
        parents.append(Parent(text, spans, header=data.draw(strategies.headers)))
    order = data.draw(st.permutations(range(len(parents))))
    engine = engines[name]
    one_row = LateChunkEngine(engine.encoder, replace(engine.options, batch_tokens=1))
    alone = [one_row.embed([parent])[0].vectors for parent in parents]
    batch_tokens = data.draw(st.sampled_from([100, 300, 2_000]))
    packed = LateChunkEngine(engine.encoder, replace(engine.options, batch_tokens=batch_tokens))
    for at, result in zip(order, packed.embed([parents[i] for i in order]), strict=True):
        np.testing.assert_allclose(result.vectors, alone[at], atol=1e-5)


@pytest.mark.rule(2)
@pytest.mark.parametrize(
    "name", [name for name, layout in LAYOUTS.items() if layout.trained_pooling != "cls"]
)
def test_windows_of_a_long_parent_add_up_to_the_oracles_vectors(
    published: dict[str, Path], name: str
) -> None:
    """Float64 and plain loops, one window at a time; with prompt, header and heads."""
    layout = LAYOUTS[name]
    text = "The supplier delivers 東京 parts. Section 1.3 of the café says otherwise! " * 12
    spans = [(0, 33), (30, 200), (150, 160), (300, len(text))]
    engine = _engine(published[name], max_tokens=72, layout="text", focus=0.0)
    (result,) = engine.embed([Parent(text, spans, header="Title heading")])
    assert result.n_windows > 2
    prompt, header = "" if layout.loras else layout.asked[0], "Title heading"
    if engine.encoder.title_slot is not None:  # the header goes there, and is pooled with it
        prompt, header = engine.encoder.title_slot.fill(header), ""
    oracle = Oracle(
        AutoModel.from_pretrained(str(published[name])).double().eval(),
        AutoTokenizer.from_pretrained(str(published[name])),
        max_tokens=72,
        prompt=prompt,
        last=layout.trained_pooling == "lasttoken",
        heads=[
            load_file(path)["linear.weight"].astype(np.float64)
            for path in sorted(published[name].glob("*_Dense/model.safetensors"))
        ],
    )
    expected = oracle.vectors(text, spans, header)
    np.testing.assert_allclose(result.vectors, expected, atol=1e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_chunk_sees_the_whole_parent_unless_the_model_is_causal(
    engines: dict[str, LateChunkEngine], name: str
) -> None:
    """What `describe` says of the model is what the model does."""
    options = replace(engines[name].options, layout="text", focus=0.0)
    engine = LateChunkEngine(engines[name].encoder, options)
    first, others = "Berlin is the capital", (" of Germany", " of the Union")
    left, right = (
        engine.embed([Parent(first + other, [(0, len(first))])])[0].vectors for other in others
    )
    contract = engine.describe().contract
    assert contract is not None
    assert contract.causal == LAYOUTS[name].causal
    assert (np.abs(left - right).max() < 1e-6) == contract.causal


def test_documents_and_queries_go_through_their_own_loras(published: dict[str, Path]) -> None:
    path = published["jina-embeddings-v3-hf"]
    texts = TEXTS[:2]
    prompts = {"document_prompt": "", "query_prompt": ""}
    none = _engine(path, **prompts)
    both = _engine(path, **prompts, **_loras(LAYOUTS[path.name]))
    only_queries = _engine(path, **prompts, query_lora="retrieval_query")
    np.testing.assert_allclose(only_queries.embed_texts(texts), none.embed_texts(texts), atol=1e-6)
    np.testing.assert_allclose(
        only_queries.embed_queries(texts), both.embed_queries(texts), atol=1e-6
    )
    vectors = [none.embed_texts(texts), both.embed_texts(texts), both.embed_queries(texts)]
    for left, right in zip(vectors, vectors[1:] + vectors[:1], strict=True):
        assert _least_cosine(left, right) < 0.99
    assert len({none.fingerprint, both.fingerprint, only_queries.fingerprint}) == 3
