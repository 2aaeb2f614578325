"""Prompts by the names that models give them, and the slot that a title goes into."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.model.families import find_card
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions
from tests.architectures import LAYOUTS, write_model

TEXT = "Berlin is the capital of Germany."
WEB_SEARCH = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
)
# As e5-mistral-7b-instruct names its prompts.
INSTRUCTED = {"web_search_query": WEB_SEARCH, "sts_query": "Instruct: Retrieve.\nQuery: "}


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


def _encoder(path: Path, **options: Any) -> LocalEncoder:
    given: dict[str, Any] = {"dtype": "float32", "device": "cpu", **options}
    return LocalEncoder.load(LateChunkOptions(model=str(path), **given))


def _model(folder: Path, prompts: dict[str, str], name: str = "of-ours") -> Path:
    return write_model(
        folder, dataclasses.replace(LAYOUTS["all-mpnet-base-v2"], name=name, prompts=prompts)
    )


class TestNames:
    """A prompt that nothing looks for is not dropped without a word."""

    def test_prompts_by_other_names_are_named_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = _model(tmp_path, INSTRUCTED)
        for _ in range(2):
            _encoder(path)
        assert caplog.text.count("'sts_query', 'web_search_query'") == 1
        assert "query_prompt_name=" in caplog.text

    @pytest.mark.parametrize(
        ("prompts", "options"),
        [
            (INSTRUCTED, {"query_prompt_name": "sts_query"}),
            (INSTRUCTED, {"query_prompt": ""}),
            ({"query": "q: ", "STS": "s: "}, {}),
            ({"document": "d: "}, {}),
            ({}, {}),
        ],
    )
    def test_who_has_chosen_is_left_in_peace(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        prompts: dict[str, str],
        options: dict[str, Any],
    ) -> None:
        _encoder(_model(tmp_path, prompts), **options)
        assert "none is called" not in caplog.text

    def test_a_name_chooses_the_prompt_of_queries_alone(self, tmp_path: Path) -> None:
        path = _model(tmp_path, {"document": "d: ", "query": "q: ", **INSTRUCTED})
        own = SentenceTransformer(str(path), device="cpu")
        engine = _engine(path, query_prompt_name="web_search_query")
        query = own.encode([TEXT], prompt_name="web_search_query")
        np.testing.assert_allclose(engine.embed_queries([TEXT]), query, atol=1e-6)
        document = own.encode_document([TEXT])
        np.testing.assert_allclose(engine.embed([Parent(TEXT)])[0].vectors, document, atol=1e-6)
        assert engine.fingerprint != _engine(path).fingerprint

    def test_a_name_that_is_not_there_is_refused_with_those_that_are(self, tmp_path: Path) -> None:
        path = _model(tmp_path, INSTRUCTED)
        with pytest.raises(OptionError, match="'sts_query', 'web_search_query'"):
            _encoder(path, query_prompt_name="s2p_query")

    def test_a_prompt_and_a_name_are_one_too_many(self) -> None:
        with pytest.raises(OptionError, match="give query_prompt= or query_prompt_name=, not both"):
            LateChunkOptions(model="of-ours", query_prompt="q: ", query_prompt_name="query")


class TestCards:
    """Models whose files name their prompts in their own way, or not at all."""

    @pytest.mark.parametrize(
        ("name", "stated", "query"),
        [
            ("e5-mistral-7b-instruct", INSTRUCTED, WEB_SEARCH),
            ("e5-mistral-7b-instruct", {}, WEB_SEARCH),
            ("stella_en_1.5B_v5", {"s2p_query": "of the files: "}, "of the files: "),
            ("stella_en_400M_v5", {}, WEB_SEARCH.replace("query\n", "query.\n")),
            ("multilingual-e5-large-instruct", {}, WEB_SEARCH),
        ],
    )
    def test_queries_get_the_instruction_and_documents_none(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        name: str,
        stated: dict[str, str],
        query: str,
    ) -> None:
        encoder = _encoder(_model(tmp_path, stated, name))
        assert (encoder.document_prompt, encoder.query_prompt) == ("", query)
        assert encoder.contract.prompt_source == "model card"
        assert "none is called" not in caplog.text

    @pytest.mark.parametrize(
        "name", ["google/embeddinggemma-2", "embeddinggemma-2-text-270m", "embeddinggemma-2-text"]
    )
    def test_embeddinggemma_2_has_the_prompts_of_its_card(self, name: str) -> None:
        card = find_card(name)
        assert card is not None
        assert card.document_prompt == "title: none | text: "
        assert card.query_prompt == "task: search result | query: "


class TestTitleSlot:
    """A document prompt with a place for a title."""

    @pytest.mark.parametrize(
        ("prompt", "template", "without"),
        [
            ("title: none | text: ", "title: {title} | text: ", "title: none | text: "),
            ("title: {title} | text: ", "title: {title} | text: ", "title: none | text: "),
            ("[{title}] ", "[{title}] ", "[] "),
        ],
    )
    def test_it_is_found_in_the_files_and_filled_as_trained(
        self, tmp_path: Path, prompt: str, template: str, without: str
    ) -> None:
        encoder = _encoder(_model(tmp_path, {"document": prompt}))
        contract = encoder.contract
        assert (contract.title_template, contract.document_prompt) == (template, without)
        assert contract.header_pooling == 1.0
        assert encoder.document_prompt == without
        assert encoder.title_slot is not None
        assert encoder.title_slot.fill("") == without
        assert encoder.title_slot.fill("A {b} c") == template.replace("{title}", "A {b} c")

    @pytest.mark.parametrize("prompt", ["search_document: ", "passage: ", "", "none: "])
    def test_most_prompts_have_none(self, tmp_path: Path, prompt: str) -> None:
        encoder = _encoder(_model(tmp_path, {"document": prompt, "query": "q: "}))
        assert (encoder.title_slot, encoder.contract.title_template) == (None, None)
        assert encoder.contract.header_pooling == 0.0
        assert encoder.document_prompt == prompt

    def test_the_option_can_have_one_too(self, tmp_path: Path) -> None:
        path = _model(tmp_path, {})
        encoder = _encoder(path, document_prompt="title: {title} | text: ")
        assert encoder.document_prompt == "title: none | text: "
        assert encoder.title_slot is not None
        assert _encoder(path, document_prompt="").title_slot is None
