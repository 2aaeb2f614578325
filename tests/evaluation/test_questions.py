"""Proposed questions have quotes that are in the text, and a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from llama_index.core.llms import MockLLM
from typer.testing import CliRunner

from latechunk_integrations.cli import app
from latechunk_integrations.errors import GoldenSetError, InputTypeError
from latechunk_integrations.evaluation.chat_api import open_chat
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, read_documents
from latechunk_integrations.evaluation.questions import (
    append_questions,
    ask_model,
    is_copied,
    propose,
    propose_from_text,
    read_done,
)
from tests.fakes.loopback import Answer, Asked, LoopbackServer

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "samples"
TEXT = 'The fee is ten euros a month. "Seat" means the town where the company is registered.'
DOCUMENTS = [GoldenDocument("a.md", TEXT, "Contract"), GoldenDocument("b.md", "A tower in Tokyo.")]


def _answer(*pairs: tuple[str, str]) -> str:
    listed = [{"question": question, "quote": quote} for question, quote in pairs]
    return f"Here you are:\n```json\n{json.dumps(listed)}\n```"


def test_only_quotes_that_are_in_the_text_are_kept_and_nothing_that_copies_them() -> None:
    answer = _answer(
        ("What does it cost?", "ten  euros a month"),
        ("Who pays?", "the customer pays"),
        ("The fee is ten euros a month?", "The fee is ten euros a month"),
        ("", "ten euros"),
    )
    made = list(propose(DOCUMENTS[:1], lambda _prompt: answer))
    assert [(each.query, each.quote, each.start) for each in made] == [
        ("What does it cost?", "ten euros a month", 11)
    ]


def test_an_answer_that_cannot_be_read_costs_one_passage() -> None:
    def model(prompt: str) -> str:
        return "I cannot." if "Tokyo" in prompt else _answer(("What price?", "ten euros"))

    assert [each.document for each in propose(DOCUMENTS, model)] == ["a.md"]


def test_a_prompt_holds_title_and_passage_and_passages_are_asked_once() -> None:
    prompts: list[str] = []

    def model(prompt: str) -> str:
        prompts.append(prompt)
        return _answer(("What price?", "ten euros"), ("Where is it?", "Tokyo"))

    first = list(propose(DOCUMENTS, model, number=1))
    assert len(first) == 1
    assert any("Contract" in prompt and TEXT in prompt for prompt in prompts)
    n_asked = len(prompts)
    rest = list(propose(DOCUMENTS, model, number=2, done=first))
    assert len(rest) == 1
    assert rest[0].document != first[0].document
    assert len(prompts) == n_asked + 1


@pytest.mark.parametrize(
    "model",
    [
        lambda prompt: prompt.upper(),
        SimpleNamespace(complete=lambda prompt: SimpleNamespace(text=prompt.upper())),
        SimpleNamespace(invoke=lambda prompt: SimpleNamespace(content=prompt.upper())),
        SimpleNamespace(invoke=lambda prompt: SimpleNamespace(content=[{"text": prompt.upper()}])),
    ],
)
def test_any_model_of_the_frameworks_can_be_asked(model: Any) -> None:
    assert ask_model(model)("hi") == "HI"


def test_the_frameworks_own_models_can_be_asked() -> None:
    assert ask_model(FakeListChatModel(responses=["yes"]))("hi") == "yes"
    assert "hi" in ask_model(MockLLM())("hi")
    with pytest.raises(InputTypeError, match="must be a LlamaIndex LLM"):
        ask_model(3)


@pytest.mark.parametrize(
    ("question", "quote", "copied"),
    [
        ("When is the fee due?", "The fee is due on the first of the month.", False),
        (
            "Is the fee due on the first of May or June?",
            "The fee is due on the first of May.",
            True,
        ),
        ("Company town registered?", TEXT, True),
    ],
)
def test_what_copies_its_quote_is_told(question: str, quote: str, *, copied: bool) -> None:
    assert is_copied(question, quote) is copied


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl"])
def test_the_file_is_read_by_compare_and_goes_on(tmp_path: Path, name: str) -> None:
    documents = read_documents(SAMPLES)
    path = tmp_path / name
    made = propose_from_text(documents, number=30)
    assert append_questions(path, made[:10]) == 10
    assert read_done(path) == made[:10]
    append_questions(path, made[10:])
    golden = GoldenSet.from_quotes(path, documents)
    assert len(golden.queries) == len({each.query for each in made})
    assert golden.uncertain == ()
    assert golden.notes[0].startswith("30 questions were made of titles")
    assert len({query.doc_id for query in golden.queries}) == len(documents)
    with pytest.raises(GoldenSetError, match=r"\.csv or \.jsonl"):
        append_questions(tmp_path / "q.txt", made)


def test_without_a_model_questions_ask_for_definitions_too() -> None:
    made = propose_from_text(DOCUMENTS)
    assert "What is meant by Seat in Contract?" in [each.query for each in made]


def test_the_command_goes_on_where_it_stopped(tmp_path: Path) -> None:
    output = tmp_path / "q.csv"
    arguments = ["questions", str(SAMPLES), "--output", str(output), "--number"]
    first = CliRunner().invoke(app, [*arguments, "5"])
    assert first.exit_code == 0, first.output
    assert "5 questions written" in first.stdout
    second = CliRunner().invoke(app, [*arguments, "8"])
    assert "3 questions written" in second.stdout
    assert len(read_done(output)) == 8
    both = [*arguments, "8", "--llm", "a:b", "--llm-url", "http://localhost:1/v1"]
    assert CliRunner().invoke(app, both).exit_code == 2


def test_a_chat_model_behind_an_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")

    def respond(asked: Asked) -> Answer:
        said = asked.body["messages"][0]["content"].upper()
        return Answer({"choices": [{"message": {"content": said}}]})

    with LoopbackServer(respond) as server:
        assert open_chat(f"{server.url}/v1", "a-model")("hi") == "HI"
    (asked,) = server.asked
    assert (asked.path, asked.body["model"]) == ("/v1/chat/completions", "a-model")
    assert asked.http_headers["authorization"] == "Bearer a-key"
