"""Queries through Nomic's service, against a loopback server with the same weights behind it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nomic import cli, embed
from numpy.typing import NDArray
from pydantic import SecretStr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import NomicBertConfig, NomicBertModel

from latechunk_integrations import LateChunkEngine, Parent, Span
from latechunk_integrations.encoders.services.nomic_queries import NomicQueryEncoder
from latechunk_integrations.errors import (
    AuthenticationError,
    InputTypeError,
    MismatchedQueriesError,
    MissingExtraError,
    OptionError,
    ParentTooLongError,
    RateLimitError,
    ServerAnswerError,
    ServerUnavailableError,
)
from latechunk_integrations.langchain import LateChunkEmbeddings
from latechunk_integrations.llama_index import LateChunkEmbedding
from tests.fakes.loopback import Answer, Asked, Fault, LoopbackServer, too_many
from tests.tiny_models import wordpiece_tokenizer

KEY = "nk-never-to-be-seen"
TEXTS = ["Berlin is the capital of Germany.", "Every part within thirty days.", "naïve café"]
WIDTH = 768


def save_nomic(folder: Path, seed: int = 0) -> Path:
    """One random layer of nomic-embed-text-v1.5 with its prompts."""
    torch.manual_seed(seed)
    tokenizer = wordpiece_tokenizer()
    config = NomicBertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=1,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    model = NomicBertModel(config, add_pooling_layer=False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
        else:  # else the mean over a vector would be 0, and a layer norm over it nothing
            torch.nn.init.uniform_(parameter, 0.2, 1.8)
    model.save_pretrained(folder / "raw")
    tokenizer.save_pretrained(folder / "raw")
    modules: list[torch.nn.Module] = [Transformer(str(folder / "raw")), Pooling(WIDTH, "mean")]
    prompts = {"query": "search_query: ", "document": "search_document: "}
    SentenceTransformer(modules=modules, prompts=prompts).save(
        str(folder / "nomic-embed-text-v1.5"), create_model_card=False
    )
    return folder / "nomic-embed-text-v1.5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nomic(tmp_path_factory.mktemp("nomic"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(folder), dtype="float32", device="cpu")


class Nomic:
    """What the service does with a request, by the weights of a folder."""

    def __init__(self, folder: Path) -> None:
        self.model = SentenceTransformer(str(folder), device="cpu")

    def __call__(self, asked: Asked) -> Answer:
        if asked.http_headers.get("authorization") != f"Bearer {KEY}":
            return Answer({"detail": "Invalid token"}, 401)
        body = asked.body
        vectors = self.vectors(body["texts"], body["task_type"], body["dimensionality"])
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return Answer({"embeddings": vectors.tolist(), "model": body["model"], "usage": usage})

    def vectors(self, texts: list[str], task: str, width: int | None) -> NDArray[np.float32]:
        full = self.model.encode([f"{task}: {text}" for text in texts], prompt="")
        if width is not None:
            centred = full - full.mean(axis=1, keepdims=True)
            full = (centred / full.std(axis=1, keepdims=True))[:, :width]
        unit: NDArray[np.float32] = full / np.linalg.norm(full, axis=1, keepdims=True)
        return unit


@pytest.fixture(scope="module")
def service(folder: Path) -> Nomic:
    return Nomic(folder)


@pytest.fixture
def server(service: Nomic) -> Iterator[LoopbackServer]:
    with LoopbackServer(service) as server:
        yield server


def hosted(server: LoopbackServer, **changes: Any) -> NomicQueryEncoder:
    return NomicQueryEncoder(**({"api_key": KEY, "base_url": server.url} | changes))


def test_queries_and_passages_equal_those_of_the_local_weights(
    engine: LateChunkEngine, server: LoopbackServer
) -> None:
    served = engine.with_queries(hosted(server))
    np.testing.assert_allclose(
        served.embed_queries(TEXTS), engine.embed_queries(TEXTS), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        served.embed_texts(TEXTS), engine.embed_texts(TEXTS), rtol=0, atol=1e-5
    )
    assert {body["task_type"] for body in server.bodies("/v1/embedding/text")} == {
        "search_query",
        "search_document",
    }


def test_closing_the_engine_closes_its_partner(
    engine: LateChunkEngine, server: LoopbackServer
) -> None:
    before = set(threading.enumerate())
    served = engine.with_queries(hosted(server))
    served.embed_query(TEXTS[0])
    assert any(one.name == "latechunk-http" for one in set(threading.enumerate()) - before)
    served.close()
    assert not any(one.name == "latechunk-http" for one in set(threading.enumerate()) - before)
    assert served.embed_query(TEXTS[0]).shape == (WIDTH,)
    served.close()


@pytest.mark.parametrize("dimensions", [64, 256])
def test_vectors_that_are_cut_equal_those_that_the_engine_cuts(
    folder: Path, server: LoopbackServer, dimensions: int
) -> None:
    """v1.5 goes through a layer norm before it is cut, on both sides."""
    engine = LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", dimensions=dimensions
    )
    served = engine.with_queries(hosted(server, dimensions=dimensions))
    np.testing.assert_allclose(
        served.embed_queries(TEXTS), engine.embed_queries(TEXTS), rtol=0, atol=1e-5
    )


def test_chunks_stay_with_the_local_weights(
    engine: LateChunkEngine, server: LoopbackServer
) -> None:
    served = engine.with_queries(hosted(server))
    n_asked = len(server.asked)
    parent = Parent(TEXTS[0], [Span(0, len(TEXTS[0]))])
    np.testing.assert_array_equal(
        served.embed([parent])[0].vectors, engine.embed([parent])[0].vectors
    )
    assert len(server.asked) == n_asked
    assert served.fingerprint == engine.fingerprint


def test_both_adapters_ask_the_service_for_queries(
    engine: LateChunkEngine, server: LoopbackServer
) -> None:
    served = engine.with_queries(hosted(server))
    expected = engine.embed_query(TEXTS[0])
    for embed_query in (
        LateChunkEmbeddings(engine=served).embed_query,
        LateChunkEmbedding(engine=served).get_query_embedding,
    ):
        server.asked.clear()
        np.testing.assert_allclose(embed_query(TEXTS[0]), expected, atol=1e-5)
        (asked,) = server.asked
        assert asked.body["texts"] == [TEXTS[0]]
        assert asked.body["task_type"] == "search_query"


def test_a_request_is_the_one_that_the_client_itself_sends(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path, body and authorisation, told from the client's own request to the same server."""
    ours = hosted(server, dimensions=256).encode_queries(TEXTS[:1])
    (first,) = server.asked
    monkeypatch.setattr(embed, "atlas_class", _Atlas(server.url))
    theirs = embed.text(TEXTS[:1], task_type="search_query", dimensionality=256)
    second = server.asked[-1]
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
    assert first.http_headers["authorization"] == second.http_headers["authorization"]
    np.testing.assert_allclose(ours, theirs["embeddings"], atol=1e-6)


class _Atlas:
    """The client's session, as it is after a login."""

    def __init__(self, url: str) -> None:
        self.atlas_api_path = url
        self.header = {"Authorization": f"Bearer {KEY}"}


def test_many_texts_go_in_requests_of_ten_and_keep_their_order(
    engine: LateChunkEngine, server: LoopbackServer
) -> None:
    texts = [f"Note {number} of Section {number * 7}." for number in range(25)]
    vectors = hosted(server).encode_documents(texts)
    assert sorted(len(asked.body["texts"]) for asked in server.asked) == [5, 10, 10]
    np.testing.assert_allclose(vectors, engine.embed_texts(texts), atol=1e-5)
    assert hosted(server).encode_documents([]).shape == (0, WIDTH)


@pytest.mark.slow
def test_what_may_pass_is_sent_again(server: LoopbackServer) -> None:
    server.faults = [too_many(), Fault(Answer({}, 503)), Fault(reset=0.5)]
    client = hosted(server)
    assert client.encode_queries(TEXTS[:1]).shape == (1, WIDTH)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (too_many(), RateLimitError),
        (Fault(Answer({"detail": "down"}, 502)), ServerUnavailableError),
        (Fault(delay_seconds=1.0), ServerUnavailableError),
    ],
    ids=["429", "502", "time-out"],
)
def test_a_failure_that_does_not_pass_ends_in_a_typed_error(
    server: LoopbackServer, fault: Fault, error: type[Exception]
) -> None:
    server.always = fault
    start = time.monotonic()
    with pytest.raises(error) as caught:
        hosted(server, timeout_seconds=0.2, max_retries=1).encode_queries(TEXTS[:1])
    assert time.monotonic() - start < 10
    assert len(server.asked) == 2
    assert KEY not in str(caught.value)


def _without_last(body: Any) -> Any:
    return {**body, "embeddings": body["embeddings"][:-1]}


def _narrower(body: Any) -> Any:
    return {**body, "embeddings": [row[:-1] for row in body["embeddings"]]}


def _not_finite(body: Any) -> Any:
    return {**body, "embeddings": [[float("nan")] * WIDTH] * len(body["embeddings"])}


def _other_model(body: Any) -> Any:
    return {**body, "model": "nomic-embed-text-v1"}


def _no_vectors(_: Any) -> Any:
    return {"error": "none"}


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        (_without_last, r"3 vectors of 768 .* shape \(2, 768\)"),
        (_narrower, r"3 vectors of 768 .* shape \(3, 767\)"),
        (_not_finite, "not finite"),
        (_other_model, "answered by 'nomic-embed-text-v1'"),
        (_no_vectors, "not in the documented form"),
    ],
)
def test_a_wrong_answer_is_refused_and_not_asked_for_again(
    server: LoopbackServer, rewrite: Any, message: str
) -> None:
    server.faults = [Fault(rewrite=rewrite)]
    with pytest.raises(ServerAnswerError, match=message):
        hosted(server).encode_queries(TEXTS)
    assert len(server.asked) == 1


def test_a_wrong_key_is_an_error_that_does_not_show_it(server: LoopbackServer) -> None:
    with pytest.raises(AuthenticationError, match="NOMIC_API_KEY") as caught:
        hosted(server, api_key="nk-wrong").encode_queries(TEXTS)
    assert "nk-wrong" not in str(caught.value)


def test_the_key_is_nowhere_to_be_seen(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = hosted(server, api_key=SecretStr(KEY))
    monkeypatch.setenv("NOMIC_API_KEY", KEY)
    with caplog.at_level(logging.DEBUG):
        client.encode_queries(TEXTS[:1])
        twin = pickle.loads(pickle.dumps(client))
    assert KEY not in caplog.text + repr(client) + repr(vars(client)) + repr(client.__dict__)
    assert KEY.encode() not in pickle.dumps(client)
    # A copy finds the key in its own environment.
    for other in (twin, copy.deepcopy(client)):
        np.testing.assert_array_equal(
            other.encode_queries(TEXTS[:1]), client.encode_queries(TEXTS[:1])
        )


def save_login(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """What ``nomic login`` leaves in the user's folder."""
    monkeypatch.delenv("NOMIC_API_KEY", raising=False)
    monkeypatch.setattr(cli, "nomic_base_path", folder)
    login = {"refresh_token": None, "token": KEY, "tenant": "production", "expires": None}
    (folder / "credentials").write_text(json.dumps(login | changes))


def test_the_login_of_the_client_will_do(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_login(tmp_path, monkeypatch)
    monkeypatch.setenv("ATLAS_API_PATH", server.url)
    assert NomicQueryEncoder().encode_queries(TEXTS).shape == (3, WIDTH)


def test_a_copy_in_another_process_finds_the_login_there(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_login(tmp_path, monkeypatch)
    client = NomicQueryEncoder(base_url=server.url)
    content = pickle.dumps(client)
    assert KEY.encode() not in content
    expected = client.encode_queries(TEXTS)
    np.testing.assert_array_equal(pickle.loads(content).encode_queries(TEXTS), expected)
    (tmp_path / "credentials").unlink()
    with pytest.raises(AuthenticationError, match="nomic login"):
        pickle.loads(content)


@pytest.mark.parametrize(
    "content",
    ["[]", "{half", '{"token": null, "tenant": "production"}', '{"token": 5, "tenant": "x"}'],
)
def test_a_login_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    save_login(tmp_path, monkeypatch)
    (tmp_path / "credentials").write_text(content)
    with pytest.raises(AuthenticationError, match="or run `nomic login`"):
        NomicQueryEncoder()


@pytest.mark.parametrize("by", ["argument", "environment"])
@pytest.mark.parametrize(
    "address", ["http://user:pass-word@127.0.0.1:9", "http://127.0.0.1:9/?token=pass-word"]
)
def test_an_address_that_holds_a_secret_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, address: str, by: str
) -> None:
    """Addresses stand in errors, logs and pickles."""
    given = address if by == "argument" else None
    if by == "environment":
        monkeypatch.setenv("ATLAS_API_PATH", address)
    with pytest.raises(OptionError, match="base_url must") as caught:
        NomicQueryEncoder(api_key=KEY, base_url=given)
    assert "pass-word" not in str(caught.value)


def test_one_text_is_no_list_of_texts(server: LoopbackServer) -> None:
    """It would be embedded letter by letter."""
    with pytest.raises(InputTypeError, match=r"pass \[text\]"):
        hosted(server).encode_queries("abc")
    wrong: Any = ["a", 5]
    with pytest.raises(InputTypeError, match="holds int"):
        hosted(server).encode_documents(wrong)
    assert not server.asked


def test_a_login_that_has_expired_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_login(tmp_path, monkeypatch, expires=1, refresh_token="once")
    with pytest.raises(AuthenticationError, match="expired: run `nomic login`"):
        NomicQueryEncoder()


def test_neither_key_nor_login_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOMIC_API_KEY", raising=False)
    monkeypatch.setattr(cli, "nomic_base_path", tmp_path)
    with pytest.raises(AuthenticationError, match="pass api_key=, set NOMIC_API_KEY, or run"):
        NomicQueryEncoder()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nomic-embed-vision-v1.5"}, "is not one of 'nomic-embed-text-v1', "),
        ({"model": "nomic-embed-text-v1", "dimensions": 256}, "has 768 and cannot be cut"),
        ({"dimensions": 63}, "outside of 64 to 768"),
        ({"dimensions": 1_024}, "outside of 64 to 768"),
        ({"inference": "dynamic"}, "is not one of 'hosted', 'local'"),
        ({"dimensions": 100.5}, "must be an integer"),
        ({"base_url": "atlas.example"}, "must look like http://host:port"),
        ({"timeout_seconds": 0}, "more than 0"),
        ({"max_retries": -1}, "at least 0"),
        ({"api_key": 5}, "SecretStr or a str"),
    ],
)
def test_a_wrong_option_is_refused_with_the_valid_values(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        NomicQueryEncoder(**({"api_key": KEY} | changes))


@pytest.mark.parametrize(
    ("engine_options", "partner_options", "message"),
    [
        ({}, {"dimensions": 256}, "dimensions is 768 there and 256 here"),
        ({"document_prompt": ""}, {}, "document_prompt is '' there and 'search_document: ' here"),
        ({"query_prompt": "Q: "}, {}, "query_prompt is 'Q: ' there"),
        ({"normalize": False}, {}, "normalize is False there and True here"),
        (
            {},
            {"model": "nomic-embed-text-v1"},
            "the model is 'nomic-embed-text-v1.5' there and 'nomic-embed-text-v1' here",
        ),
    ],
)
def test_a_partner_that_does_not_fit_the_index_is_refused_unasked(
    folder: Path,
    server: LoopbackServer,
    engine_options: dict[str, Any],
    partner_options: dict[str, Any],
    message: str,
) -> None:
    options = {"dtype": "float32", "device": "cpu"} | engine_options
    engine = LateChunkEngine.from_pretrained(str(folder), **options)
    with pytest.raises(MismatchedQueriesError) as caught:
        engine.with_queries(hosted(server, **partner_options))
    assert message in str(caught.value)
    assert not server.asked


def test_other_weights_behind_the_same_name_are_noticed(
    engine: LateChunkEngine, tmp_path: Path
) -> None:
    with LoopbackServer(Nomic(save_nomic(tmp_path, seed=1))) as server:
        partner = hosted(server)
        with pytest.raises(MismatchedQueriesError, match="a query of both sides has a cosine of"):
            engine.with_queries(partner)


def test_a_text_that_the_service_would_cut_is_an_error_under_strict(
    folder: Path, server: LoopbackServer
) -> None:
    options = {"dtype": "float32", "device": "cpu", "strict": True}
    engine = LateChunkEngine.from_pretrained(str(folder), **options)
    served = engine.with_queries(hosted(server))
    with pytest.raises(ParentTooLongError, match="8192 tokens"):
        served.embed_query("word " * 9_000)


class Embed4All:
    """The local inference that the client calls, with the tiny weights."""

    service: Nomic

    def __init__(self, filename: str, device: str | None = None) -> None:
        self.gpt4all = self
        self.config = {"filename": filename}
        self.device = device

    def embed(self, texts: list[str], **asked: Any) -> dict[str, Any]:
        vectors = self.service.vectors(texts, asked["prefix"], asked["dimensionality"])
        return {"embeddings": vectors.tolist(), "n_prompt_tokens": 1}

    def close(self) -> None:
        """Nothing is held."""


def test_local_inference_goes_through_the_client(
    engine: LateChunkEngine, service: Nomic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "Embed4All", Embed4All)
    monkeypatch.setattr(Embed4All, "service", service, raising=False)
    served = engine.with_queries(NomicQueryEncoder(inference="local"))
    np.testing.assert_allclose(
        served.embed_queries(TEXTS), engine.embed_queries(TEXTS), rtol=0, atol=1e-5
    )
    embed.free_embedding_model()


def test_local_inference_without_gpt4all_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "Embed4All", None)
    with pytest.raises(MissingExtraError, match=r"latechunk-integrations\[nomic-local\]"):
        NomicQueryEncoder(inference="local")
