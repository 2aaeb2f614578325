"""Models behind servers give what the same models give here, or a typed error."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent, Span
from latechunk_integrations.encoders.base import TokenizedText, TokenizedTexts
from latechunk_integrations.encoders.http.client import HttpClient
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.servers.tei import TeiEncoder
from latechunk_integrations.encoders.servers.text_memory import TextMemory
from latechunk_integrations.encoders.servers.token_server import ServerEncoder
from latechunk_integrations.errors import (
    AuthenticationError,
    BrokenAnswerError,
    ContractError,
    MissingExtraError,
    OffsetsError,
    OptionError,
    RateLimitError,
    ServerAnswerError,
    ServerError,
    ServerUnavailableError,
)
from tests import strategies
from tests.fakes.llama_cpp import LlamaCppServer
from tests.fakes.loopback import Answer, Fault, LoopbackServer, too_many
from tests.fakes.tei import TeiServer
from tests.fakes.vllm import VllmServer
from tests.tiny_models import FAMILIES, save_tiny_model

pytestmark = pytest.mark.slow  # hundreds of engines over fake servers

SERVERS: dict[str, Callable[[Path], LoopbackServer]] = {
    "tei": TeiServer,
    "vllm": VllmServer,
    "llama.cpp": LlamaCppServer,
}
MATRICES = {"tei": "/embed_all", "vllm": "/pooling", "llama.cpp": "/embeddings"}
# What servers give token embeddings of.
RUNNING_TEXT: dict[str, Any] = {"layout": "text", "focus": 0.0}
PROMPTS = {"document": "search_document: ", "query": "query: "}
TEXT = (
    "Berlin ist eine Stadt, 東京タワー and the naïve façade 🎉🚀 don't stop-at.\r\n"
    "The supplier delivers   every part within thirty days, unless Section 1.3 says otherwise. "
)


class Placed:
    """A tiny model, here and behind each kind of server."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.servers = {name: stack.enter_context(make(folder)) for name, make in SERVERS.items()}
        self._engines: dict[str, LateChunkEngine] = {}

    def local(self, *, edges: bool = False, **options: Any) -> LateChunkEngine:
        return self._once(f"{edges} {options}", lambda: self._local(edges, options))

    def _local(self, edges: bool, options: dict[str, Any]) -> LateChunkEngine:
        checked = LateChunkOptions(
            model=str(self.folder), dtype="float32", device="cpu", **RUNNING_TEXT, **options
        )
        kind = WithEdges if edges else LocalEncoder
        return LateChunkEngine(kind.load(checked), checked)

    def remote(self, kind: str, **options: Any) -> LateChunkEngine:
        return self._once(f"{kind} {options}", lambda: self._remote(kind, options))

    def _remote(self, kind: str, options: dict[str, Any]) -> LateChunkEngine:
        engine = engine_of(kind, self.servers[kind], self.folder, **options)
        assert isinstance(engine.encoder, ServerEncoder)
        self._stack.callback(engine.encoder.close)
        return engine

    def _once(self, key: str, make: Callable[[], LateChunkEngine]) -> LateChunkEngine:
        if key not in self._engines:
            self._engines[key] = make()
        return self._engines[key]


class WithEdges(LocalEncoder):
    """The local encoder with the windows that a server that takes texts can be given.

    Written anew, token by token: between two words that only a space sets apart, and with the
    prompt's last space on the side of the text.
    """

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        assert isinstance(prompt, str)
        bare = prompt.rstrip()
        gap = prompt[len(bare) :]
        tokenized = super().tokenize([gap + text for text in texts], bare)
        return TokenizedTexts.of(
            [self._placed(one, text, len(gap)) for one, text in zip(tokenized, texts, strict=True)]
        )

    @staticmethod
    def _placed(one: TokenizedText, text: str, n_gap: int) -> TokenizedText:
        offsets = np.maximum(one.offsets - n_gap, 0)
        edges = []
        for i in range(1, len(offsets)):
            (start, end), following = offsets[i - 1].tolist(), int(offsets[i][0])
            between = start < end <= following and text[end : end + 1] == " "
            if between and not text[end - 1].isspace():
                edges.append(i)
        return replace(one, offsets=offsets, edges=np.array(edges, dtype=np.int64))


def engine_of(kind: str, server: LoopbackServer, folder: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        str(folder), encoder=kind, base_url=server.url, **options
    )


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Placed]]:
    with ExitStack() as stack:
        yield {
            family: Placed(
                save_tiny_model(
                    tmp_path_factory.mktemp(family), family, prompts=PROMPTS, heads=["normalize"]
                ),
                stack,
            )
            for family in FAMILIES
        }


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts come without the waits that a real server needs."""
    monkeypatch.setattr(f"{HttpClient.__module__}._LONGEST_WAIT_SECONDS", 0.01)


@pytest.fixture
def wordpiece(placed: dict[str, Placed]) -> Iterator[Placed]:
    yield placed["wordpiece"]
    for server in placed["wordpiece"].servers.values():
        server.faults, server.always = [], None


def parent(text: str, n_chars: int = 20, header: str = "") -> Parent:
    spans = [Span(at, min(at + n_chars, len(text))) for at in range(0, len(text), n_chars)]
    return Parent(text, spans, header=header, id="doc")


def largest_difference(ours: LateChunkEngine, theirs: LateChunkEngine, one: Parent) -> float:
    a, b = ours.embed([one])[0], theirs.embed([one])[0]
    assert a.modes == b.modes
    assert a.n_windows == b.n_windows
    difference: NDArray[np.float32] = np.abs(a.vectors - b.vectors)
    return float(difference.max())


@pytest.mark.rule(1)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
@pytest.mark.parametrize("header", ["", "My title > 東京"])
@pytest.mark.parametrize("n_times", [1, 8], ids=["short", "long"])
def test_a_server_that_takes_ids_gives_the_local_vectors(
    placed: dict[str, Placed], family: str, kind: str, header: str, n_times: int
) -> None:
    one = parent(TEXT * n_times, header=header)
    ours, theirs = placed[family].local(), placed[family].remote(kind)
    assert largest_difference(ours, theirs, one) < 1e-5


@pytest.mark.rule(1)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("header", ["", "My title > 東京"])
@pytest.mark.parametrize("n_times", [1, 8], ids=["short", "long"])
def test_tei_gives_the_vectors_of_its_windows(
    placed: dict[str, Placed], family: str, header: str, n_times: int
) -> None:
    one = parent(TEXT * n_times, header=header)
    ours, theirs = placed[family].local(edges=True), placed[family].remote("tei")
    assert largest_difference(ours, theirs, one) < 1e-5


@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_parent_that_fits_gives_the_local_vectors(
    placed: dict[str, Placed], family: str, kind: str
) -> None:
    ours, theirs = placed[family].local(), placed[family].remote(kind)
    for text in ("Berlin is a city. It is proud of the café.", "a", "東京 🎉", "word\r\nword  x"):
        assert largest_difference(ours, theirs, parent(text, 7)) < 1e-5


@pytest.mark.rule(7)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", SERVERS)
def test_queries_and_standalone_texts_are_what_the_model_gives(
    placed: dict[str, Placed], family: str, kind: str
) -> None:
    ours, theirs = placed[family].local(), placed[family].remote(kind)
    texts = ["Where is Berlin?", "", "東京 🎉", "naïve façade", "a b c"]
    queries = theirs.embed_queries(texts)
    np.testing.assert_allclose(queries, ours.embed_queries(texts), atol=1e-5)
    np.testing.assert_allclose(theirs.embed_texts(texts), ours.embed_texts(texts), atol=1e-5)
    long = [TEXT * 3]
    np.testing.assert_allclose(theirs.embed_texts(long), ours.embed_texts(long), atol=1e-5)
    assert theirs.stats["truncated_texts"] == 1
    assert not len(theirs.embed_queries([]))


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
def test_tei_gives_the_vectors_of_its_windows_for_any_words(
    placed: dict[str, Placed], family: str, data: st.DataObject
) -> None:
    words = st.sampled_from(
        [
            "Berlin",
            "café",
            "東京",
            "🎉",
            "don't",
            "\n",
            "\r\n",
            "x",
            "3.85",
            "[SEP]",
            "ﬁne",
            "e\u0301",
        ]
    )
    text = " ".join(["City", *data.draw(st.lists(words, max_size=60))])
    one = parent(text, data.draw(st.integers(1, 30)), data.draw(st.sampled_from(["", "Title"])))
    ours, theirs = placed[family].local(edges=True), placed[family].remote("tei")
    assert largest_difference(ours, theirs, one) < 1e-5


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
def test_tei_gives_the_local_vectors_of_any_text_that_fits(
    placed: dict[str, Placed], family: str, data: st.DataObject
) -> None:
    text = data.draw(strategies.texts(max_pieces=4))
    one = Parent(text, data.draw(strategies.spans_of(text)), id="doc")
    ours, theirs = placed[family].local(edges=True), placed[family].remote("tei")
    assert largest_difference(ours, theirs, one) < 1e-5


@pytest.mark.parametrize("text", ["\u200b", "\u3000", "\u00a0", "\u200b\u200b", "\u0301"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", SERVERS)
def test_characters_without_a_token_are_what_they_are_here(
    placed: dict[str, Placed], family: str, kind: str, text: str
) -> None:
    ours = placed[family].local(context_weight=0)
    theirs = placed[family].remote(kind, context_weight=0)
    one = Parent(f"Berlin {text} city", [Span(7, 7 + len(text)), Span(0, 6)], id="doc")
    assert largest_difference(ours, theirs, one) < 1e-5
    np.testing.assert_allclose(theirs.embed_texts([text]), ours.embed_texts([text]), atol=1e-5)
    np.testing.assert_allclose(theirs.embed_queries([text]), ours.embed_queries([text]), atol=1e-5)


def test_tei_finds_prompt_and_header_whatever_was_read_since(wordpiece: Placed) -> None:
    with TeiServer(wordpiece.folder) as server:
        engine = engine_of("tei", server, wordpiece.folder)
        encoder = engine.encoder
        assert isinstance(encoder, TeiEncoder)
        encoder.tokenizer.memory = TextMemory(400)
        parents = [parent(f"City {n} is large. " * 8, header="My title") for n in range(6)]
        for one in [parents[0], *parents, parent(TEXT * 8, header="My title")]:
            assert largest_difference(wordpiece.local(edges=True), engine, one) < 1e-5
        twin = LateChunkEngine(pickle.loads(pickle.dumps(encoder)), engine.options)
        assert largest_difference(engine, twin, parents[0]) == 0
        assert not server.bodies("/decode")
        close(twin)
        close(engine)


def test_tei_offsets_may_count_bytes_or_characters(wordpiece: Placed) -> None:
    with TeiServer(wordpiece.folder, offsets_in_bytes=False) as server:
        engine = engine_of("tei", server, wordpiece.folder)
        assert largest_difference(wordpiece.local(edges=True), engine, parent(TEXT * 4)) < 1e-5
        close(engine)


def test_tei_asks_for_no_more_texts_than_the_server_takes(wordpiece: Placed) -> None:
    with TeiServer(wordpiece.folder, max_texts=2) as server:
        engine = engine_of("tei", server, wordpiece.folder)
        engine.embed([parent("Berlin is a city.") for _ in range(5)])
        engine.embed_queries(["a", "b", "c"])
        sizes = [len(body["inputs"]) for body in server.bodies("/tokenize")]
        assert max(sizes) == 2
        n_texts = [len(body["inputs"]) for body in server.bodies("/embed")][-2:]
        assert sorted(n_texts) == [1, 2]  # in flight together, so in any order
        close(engine)


def test_a_window_that_tei_reads_otherwise_is_an_error_and_no_vector(
    placed: dict[str, Placed],
) -> None:
    # One word of many tokens: SentencePiece marks the beginning of any text as that of a word.
    one = Parent("thirtydays" * 20, [Span(0, 200)], id="doc")
    with pytest.raises(ServerAnswerError, match=r"reads a window.*parent 'doc'"):
        placed["unigram"].remote("tei", document_prompt="").embed([one])


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize(
    "fault",
    [
        too_many(),
        Fault(Answer({"error": "Inference failed", "error_type": "backend"}, 424)),
        Fault(Answer({}, 500)),
        Fault(reset=0.5),
        Fault(cut=0.7),
        Fault(delay_seconds=1.5),
    ],
    ids=["429", "424", "500", "reset", "truncated", "timeout"],
)
def test_a_failure_that_passes_changes_no_vector(
    wordpiece: Placed, kind: str, fault: Fault
) -> None:
    engine = wordpiece.remote(kind, timeout_seconds=1.0)
    server, one = wordpiece.servers[kind], parent(TEXT * 4)
    before = engine.embed([one])[0].vectors
    server.faults = [replace(fault, path=MATRICES[kind]) for _ in range(2)]
    np.testing.assert_array_equal(engine.embed([one])[0].vectors, before)
    assert not server.faults


def _rows(kind: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Any]:
    """Alter the token embeddings of an answer, whatever stands around them."""

    def rewrite(body: Any) -> Any:
        if kind == "tei":
            return [change(body[0])]
        if kind == "llama.cpp":
            return [{**body[0], "embedding": change(body[0]["embedding"])}]
        item = body["data"][0]
        n_tokens = body["usage"]["prompt_tokens"]
        matrix = np.frombuffer(_bytes(item["data"]), "<f4").reshape(n_tokens, -1).tolist()
        return {**body, "data": [{**item, "data": change(matrix)}]}

    return rewrite


def _bytes(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


_WRONG: dict[str, Callable[[list[Any]], list[Any]]] = {
    "one too few": lambda rows: rows[:-1],
    "one too many": lambda rows: [*rows, rows[0]],
    "none": lambda rows: [],
    "wider": lambda rows: [[*row, 0.0] for row in rows],
    "one wider": lambda rows: [[*rows[0], 0.0], *rows[1:]],
    "null": lambda rows: [[None, *row[1:]] for row in rows],
    "NaN": lambda rows: [[float("nan"), *row[1:]] for row in rows],
    "infinity": lambda rows: [[float("inf"), *row[1:]] for row in rows],
    "text": lambda rows: [["0.5", *row[1:]] for row in rows],
}


@pytest.mark.rule(6)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("wrong", _WRONG)
def test_a_wrong_answer_is_an_error_that_names_parent_and_request(
    wordpiece: Placed, kind: str, wrong: str
) -> None:
    engine = wordpiece.remote(kind, max_retries=0)
    server = wordpiece.servers[kind]
    server.faults = [Fault(path=MATRICES[kind], rewrite=_rows(kind, _WRONG[wrong]))]
    with pytest.raises(ServerAnswerError) as caught:
        engine.embed([parent("Berlin is a city.")])
    assert not server.faults
    assert caught.value.parent_id == "doc"
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)


@pytest.mark.rule(6)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (too_many(), RateLimitError),
        (Fault(Answer({}, 503)), ServerUnavailableError),
        (Fault(reset=0.5), ServerUnavailableError),
        (Fault(cut=0.7), BrokenAnswerError),
        (Fault(Answer({"error": "no"}, 401)), AuthenticationError),
        (Fault(Answer([])), ServerAnswerError),
        (Fault(Answer({})), ServerAnswerError),
        (Fault(Answer([[[]], [[]]])), ServerAnswerError),
    ],
    ids=["429", "503", "reset", "truncated", "401", "list", "object", "two"],
)
def test_a_failure_that_stays_names_the_parent_among_several(
    wordpiece: Placed, kind: str, fault: Fault, error: type[ServerError]
) -> None:
    engine = wordpiece.remote(kind, max_retries=0, max_concurrency=1)
    texts = [f"Berlin is city {'x ' * n}" for n in (2, 9, 5)]  # the longest goes first
    parents = [Parent(text, [Span(0, 6)], id=text) for text in texts]
    wordpiece.servers[kind].always = replace(fault, path=MATRICES[kind])
    with pytest.raises(error) as caught:
        engine.embed(parents)
    assert caught.value.parent_id == texts[1]


def test_a_failure_while_a_window_is_checked_names_its_parent(wordpiece: Placed) -> None:
    broken = Fault(path="/tokenize", rewrite=lambda body: body[:-1])
    texts = [f"Berlin is city {'x ' * n}" for n in (2, 9, 5)]  # the longest goes first
    parents = [Parent(text, [Span(0, 6)], id=text) for text in texts]
    with TeiServer(wordpiece.folder, max_texts=1) as server:
        engine = engine_of("tei", server, wordpiece.folder, max_retries=0, max_concurrency=1)
        # Three requests read the texts; of those that ask for windows, the second breaks.
        server.faults = [*[replace(broken, rewrite=None)] * 4, broken]
        with pytest.raises(ServerAnswerError) as caught:
            engine.embed(parents)
        assert not server.faults
        close(engine)
    assert caught.value.parent_id == texts[2]


@pytest.mark.parametrize("path", ["/tokenize", "/embed"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(rewrite=lambda body: body[:-1]),
        Fault(rewrite=lambda body: [*body, body[0]]),
        Fault(rewrite=lambda body: {}),
        Fault(rewrite=lambda body: [None for _ in body]),
        Fault(cut=0.5),
    ],
    ids=["few", "many", "object", "null", "truncated"],
)
def test_wrong_tokens_and_vectors_of_tei_are_errors(
    wordpiece: Placed, path: str, fault: Fault
) -> None:
    engine = wordpiece.remote("tei", max_retries=0)
    wordpiece.servers["tei"].faults = [replace(fault, path=path)]
    parents = [parent("Berlin is a city."), parent("Paris")]
    ask: dict[str, Callable[[], Any]] = {
        "/embed": lambda: engine.embed_queries(["Where?", "Who?"]),
        "/tokenize": lambda: engine.embed(parents),
    }
    with pytest.raises(ServerAnswerError) as caught:
        ask[path]()
    assert path == "/embed" or caught.value.parent_id == "doc"


def test_offsets_outside_of_the_text_are_an_error(wordpiece: Placed) -> None:
    def far(body: Any) -> Any:
        return [[{**token, "stop": 10_000} for token in tokens] for tokens in body]

    engine = wordpiece.remote("tei")
    wordpiece.servers["tei"].faults = [Fault(path="/tokenize", rewrite=far)]
    with pytest.raises(OffsetsError):
        engine.embed([parent("Berlin – a city.")])


@pytest.mark.rule(6)
@pytest.mark.parametrize("kind", SERVERS)
def test_answers_out_of_order_change_no_vector(wordpiece: Placed, kind: str) -> None:
    engine, server = wordpiece.remote(kind, max_concurrency=4), wordpiece.servers[kind]
    parents = [parent(f"City {n} of many. " * (n + 1)) for n in range(8)]
    before = [one.vectors for one in engine.embed(parents)]
    server.faults = [
        Fault(path=MATRICES[kind], delay_seconds=seconds) for seconds in (0.2, 0.0, 0.1, 0.0, 0.1)
    ]
    after = [one.vectors for one in engine.embed(parents)]
    assert server.most_at_once > 1
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("heads", [["dense"], ["dense", "normalize"]], ids="-".join)
def test_heads_are_applied_to_chunks_here(
    tmp_path: Path, kind: str, heads: list[Literal["dense", "normalize"]]
) -> None:
    folder = save_tiny_model(tmp_path, "wordpiece", heads=heads)
    local = LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", **RUNNING_TEXT
    )
    with SERVERS[kind](folder) as server:
        engine = engine_of(kind, server, folder)
        assert engine.dimensions == local.dimensions == 24
        assert largest_difference(local, engine, parent("Berlin is a city.")) < 1e-5
        for embed in ("embed_queries", "embed_texts"):
            wanted = getattr(local, embed)(["Where is it?", "Who"])
            np.testing.assert_allclose(
                getattr(engine, embed)(["Where is it?", "Who"]), wanted, atol=1e-5
            )
        close(engine)


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", SERVERS)
def test_heads_of_other_files_than_the_servers_are_told(tmp_path: Path, kind: str) -> None:
    folder = save_tiny_model(tmp_path, "wordpiece", heads=["dense"])
    with SERVERS[kind](folder) as server:
        before = engine_of(kind, server, folder)
        file = folder / "2_Dense" / "model.safetensors"
        save_file({name: -2 * one for name, one in load_file(file).items()}, file)
        if kind == "tei":  # the others give nothing to compare with
            with pytest.raises(ContractError, match="encoder='local'"):
                engine_of(kind, server, folder)
        else:
            after = engine_of(kind, server, folder)
            assert after.fingerprint != before.fingerprint
            close(after)
        file.unlink()
        with pytest.raises(ContractError, match=r"2_Dense/model\.safetensors"):
            engine_of(kind, server, folder)
        close(before)


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("mode", ["lasttoken", "cls"])
def test_the_pooling_of_the_model_is_honoured(
    tmp_path: Path, kind: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny_model(tmp_path, "wordpiece", pooling=mode)
    with SERVERS[kind](folder) as server:
        engine = engine_of(kind, server, folder, context_weight=0.4)
        close(engine_of(kind, server, folder))
        assert caplog.text.count("CLS pooling, and") == (mode == "cls")  # once
        local = LateChunkEngine.from_pretrained(
            str(folder), dtype="float32", device="cpu", **RUNNING_TEXT, context_weight=0.4
        )
        # The standalone side of the blend keeps the model's own pooling.
        assert largest_difference(local, engine, parent("Berlin is a city.")) < 1e-5
        queries = ["Where is it?", "Who"]
        np.testing.assert_allclose(
            engine.embed_queries(queries), local.embed_queries(queries), atol=1e-5
        )
        close(engine)


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
@pytest.mark.parametrize("mode", ["mean", "weightedmean"])
def test_a_prompt_that_is_not_pooled_stays_out(tmp_path: Path, kind: str, mode: str) -> None:
    folder = save_tiny_model(
        tmp_path, "wordpiece", prompts=PROMPTS, include_prompt=False, pooling=mode
    )
    local = LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", **RUNNING_TEXT
    )
    with SERVERS[kind](folder) as server:
        engine = engine_of(kind, server, folder)
        assert largest_difference(local, engine, parent("Berlin is a city.")) < 1e-5
        queries = ["Where is it?"]
        np.testing.assert_allclose(
            engine.embed_queries(queries), local.embed_queries(queries), atol=1e-5
        )
        close(engine)


def _named(folder: Path, name: str, **options: Any) -> Path:
    """A model in a folder that is called as a known one, whose card is then found."""
    return save_tiny_model(folder, "wordpiece", **options).rename(folder / name)


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize(
    ("name", "stated", "expected"),
    [
        ("e5-small-v2", {}, ("passage: ", "query: ")),
        ("e5-small-v2", {"document": "", "query": ""}, ("passage: ", "query: ")),
        ("nomic-embed-text-v1", {}, ("search_document: ", "search_query: ")),
        ("e5-small-v2", {"query": "ask: "}, ("", "ask: ")),
        ("other", {"document": "", "passage": "passage: "}, ("passage: ", "")),
        ("other", {}, ("", "")),
    ],
    ids=str,
)
def test_prompts_at_servers_are_those_of_the_local_model(
    tmp_path: Path, kind: str, name: str, stated: dict[str, str], expected: tuple[str, str]
) -> None:
    folder = _named(tmp_path, name, prompts=stated)
    local = LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", **RUNNING_TEXT
    )
    with SERVERS[kind](folder) as server:
        engine = engine_of(kind, server, folder)
        encoder = engine.encoder
        assert isinstance(encoder, ServerEncoder)
        assert (encoder.document_prompt, encoder.query_prompt) == expected
        assert largest_difference(local, engine, parent("Berlin is a city.")) < 1e-5
        texts = ["Where is it?"]
        np.testing.assert_allclose(
            engine.embed_queries(texts), local.embed_queries(texts), atol=1e-5
        )
        close(engine)


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", SERVERS)
def test_what_a_server_gives_is_cut_as_the_model_was_trained_for_it(
    tmp_path: Path, kind: str
) -> None:
    folder = _named(tmp_path, "nomic-embed-text-v1.5", width=128)
    options: dict[str, Any] = {"dimensions": 64, "context_weight": 0.5}
    local = LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", **RUNNING_TEXT, **options
    )
    with SERVERS[kind](folder) as server:
        engine = engine_of(kind, server, folder, **options)
        assert largest_difference(local, engine, parent("Berlin is a city.")) < 1e-5
        for embed, here in (
            (engine.embed_queries, local.embed_queries),
            (engine.embed_texts, local.embed_texts),
        ):
            np.testing.assert_allclose(embed(["Where is it?"]), here(["Where is it?"]), atol=1e-5)
        close(engine)
        with pytest.raises(OptionError, match="trained for 64, 128"):
            engine_of(kind, server, folder, dimensions=65)


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_the_card_is_found_by_the_name_of_the_tokenizer(tmp_path: Path, kind: str) -> None:
    folder = _named(tmp_path, "e5-small-v2")
    with SERVERS[kind](folder) as server:
        engine = engine_of(kind, server, folder, tokenizer=str(folder))
        assert engine.encoder.document_prompt == "passage: "
        close(engine)


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_files_that_lack_modules_are_said_once_and_half_of_them_refused(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny_model(tmp_path / "whole", "wordpiece", prompts=PROMPTS, pooling="cls")
    bare, half = tmp_path / "bare", tmp_path / "half"
    for copied in (bare, half):
        shutil.copytree(folder, copied)
    (bare / "modules.json").unlink()
    (half / "1_Pooling" / "config.json").unlink()
    with SERVERS[kind](folder) as server:
        for _ in range(2):
            close(engine_of(kind, server, folder, tokenizer=str(bare)))
        assert caplog.text.count("1_Pooling") == 1
        with pytest.raises(ContractError, match=r"1_Pooling/config\.json"):
            engine_of(kind, server, folder, tokenizer=str(half))


def test_servers_are_refused_whose_late_vectors_would_be_wrong(wordpiece: Placed) -> None:
    folder = wordpiece.folder
    for server, kind, why in [
        (TeiServer(folder, default_prompt="passage: "), "tei", "default-prompt"),
        (TeiServer(folder, model_type={"classifier": {"id2label": {}}}), "tei", "classifier"),
        (TeiServer(folder, model_type={"embedding": {"pooling": "splade"}}), "tei", "splade"),
        (VllmServer(folder, knows_activation=False), "vllm", "unit length"),
        (LlamaCppServer(folder, pooling="mean"), "llama.cpp", "--pooling none"),
    ]:
        with server, pytest.raises(ContractError, match=why):
            engine_of(kind, server, folder)


def test_another_model_than_the_servers_is_refused(
    placed: dict[str, Placed], wordpiece: Placed
) -> None:
    for kind in ("tei", "vllm"):
        with pytest.raises(OptionError, match="other"):
            LateChunkEngine.from_pretrained(
                "other", encoder=kind, base_url=wordpiece.servers[kind].url
            )
    files = str(placed["byte_bpe"].folder)
    for kind in ("vllm", "llama.cpp"):
        with pytest.raises(ContractError, match="tokenizer="):
            engine_of(kind, wordpiece.servers[kind], wordpiece.folder, tokenizer=files)


def test_a_physical_batch_shorter_than_a_window_is_refused_when_loaded(wordpiece: Placed) -> None:
    with LlamaCppServer(wordpiece.folder, batch=40) as server:
        with pytest.raises(OptionError, match=r"-ub 64.*max_tokens=40"):
            engine_of("llama.cpp", server, wordpiece.folder)
        # Sending it again would not help: it is said at once.
        assert sum(one.path == "/embeddings" for one in server.asked) <= 2
        engine = engine_of("llama.cpp", server, wordpiece.folder, max_tokens=40)
        one = parent(TEXT * 3)
        assert largest_difference(wordpiece.local(max_tokens=40), engine, one) < 1e-5
        close(engine)


def test_a_tokenizer_elsewhere_stands_in_for_the_models_name(wordpiece: Placed) -> None:
    server = wordpiece.servers["llama.cpp"]
    engine = LateChunkEngine.from_pretrained(
        "tiny.gguf", encoder="llama.cpp", base_url=server.url, tokenizer=str(wordpiece.folder)
    )
    assert largest_difference(wordpiece.local(), engine, parent("Berlin")) < 1e-5
    close(engine)


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cpu"},
        {"dtype": "float16"},
        {"trust_remote_code": True},
        {"document_lora": "retrieval"},
        {"query_lora": "retrieval"},
        {"max_tokens": 65},
        {"dimensions": 33},
        {"base_url": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", SERVERS)
def test_an_option_that_the_server_cannot_honour_is_refused(
    wordpiece: Placed, kind: str, options: dict[str, Any]
) -> None:
    given = {"base_url": wordpiece.servers[kind].url, **options}
    with pytest.raises(OptionError, match=next(iter(options))):
        LateChunkEngine.from_pretrained(str(wordpiece.folder), encoder=kind, **given)


def test_a_tokenizer_for_tei_which_reads_texts_itself_is_refused(wordpiece: Placed) -> None:
    with pytest.raises(OptionError, match="tokenizer"):
        wordpiece.remote("tei", tokenizer=str(wordpiece.folder))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_revision_stands_in_the_fingerprint(wordpiece: Placed, kind: str) -> None:
    prints = {wordpiece.remote(kind, revision=one).fingerprint for one in (None, "a", "b")}
    assert len(prints) == 3


@pytest.mark.parametrize("kind", SERVERS)
def test_matryoshka_dimensions_are_cut_here(wordpiece: Placed, kind: str) -> None:
    ours, theirs = wordpiece.local(dimensions=8), wordpiece.remote(kind, dimensions=8)
    assert theirs.dimensions == 8
    assert largest_difference(ours, theirs, parent("Berlin is a city.")) < 1e-5


@pytest.mark.parametrize("server_class", [TeiServer, VllmServer])
def test_a_key_opens_the_server_and_goes_nowhere_else(
    wordpiece: Placed, server_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {TeiServer: "tei", VllmServer: "vllm"}[server_class]
    with server_class(wordpiece.folder, api_key="very-secret") as server:
        with pytest.raises(AuthenticationError, match=f"{kind.upper()}_API_KEY"):
            engine_of(kind, server, wordpiece.folder, api_key="wrong", max_retries=0)
        engine = engine_of(kind, server, wordpiece.folder, api_key="very-secret")
        assert isinstance(engine.encoder, ServerEncoder)
        wanted = engine.embed_query("Where?")
        assert "very-secret" not in f"{engine.options!r} {engine.options.to_dict()}"
        assert b"very-secret" not in pickle.dumps((engine.options, engine.encoder))
        monkeypatch.setenv(f"{kind.upper()}_API_KEY", "very-secret")
        twin = pickle.loads(pickle.dumps(engine.encoder))
        np.testing.assert_array_equal(
            LateChunkEngine(twin, engine.options).embed_query("Where?"), wanted
        )
        assert copy.deepcopy(engine.options).api_key == engine.options.api_key
        twin.close()
        engine.encoder.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_fingerprints_tell_models_apart_and_not_addresses(
    placed: dict[str, Placed], kind: str
) -> None:
    one = placed["wordpiece"]
    with SERVERS[kind](one.folder) as server:
        twin = engine_of(kind, server, one.folder, max_retries=1)
        assert twin.fingerprint == one.remote(kind).fingerprint
        close(twin)
    assert placed["byte_bpe"].remote(kind).fingerprint != one.remote(kind).fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_prompts_has_none_at_the_server(tmp_path: Path, family: Any) -> None:
    folder = save_tiny_model(tmp_path, family)
    for kind, serve in SERVERS.items():
        with serve(folder) as server:
            encoder = engine_of(kind, server, folder).encoder
            assert isinstance(encoder, ServerEncoder)
            assert (encoder.document_prompt, encoder.query_prompt) == ("", "")
            encoder.close()


def test_tei_finds_the_models_prompts_at_the_server(placed: dict[str, Placed]) -> None:
    for family in FAMILIES:
        encoder = placed[family].remote("tei").encoder
        assert isinstance(encoder, TeiEncoder)
        assert (encoder.document_prompt, encoder.query_prompt) == tuple(PROMPTS.values())
    own = placed["wordpiece"].remote("tei", document_prompt="", query_prompt="ask: ").encoder
    assert isinstance(own, TeiEncoder)
    assert (own.document_prompt, own.query_prompt) == ("", "ask: ")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_prompt_with_a_title_slot_takes_the_header_where_ids_are_sent(
    kind: str, wordpiece: Placed
) -> None:
    """A server that takes texts reads the header after the prompt, and never pools it."""
    prompt = "title: {title} text: "
    owner = Parent(TEXT, [Span(0, 20), Span(20, 60)], header="Heading path")
    remote = wordpiece.remote(kind, document_prompt=prompt)
    if kind == "tei":
        assert remote.encoder.title_slot is None
        same = wordpiece.local(edges=True, document_prompt="title:  text: ")
    else:
        same = wordpiece.local(document_prompt=prompt)
    assert largest_difference(same, remote, owner) < 1e-5


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, wordpiece: Placed) -> None:
    import sys

    for name in [one for one in sys.modules if one.startswith("latechunk_integrations.encoders.")]:
        if name.rsplit(".", 1)[-1] in ("client", "vllm", "id_server", "token_server"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"\[servers\]"):
        engine_of("vllm", wordpiece.servers["vllm"], wordpiece.folder)


def close(engine: LateChunkEngine) -> None:
    assert isinstance(engine.encoder, ServerEncoder)
    engine.encoder.close()
