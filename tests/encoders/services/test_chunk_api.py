"""What all hosted APIs must survive: a right result or a typed error, never a shifted vector."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.encoders.registry import load_encoder
from latechunk_integrations.encoders.services.chunk_api import ChunkApiEncoder
from latechunk_integrations.errors import (
    AuthenticationError,
    EmptyTextError,
    ModelLoadError,
    OptionError,
    ParentTooLongError,
    RateLimitError,
    RequestRefusedError,
    ServerAnswerError,
    ServerError,
    ServerUnavailableError,
)
from tests.fakes.chunk_services import KEY, TinyReader
from tests.fakes.loopback import Answer, Fault, LoopbackServer, too_many
from tests.fakes.support import api_engine, service_of, serving

TEXT = "The supplier delivers every part. Berlin is the capital of Germany. It is proud."
PARENTS = [
    Parent(TEXT.replace("Berlin", name), [(0, 33), (34, 67), (68, 80)], id=name)
    for name in ("Berlin", "Munich")
]
WIDTH = 32


def _vectors(engine: LateChunkEngine) -> np.ndarray[Any, Any]:
    return np.concatenate([result.vectors for result in engine.embed(PARENTS)])


@pytest.mark.parametrize(
    "fault",
    [
        too_many(),
        Fault(Answer({"detail": "overloaded"}, 503)),
        Fault(reset=0.0),
        Fault(reset=0.5),
        Fault(cut=0.5),
        pytest.param(Fault(delay_seconds=1.5), marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_a_failure_that_passes_changes_no_vector(
    api_server: LoopbackServer, api: str, fault: Fault
) -> None:
    engine = api_engine(api_server, api, timeout_seconds=1.0)
    right = _vectors(engine)
    n_asked = len(api_server.asked)
    api_server.faults = [fault, fault]
    assert np.array_equal(_vectors(engine), right)
    assert len(api_server.asked) == 2 * n_asked + 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (too_many(), RateLimitError),
        (Fault(Answer({"detail": "down"}, 500)), ServerUnavailableError),
        (Fault(reset=0.5), ServerUnavailableError),
        (Fault(cut=0.5), ServerAnswerError),
    ],
    ids=["429 storm", "500", "resets", "cut answers"],
)
def test_a_failure_that_stays_names_parent_and_request(
    api_server: LoopbackServer, api: str, fault: Fault, error: type[ServerError]
) -> None:
    engine = api_engine(api_server, api, max_retries=2)
    api_server.always = fault
    with pytest.raises(error) as caught:
        engine.embed(PARENTS)
    assert caught.value.parent_id is not None
    assert "Berlin" in caught.value.parent_id
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)
    api_server.always = None
    assert len(engine.embed(PARENTS)) == 2


def _items(body: Any) -> list[dict[str, Any]]:
    """The vectors of the first document of an answer."""
    items: list[dict[str, Any]] = body["data"]
    if "embedding" not in items[0]:
        items = items[0]["data"]
    return items


def _drop(body: Any) -> Any:
    _items(body).pop()
    return body


def _repeat(body: Any) -> Any:
    items = _items(body)
    items[-1]["index"] = 0 if len(items) > 1 else 1
    return body


def _narrow(body: Any) -> Any:
    item = _items(body)[0]
    if isinstance(item["embedding"], str):
        short = base64.b64decode(item["embedding"])[:-4]
        item["embedding"] = base64.b64encode(short).decode()
    else:
        item["embedding"].pop()
    return body


def _no_number(body: Any) -> Any:
    item = _items(body)[0]
    if isinstance(item["embedding"], str):
        nan = np.full(WIDTH, np.nan, "<f4").tobytes()
        is_float = len(base64.b64decode(item["embedding"])) == len(nan)
        item["embedding"] = base64.b64encode(nan).decode() if is_float else "no base64!"
    else:
        item["embedding"][3] = float("nan")
    return body


def _null(body: Any) -> Any:
    _items(body)[0]["embedding"] = None
    return body


@pytest.mark.parametrize(
    "rewrite",
    [_drop, _repeat, _narrow, _no_number, _null, lambda _: [], lambda _: {"data": None}],
    ids=["too few", "index twice", "width", "no number", "null", "a list", "no data"],
)
def test_a_wrong_answer_is_an_error_and_no_vector(
    api_server: LoopbackServer, api: str, rewrite: Callable[[Any], Any]
) -> None:
    """Rule 6: one vector per chunk."""
    engine = api_engine(api_server, api)
    api_server.always = Fault(rewrite=rewrite)
    with pytest.raises(ServerAnswerError) as caught:
        engine.embed(PARENTS)
    assert caught.value.parent_id is not None
    assert caught.value.request_id
    with pytest.raises(ServerAnswerError):
        engine.embed_queries(["where", "what"])


def test_a_service_that_finds_everything_too_long_is_not_asked_for_ever(
    api_server: LoopbackServer, api: str
) -> None:
    engine = api_engine(api_server, api)
    said = {"detail": "Input text exceeds maximum length of 0 tokens"}
    api_server.always = Fault(Answer(said, 400))
    with pytest.raises(ParentTooLongError, match="maximum length of 0 tokens") as caught:
        engine.embed([PARENTS[0]])
    assert caught.value.parent_id == "Berlin"
    assert len(api_server.asked) < 20
    api_server.always = Fault(Answer({"detail": "no such model"}, 400))
    with pytest.raises(RequestRefusedError, match="no such model"):
        engine.embed(PARENTS)


def test_a_document_that_is_missing_is_an_error(reader: TinyReader) -> None:
    def without_last(body: Any) -> Any:
        return {**body, "data": body["data"][:-1]}

    with serving(service_of("voyage", reader)) as api_server:
        api_server.always = Fault(rewrite=without_last)
        with pytest.raises(ServerAnswerError, match="Berlin, Munich"):
            api_engine(api_server, "voyage").embed(PARENTS)


@pytest.mark.rule(6)
def test_vectors_and_documents_that_come_shuffled_are_put_in_order(
    api_server: LoopbackServer, api: str
) -> None:
    def shuffled(body: Any) -> Any:
        data = [
            {**item, "data": item["data"][::-1]} if "data" in item else item
            for item in body["data"]
        ]
        return {**body, "data": data[::-1]}

    engine = api_engine(api_server, api)
    right = _vectors(engine)
    api_server.always = Fault(rewrite=shuffled)
    assert np.array_equal(_vectors(engine), right)


@pytest.mark.rule(6)
def test_a_slow_answer_holds_its_place_in_the_stream(api_server: LoopbackServer, api: str) -> None:
    limits = {"request_documents": 1}
    engine = api_engine(api_server, api, limits=limits, max_concurrency=3)
    right = np.concatenate([result.vectors for result in engine.embed(PARENTS * 5)])
    api_server.faults = [Fault(delay_seconds=0.3), Fault(), Fault(delay_seconds=0.1)]
    results = list(engine.embed_iter(PARENTS * 5))
    assert [result.parent_id for result in results] == ["Berlin", "Munich"] * 5
    assert np.array_equal(np.concatenate([result.vectors for result in results]), right)
    assert 2 <= api_server.most_at_once <= 3


def test_few_parents_are_read_ahead_of_the_stream(api_server: LoopbackServer, api: str) -> None:
    taken = 0

    def endless() -> Iterator[Parent]:
        nonlocal taken
        while True:
            taken += 1
            yield Parent(TEXT, [(0, 33)], id=str(taken))

    limits = {"request_documents": 2}
    stream = api_engine(api_server, api, limits=limits, max_concurrency=2).embed_iter(endless())
    for number in range(1, 4):
        assert next(stream).parent_id == str(number)
    del stream
    assert taken < 20


def test_the_key_shows_nowhere(
    api_server: LoopbackServer, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = api_engine(api_server, api)
    api_server.faults = [too_many()]
    engine.embed(PARENTS)
    assert api_server.asked[0].http_headers["authorization"] == f"Bearer {KEY}"
    loaded = engine._encoder  # noqa: SLF001  # repr and pickle of what holds the key
    assert isinstance(loaded, ChunkApiEncoder)
    written = [
        *(repr(one) for one in (engine.options, loaded, vars(loaded), loaded.client.settings)),
        json.dumps(engine.options.to_dict()),
        engine.fingerprint,
        repr(pickle.dumps(engine.options)),
        repr(pickle.dumps(loaded.client)),
        repr(copy.copy(engine.options)),
        caplog.text,
    ]
    assert not any(KEY in text for text in written)
    api_server.always = Fault(Answer({"detail": f"no such key: {KEY}"}, 401))
    with pytest.raises(AuthenticationError) as caught:
        engine.embed(PARENTS)
    assert KEY not in str(caught.value)


def test_the_hosted_service_wants_a_key_and_finds_it_in_the_environment(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LateChunkOptions(model="m", encoder=api, dimensions=8, max_tokens=64)
    variable = f"{api.upper()}_API_KEY"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(AuthenticationError, match=variable):
        load_encoder(options)
    monkeypatch.setenv(variable, KEY)
    loaded = load_encoder(options)
    assert isinstance(loaded, ChunkApiEncoder)
    assert loaded.client.settings.base_url == loaded.service.address


def test_tokens_are_counted_whatever_a_tokenizer_cuts_or_fills_up(
    api_server: LoopbackServer, api: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model_path / "tokenizer.json"))
    texts = ["one", "one supplier delivers every part within thirty days"]
    wanted = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = api_engine(api_server, api, tokenizer=str(tmp_path))._encoder  # noqa: SLF001  # there is no public way to it
    assert isinstance(loaded, ChunkApiEncoder)
    assert loaded.count_tokens(texts) == [(n, n) for n in wanted]
    assert wanted[1] > 4


def test_an_answer_is_counted_as_it_is_billed(api_server: LoopbackServer, api: str) -> None:
    engine = api_engine(api_server, api)
    engine.embed(PARENTS)
    stats = engine.stats
    assert stats["requests"] == len(api_server.asked)
    assert stats["tokens"] > 0
    assert (stats["parents"], stats["chunks"]) == (2, 6)


def test_a_closed_engine_opens_again(api_server: LoopbackServer, api: str) -> None:
    engine = api_engine(api_server, api)
    right = _vectors(engine)
    engine.close()
    assert np.array_equal(_vectors(engine), right)
    assert api_server.n_connections >= 2


def test_the_same_model_and_options_have_one_fingerprint(
    api_server: LoopbackServer, api: str
) -> None:
    first, second = api_engine(api_server, api), api_engine(api_server, api, max_retries=0)
    assert first.fingerprint == second.fingerprint
    assert api_engine(api_server, api, model="other").fingerprint != first.fingerprint
    assert api_engine(api_server, api, max_tokens=100).fingerprint != first.fingerprint


def test_it_is_described_by_its_limits(api_server: LoopbackServer, api: str) -> None:
    engine = api_engine(api_server, api, max_tokens=100)
    description = engine.describe()
    assert (description.contract, description.encoder) == (None, api)
    assert (description.use.max_tokens, description.use.dimensions) == (100, WIDTH)
    assert description.use.document_prompt is None
    assert description.limits is not None
    assert json.loads(json.dumps(description.to_dict()))["limits"]["document_tokens"] == 100
    first, *rows = str(description).splitlines()
    assert first == f"{engine.options.model} through {api}"
    shown = [row.split() for row in rows]
    assert ["document", "tokens", "100"] in shown
    assert ["dimensions", str(WIDTH)] in shown
    assert not [row for row in shown if "prompt" in row]


def test_empty_texts_and_unknown_tokenizers_are_typed_errors(
    api_server: LoopbackServer, api: str
) -> None:
    engine = api_engine(api_server, api)
    for embed in (engine.embed_texts, engine.embed_queries):
        with pytest.raises(EmptyTextError, match="1 is empty"):
            embed(["some", " "])
        assert embed([]).shape == (0, WIDTH)
    with pytest.raises(ModelLoadError, match="tokenizer"):
        api_engine(api_server, api, tokenizer="/no/such/folder")


@pytest.mark.parametrize("option", ["document_lora", "query_lora", "pooling"])
def test_an_option_that_a_service_would_ignore_is_refused(
    api_server: LoopbackServer, api: str, option: str
) -> None:
    given: dict[str, Any] = {option: "mean"}
    with pytest.raises(OptionError, match=option):
        api_engine(api_server, api, **given)


@pytest.mark.parametrize("status", [402, 404])
def test_a_refusal_that_speaks_of_tokens_is_not_always_about_too_many(
    api_server: LoopbackServer, api: str, status: int
) -> None:
    engine = api_engine(api_server, api)
    said = {"detail": "your balance of tokens does not exceed the limit of this model"}
    api_server.always = Fault(Answer(said, status))
    with pytest.raises(RequestRefusedError, match=f"answered {status}"):
        engine.embed(PARENTS)
    assert len(api_server.asked) <= 2
