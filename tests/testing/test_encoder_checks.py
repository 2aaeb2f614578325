"""`check_encoder`: our encoders pass it, and wrong ones fail with the rule that they break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.encoders.base import Reading, TokenBatch, TokenizedTexts
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.testing import ConformanceError, check_encoder
from latechunk_integrations.testing.rules import RULES
from tests.evaluation.word_encoder import WordEncoder
from tests.fakes.llama_cpp import LlamaCppServer
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import api_engine
from tests.fakes.tei import TeiServer
from tests.fakes.vllm import VllmServer
from tests.flow.test_service_flow import WordEncoder as WordService
from tests.tiny_models import FAMILIES, save_tiny_model

pytestmark = pytest.mark.slow  # each runs all checks of an encoder

SERVERS = {"tei": TeiServer, "vllm": VllmServer, "llama.cpp": LlamaCppServer}


def _options(path: Path, **options: Any) -> LateChunkOptions:
    return LateChunkOptions(model=str(path), dtype="float32", device="cpu", **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_local_encoders_conform(family: str, tiny_model_paths: dict[str, Path]) -> None:
    check_encoder(LocalEncoder.load(_options(tiny_model_paths[family])))


@pytest.mark.parametrize("pooling", ["mean", "lasttoken", "cls", "weightedmean"])
def test_every_pooling_conforms(pooling: str, tmp_path: Path) -> None:
    folder = save_tiny_model(
        tmp_path,
        "wordpiece",
        pooling=pooling,
        heads=["dense", "normalize"],
        include_prompt=pooling != "mean",
        prompts={"document": "search_document: ", "query": "query: "},
    )
    check_encoder(LocalEncoder.load(_options(folder, dimensions=None)))


@pytest.mark.parametrize("kind", SERVERS)
def test_encoders_of_servers_conform(kind: str, tiny_model_path: Path) -> None:
    with SERVERS[kind](tiny_model_path) as server:
        engine = LateChunkEngine.from_pretrained(
            str(tiny_model_path), encoder=kind, base_url=server.url
        )
        check_encoder(engine.encoder)


def test_encoders_of_services_conform(api: str, api_server: LoopbackServer) -> None:
    engine = api_engine(api_server, api)
    check_encoder(engine._encoder)  # noqa: SLF001  # there is no public way to it


def test_a_service_made_by_hand_conforms() -> None:
    check_encoder(WordService())


def test_an_encoder_that_drops_the_prompt_is_found() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_encoder(WordEncoder())  # right only because its tests have no prompts
    assert caught.value.rule == "prompt"


class ShiftedOffsets(LocalEncoder):
    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        found = super().tokenize(texts, prompt)
        return TokenizedTexts.of(
            [replace(one, offsets=np.maximum(one.offsets - 1, 0)) for one in found]
        )


class ByteOffsets(LocalEncoder):
    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        found = super().tokenize(texts, prompt)
        return TokenizedTexts.of(
            [
                replace(one, offsets=_in_bytes(one.offsets, text))
                for one, text in zip(found, texts, strict=True)
            ]
        )


def _in_bytes(offsets: NDArray[np.int32], text: str) -> NDArray[np.int32]:
    places = [len(text[:at].encode()) for at in range(len(text) + 1)]
    moved: NDArray[np.int32] = np.array(places, np.int32)[offsets]
    return moved


class WholeOffsets(LocalEncoder):
    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        found = super().tokenize(texts, prompt)
        return TokenizedTexts.of(
            [
                replace(one, offsets=np.full_like(one.offsets, (0, len(text))))
                for one, text in zip(found, texts, strict=True)
            ]
        )


class OffsetsFromThePrompt(LocalEncoder):
    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        found = super().tokenize(texts, prompt)
        return TokenizedTexts.of([replace(one, offsets=one.offsets + len(prompt)) for one in found])


class TokenizesSorted(LocalEncoder):
    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        return super().tokenize(sorted(texts, key=len), prompt)


class PieceByPiece(LocalEncoder):
    def tokenize_pieces(self, text: str, prompt: str) -> Any:
        (whole,) = self.tokenize([text], prompt)
        yield replace(whole, ids=whole.ids[:-1], offsets=whole.offsets[:-1])


class RowsTurned(LocalEncoder):
    def forward(self, *given: Any) -> Any:
        return super().forward(*given).flip(0)


class PaddingLeaks(LocalEncoder):
    def forward(self, *given: Any) -> Any:
        hidden = super().forward(*given)
        return hidden + 0.1 * hidden.mean(dim=1, keepdim=True)  # over what follows the row too


class RowsLeak(LocalEncoder):
    def forward(self, *given: Any) -> Any:
        hidden = super().forward(*given)
        return hidden + 0.01 * hidden[:, :1].mean(dim=0, keepdim=True)


class WithoutPositions(LocalEncoder):
    def forward(self, batch: TokenBatch) -> Any:
        return super().forward(replace(batch, positions=None))


class WithoutFocus(LocalEncoder):
    def forward(self, batch: TokenBatch) -> Any:
        bare = TokenBatch(batch.ids, batch.lengths, batch.positions)
        return super().forward(bare)


class AlwaysFocused(LocalEncoder):
    def forward(self, batch: TokenBatch) -> Any:
        if batch.focus is not None:
            batch = replace(batch, focus=np.full_like(batch.focus, np.inf))
        return super().forward(batch)


class Noisy(LocalEncoder):
    def forward(self, *given: Any) -> Any:
        hidden = super().forward(*given)
        return hidden + 0.01 * hidden.new_empty(hidden.shape).normal_()


class NotANumber(LocalEncoder):
    def forward(self, *given: Any) -> Any:
        return super().forward(*given) * float("nan")


class Narrow(LocalEncoder):
    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        return super().finish(means)[:, :-1]


class Doubles(LocalEncoder):
    def finish(self, means: NDArray[np.float32]) -> Any:
        return super().finish(means).astype(np.float64)


class Centred(LocalEncoder):
    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        found = super().finish(means).copy()
        found -= np.float32(0.5) * found.mean(axis=0)
        return found


class QueriesSorted(LocalEncoder):
    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().encode_queries(sorted(texts))


class NoRows(LocalEncoder):
    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().encode_queries(texts) if texts else np.zeros(0, np.float32)


class NoisyQueries(LocalEncoder):
    n_asked = 0

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.n_asked += 1
        return super().encode_queries(texts) + np.float32(0.01 * self.n_asked)


class HeaderMarks(LocalEncoder):
    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        return np.concatenate([self.lead, super().tokenize_header(header)])


class FinishTurned(LocalEncoder):
    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        return super().finish(means)[np.argsort(means[:, 0])]


class WithoutPrompt(LocalEncoder):
    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().encode_documents([text.upper() + " and more" for text in texts])


class NoPooling(LocalEncoder):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.standalone_pooling: Any = "max"


WRONG: dict[type[LocalEncoder], str] = {
    ShiftedOffsets: "offsets",
    ByteOffsets: "offsets",
    WholeOffsets: "offsets",
    OffsetsFromThePrompt: "prompt",
    TokenizesSorted: "offsets",
    PieceByPiece: "pieces",
    RowsTurned: "order",
    PaddingLeaks: "padding",
    RowsLeak: "padding",
    WithoutPositions: "units",
    WithoutFocus: "units",
    AlwaysFocused: "units",
    Noisy: "determinism",
    NotANumber: "numbers",
    Narrow: "width",
    Doubles: "width",
    Centred: "padding",
    QueriesSorted: "order",
    NoRows: "width",
    NoisyQueries: "determinism",
    HeaderMarks: "members",
    FinishTurned: "order",
    WithoutPrompt: "own vector",
    NoPooling: "members",
}


@pytest.mark.parametrize(("kind", "rule"), WRONG.items(), ids=[kind.__name__ for kind in WRONG])
def test_a_wrong_encoder_fails_with_the_rule_it_breaks(
    kind: type[LocalEncoder], rule: str, tiny_model_path: Path
) -> None:
    encoder = kind.load(_options(tiny_model_path))
    with pytest.raises(ConformanceError) as caught:
        check_encoder(encoder)
    said = str(caught.value)
    assert caught.value.rule == rule, said
    assert said.startswith(f"{kind.__name__}: ")
    assert f"[rule {rule!r}: {RULES[rule]}]" in said


def _without(member: str) -> Any:
    class Lacking:
        """Has all members but one."""

    encoder = WordEncoder()
    for name in dir(encoder):
        if not name.startswith("__") and name != member:
            setattr(Lacking, name, getattr(encoder, name))
    return Lacking()


@pytest.mark.parametrize("member", ["close", "standalone_pooling", "contract", "finish"])
def test_a_lacking_member_is_named(member: str) -> None:
    with pytest.raises(ConformanceError, match=f"it lacks {member};") as caught:
        check_encoder(_without(member))
    assert caught.value.rule == "members"


class ServiceSorted(WordService):
    def vectors(self, elements: Sequence[str]) -> NDArray[np.float32]:
        return super().vectors(elements).astype(np.float32)

    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        given = documents if reading == "chunks" else sorted(documents, key="".join)
        return super().submit(given, reading, parent_id=parent_id)


class ServiceMixes(WordService):
    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        future = super().submit(documents, reading, parent_id=parent_id)
        for vectors in future.result():
            np.add(vectors, len(documents), out=vectors)
        return future


class ServiceDrops(WordService):
    def vectors(self, elements: Sequence[str]) -> NDArray[np.float32]:
        return super().vectors(elements)[1:]


class ServiceUncertain(WordService):
    def count_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        return [(high + 1, high) for _, high in super().count_tokens(texts)]


class ServiceUnlimited(WordService):
    def __init__(self) -> None:
        super().__init__()
        self.limits = replace(self.limits, request_texts=0)


class ServiceForgets(WordService):
    def vectors(self, elements: Sequence[str]) -> NDArray[np.float32]:
        return super().vectors(elements) + np.float32(len(self.sent))


class ServiceDoubles(WordService):
    def vectors(self, elements: Sequence[str]) -> Any:
        return super().vectors(elements).astype(np.float64)


@pytest.mark.parametrize(
    ("make", "rules"),
    [
        (ServiceSorted, {"documents", "order"}),
        (ServiceMixes, {"documents"}),
        (ServiceDrops, {"width"}),
        (ServiceDoubles, {"width"}),
        (ServiceUncertain, {"members"}),
        (ServiceUnlimited, {"members"}),
        (ServiceForgets, {"determinism"}),
    ],
    ids=["sorted", "mixes", "drops", "doubles", "counts", "limits", "forgets"],
)
def test_a_wrong_service_fails_too(make: Callable[[], WordService], rules: set[str]) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_encoder(make())
    assert caught.value.rule in rules
