"""Real servers give the vectors that the same model gives here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latechunk_integrations import ChunkVectors, LateChunkEngine, Parent
from latechunk_integrations.encoders.http.client import Call, JsonReceiver
from latechunk_integrations.encoders.servers.vllm import VllmEncoder
from latechunk_integrations.errors import ContractError, OptionError
from latechunk_integrations.testing import check_encoder
from tests.real_servers.conftest import MINILM_CONTEXT, LlamaServer
from tests.real_servers.models import CAUSAL_WINDOW, load_here

pytestmark = pytest.mark.servers

SENTENCES = [
    "The supplier delivers every part within thirty days, unless Section 1.3 says otherwise.",
    "Berlin ist die Hauptstadt von Deutschland, 東京タワー is elsewhere; naïve façades stay.",
    "Its 3.85 million inhabitants\r\n\r\ndon't stop-at   anything, it says (all of it).",
    "Whoever pays late owes interest of nine points above the base rate 🎉🚀 from then on.",
]
QUESTIONS = ["When are parts delivered?", "Where is Berlin?", "x", " ".join(SENTENCES * 5)]
# Two answers of one model; two precisions of one model.
SAME, ROUNDED = 0.99999, 0.995


def make_parent(n_sentences: int, name: str, header: str = "") -> Parent:
    """A parent with a chunk for each sentence, and no two sentences alike."""
    pieces = [
        f"{index}. {SENTENCES[index % len(SENTENCES)]} {index * 7919 % 1009} "
        for index in range(n_sentences)
    ]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    starts = [0, *ends[:-1]]
    return Parent("".join(pieces), list(zip(starts, ends, strict=True)), header=header, id=name)


# One token up to several windows, with and without a header, and the same beginning twice, which
# is what a cache of prefixes is for.
PARENTS = [
    Parent("Hello", [(0, 5)], id="word"),
    make_parent(3, "page"),
    make_parent(6, "headed page", header="Terms > Delivery"),
    make_parent(15, "report"),
    make_parent(15, "the same report"),
    make_parent(30, "headed book", header="Terms > Delivery"),
]


def connect(kind: str, url: str, model: Path, **options: float) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(model), encoder=kind, base_url=url, **options)


def lowest_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    assert ours.shape == theirs.shape
    return float(np.sum(ours * theirs, axis=1, dtype=np.float64).min())


def rows_of(results: list[ChunkVectors]) -> NDArray[np.float32]:
    return np.concatenate([one.vectors for one in results])


def assert_agrees(ours: LateChunkEngine, theirs: LateChunkEngine, least: float = SAME) -> None:
    here, there = ours.embed(PARENTS), theirs.embed(PARENTS)
    assert [one.modes for one in here] == [one.modes for one in there]
    assert [one.n_windows for one in here] == [one.n_windows for one in there]
    assert max(one.n_windows for one in there) > 3
    assert lowest_cosine(rows_of(here), rows_of(there)) >= least
    # Neighbours differ by far more than is allowed, so that none can stand for another.
    book = there[-1].vectors
    assert np.sum(book[1:] * book[:-1], axis=1).max() < least - (1 - least)
    for read in ("embed_queries", "embed_texts"):
        assert lowest_cosine(getattr(ours, read)(QUESTIONS), getattr(theirs, read)(QUESTIONS)) >= (
            least
        )


class Traffic:
    """An encoder's bytes of bodies, both ways, from here on."""

    def __init__(self, encoder: VllmEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_bytes = 0
        run_all, feed = encoder.client.run_all, JsonReceiver.feed

        def send(calls: Iterable[Call[Any]]) -> Iterator[Any]:
            def counted() -> Iterator[Call[Any]]:
                for call in calls:
                    self.n_bytes += len(json.dumps(call.body))
                    yield call

            return run_all(counted())

        def receive(receiver: JsonReceiver[Any], part: bytes) -> None:
            self.n_bytes += len(part)
            feed(receiver, part)

        monkeypatch.setattr(encoder.client, "run_all", send)
        monkeypatch.setattr(JsonReceiver, "feed", receive)


def test_minilm_behind_vllm_which_sums_chunks_or_gives_token_embeddings(
    minilm_here: LateChunkEngine,
    vllm_minilm: str,
    minilm_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = connect("vllm", vllm_minilm, minilm_path)
    encoder = theirs.encoder
    assert isinstance(encoder, VllmEncoder)
    assert encoder.sums_there
    traffic = Traffic(encoder, monkeypatch)
    n_bytes = []
    for sums_there in (True, False):
        encoder.sums_there = sums_there
        traffic.n_bytes = 0
        there = rows_of(theirs.embed(PARENTS))
        n_bytes.append(traffic.n_bytes)
        assert lowest_cosine(rows_of(minilm_here.embed(PARENTS)), there) >= SAME
        assert_agrees(minilm_here, theirs)
    assert n_bytes[0] < n_bytes[1] / 10
    theirs.close()


def test_a_blend_with_standalone_vectors_behind_vllm(vllm_minilm: str, minilm_path: Path) -> None:
    blend = {"context_weight": 0.5}
    ours = load_here(minilm_path, **blend)
    theirs = connect("vllm", vllm_minilm, minilm_path, **blend)
    assert_agrees(ours, theirs)
    theirs.close()


def test_a_causal_model_behind_vllm_with_prefix_caching_and_chunked_prefill(
    causal_here: LateChunkEngine, vllm_causal: str, causal_path: Path
) -> None:
    theirs = connect("vllm", vllm_causal, causal_path)
    for _ in range(2):  # the second time every prefix was seen before
        assert_agrees(causal_here, theirs)
    theirs.close()


@pytest.mark.parametrize("slots", [1, 4])
def test_minilm_behind_llama_cpp(
    minilm_here: LateChunkEngine,
    llama_servers: Callable[..., str],
    minilm_path: Path,
    slots: int,
) -> None:
    context = slots * MINILM_CONTEXT
    url = llama_servers("minilm-f32.gguf", context=context, batch=MINILM_CONTEXT, slots=slots)
    theirs = connect("llama.cpp", url, minilm_path)
    assert_agrees(minilm_here, theirs)
    theirs.close()


# -1: four slots that share one cache, which is llama.cpp's own choice.
@pytest.mark.parametrize("slots", [1, 4, -1])
def test_a_causal_model_behind_llama_cpp(
    causal_here: LateChunkEngine,
    llama_servers: Callable[..., str],
    causal_path: Path,
    slots: int,
) -> None:
    context = abs(slots) * CAUSAL_WINDOW
    url = llama_servers("causal-f32.gguf", context=context, batch=context, slots=slots)
    theirs = connect("llama.cpp", url, causal_path)
    for _ in range(2):
        assert_agrees(causal_here, theirs)
    theirs.close()


@pytest.mark.parametrize("model", ["minilm", "causal"])
@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_encoders_of_real_servers_conform(
    request: pytest.FixtureRequest, kind: str, model: str
) -> None:
    path: Path = request.getfixturevalue(f"{model}_path")
    if kind == "vllm":
        url = request.getfixturevalue(f"vllm_{model}")
    else:
        sizes = {"context": 4 * MINILM_CONTEXT, "batch": MINILM_CONTEXT, "slots": 4}
        url = request.getfixturevalue("llama_servers")(f"{model}-f32.gguf", **sizes)
    # llama.cpp rounds a window to half precision here and there, and otherwise beside others.
    tolerance = math.sqrt(2 * (1 - SAME)) if kind == "llama.cpp" else None
    check_encoder(connect(kind, url, path).encoder, tolerance=tolerance)


def test_a_quantised_model_has_vectors_and_a_fingerprint_of_its_own(
    minilm_here: LateChunkEngine, llama_servers: Callable[..., str], minilm_path: Path
) -> None:
    sizes = {"context": MINILM_CONTEXT, "batch": MINILM_CONTEXT, "slots": 1}
    whole, rounded = (
        connect("llama.cpp", llama_servers(f"minilm-{precision}.gguf", **sizes), minilm_path)
        for precision in ("f32", "q8_0")
    )
    assert_agrees(minilm_here, rounded, ROUNDED)
    assert whole.fingerprint != rounded.fingerprint
    differing = lowest_cosine(rows_of(whole.embed(PARENTS)), rows_of(rounded.embed(PARENTS)))
    assert differing < SAME
    whole.close()
    rounded.close()


def test_a_physical_batch_shorter_than_a_window_is_refused(
    llama_servers: Callable[..., str], minilm_here: LateChunkEngine, minilm_path: Path
) -> None:
    url = llama_servers("minilm-f32.gguf", context=MINILM_CONTEXT, batch=128)
    with pytest.raises(OptionError, match=r"-ub 256.*max_tokens=128"):
        connect("llama.cpp", url, minilm_path)
    ours = load_here(minilm_path, max_tokens=128)
    theirs = connect("llama.cpp", url, minilm_path, max_tokens=128)
    here, there = (rows_of(engine.embed(PARENTS)) for engine in (ours, theirs))
    assert lowest_cosine(here, there) >= SAME
    theirs.close()


def test_a_server_that_pools_is_refused(serve_llama: LlamaServer, minilm_path: Path) -> None:
    sizes = {"context": MINILM_CONTEXT, "batch": MINILM_CONTEXT}
    with (
        serve_llama("minilm-f32.gguf", pooling="mean", **sizes) as url,
        pytest.raises(ContractError, match="--pooling none"),
    ):
        connect("llama.cpp", url, minilm_path)


def test_files_of_another_model_are_refused(
    llama_servers: Callable[..., str], vllm_minilm: str, minilm_path: Path, causal_path: Path
) -> None:
    sizes = {"context": MINILM_CONTEXT, "batch": MINILM_CONTEXT, "slots": 1}
    url = llama_servers("minilm-f32.gguf", **sizes)
    with pytest.raises(ContractError, match="tokenizer="):
        connect("llama.cpp", url, causal_path)
    with pytest.raises(OptionError, match=str(minilm_path)):
        connect("vllm", vllm_minilm, causal_path)
