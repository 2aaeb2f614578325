"""The contract as data, what is refused because of it, and what is said once."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer
from typing_extensions import get_protocol_members

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.model.families import find_card
from latechunk_integrations.errors import ContractError, OptionError
from tests.architectures import LAYOUTS, write_model
from tests.tiny_models import save_tiny_model

TEXT = "Berlin is the capital of Germany. Its inhabitants are proud of the café."
SPANS = [(0, 33), (34, 72)]
# The textbook's late chunking: chunks have no special tokens of their own.
RUNNING_TEXT: dict[str, Any] = {"layout": "text", "focus": 0.0}


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


class TestDescribe:
    """``engine.describe()``: the contract, and what the options made of it."""

    def test_it_holds_what_the_files_say(self, published: dict[str, Path]) -> None:
        contract = _engine(published["embeddinggemma-300m"]).describe().contract
        assert contract is not None
        assert contract.to_dict() == {
            "architecture": "gemma3_text",
            "causal": False,
            "max_seq_length": 64,
            "max_positions": 256,
            "padding_side": "right",
            "pooling_mode": "mean",
            "prompt_pooled": True,
            "document_prompt": "title: none | text: ",
            "query_prompt": "task: search result | query: ",
            "prompt_source": "files",
            "prompt_names": ("Retrieval-document", "Retrieval-query", "document", "query"),
            "title_template": "title: {title} | text: ",
            "empty_title": "none",
            "heads": (
                {"name": "Dense", "in_features": 32, "out_features": 512},
                {"name": "Dense", "in_features": 512, "out_features": 256},
                {"name": "Normalize", "in_features": 256, "out_features": 256},
            ),
            "dimensions": 256,
            "matryoshka": (128, 256, 512, 768),
            "least_dimensions": None,
            "truncation_layer_norm": False,
            "similarity": "cosine",
            "loras": (),
        }

    def test_it_holds_what_the_options_made_of_it(self, published: dict[str, Path]) -> None:
        engine = _engine(
            published["jina-embeddings-v3-hf"],
            max_tokens=72,
            dimensions=32,
            query_prompt="",
            document_lora="retrieval_passage",
            context_weight=0.5,
        )
        description = engine.describe()
        assert dataclasses.asdict(description.use) == {
            "max_tokens": 72,
            "pooling": "mean",
            "standalone_pooling": "mean",
            "document_prompt": "Represent the document for retrieval: ",
            "query_prompt": "",
            "document_lora": "retrieval_passage",
            "query_lora": None,
            "dimensions": 32,
            "normalize": True,
            "context_weight": 0.5,
            "layout": "units",
            "focus": "auto",
            "header_pooling": 0.0,
            "sub_span_tokens": None,
            "dtype": "float32",
            "device": "cpu",
        }
        assert description.fingerprint == engine.fingerprint
        assert json.loads(json.dumps(description.to_dict()))["contract"]["padding_side"] == "right"
        with pytest.raises(dataclasses.FrozenInstanceError):
            description.use.max_tokens = 3  # type: ignore[misc]  # what must not work

    def test_printed_it_is_a_table(self, published: dict[str, Path]) -> None:
        path = published["Qwen3-Embedding-0.6B"]
        lines = str(_engine(path, dimensions=32).describe()).splitlines()
        assert lines[0] == str(path)
        rows = {line.split("  ")[0]: line for line in lines[1:]}
        assert "qwen3, causal" in rows["architecture"]
        assert "float32 on cpu" in rows["architecture"]
        assert "left" in rows["padding"]
        assert "lasttoken" in rows["pooling"]
        assert "64 (from 32 on)" in rows["dimensions"]
        assert rows["dimensions"].endswith(" 32")
        own, used = (lines[1].index(name) for name in ("the model's own", "used here"))
        assert rows["window"][own:].startswith("64, 256 positions")
        assert rows["window"][used:] == "64 tokens"

    def test_of_an_encoder_without_files_it_holds_the_use_alone(
        self, published: dict[str, Path]
    ) -> None:
        class Served:
            """An encoder that knows its sizes, and no files."""

            def __init__(self, encoder: Any) -> None:
                for name in get_protocol_members(TokenEncoder):
                    setattr(self, name, getattr(encoder, name))
                self.contract = self.device = self.dtype = None

        engine = _engine(published["e5-base-v2"])
        served: Any = Served(engine.encoder)
        description = LateChunkEngine(served, engine.options).describe()
        assert description.contract is None
        assert description.use.document_prompt == "passage: "
        assert (description.use.query_prompt, description.use.device) == (None, None)
        assert "document prompt" in str(description)


class TestPooling:
    """``auto`` follows the model; a model trained with CLS pooling warns once."""

    def test_a_cls_model_warns_once_for_each_model(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        paths = [
            write_model(tmp_path / str(n), LAYOUTS["gte-modernbert-base"], seed=n) for n in (0, 1)
        ]
        for path in paths:
            for _ in range(3):
                _engine(path, **RUNNING_TEXT)
        warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert [message.split("'")[1] for message in warned] == [str(path) for path in paths]
        for part in ("with CLS pooling", "pooling='mean'", "trained with mean pooling"):
            assert part in warned[0]

    def test_asking_for_mean_accepts_it_without_a_word(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write_model(tmp_path, LAYOUTS["bge-small-en-v1.5"])
        engine = _engine(path, pooling="mean", **RUNNING_TEXT)
        asked = engine.embed([Parent(TEXT, SPANS)])[0].vectors
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
        auto = _engine(path, **RUNNING_TEXT).embed([Parent(TEXT, SPANS)])[0].vectors
        np.testing.assert_array_equal(asked, auto)

    def test_the_standalone_side_of_a_cls_model_keeps_its_pooling(
        self, published: dict[str, Path]
    ) -> None:
        """So that a context weight is a way out, and early chunking is the model's own."""
        path = published["snowflake-arctic-embed-m-v1.5"]
        own = SentenceTransformer(str(path), device="cpu").encode_document(
            [TEXT[start:end] for start, end in SPANS]
        )
        engine = _engine(path, enabled=False)
        np.testing.assert_allclose(engine.embed([Parent(TEXT, SPANS)])[0].vectors, own, atol=1e-6)
        late = _engine(path).embed([Parent(TEXT, SPANS)])[0].vectors
        assert np.abs(late - own).max() > 0.01

    def test_cls_gives_chunks_of_a_window_one_vector_and_warns(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write_model(tmp_path, LAYOUTS["bge-small-en-v1.5"])
        for _ in range(2):
            engine = _engine(path, pooling="cls", **RUNNING_TEXT)
            (result,) = engine.embed([Parent(TEXT, SPANS)])
        np.testing.assert_array_equal(result.vectors[0], result.vectors[1])
        assert caplog.text.count("share a vector") == 1

    def test_last_is_the_last_token_of_the_chunk(self, published: dict[str, Path]) -> None:
        path = published["Qwen3-Embedding-0.6B"]
        (result,) = _engine(path, **RUNNING_TEXT).embed([Parent(TEXT, SPANS)])
        tokenizer = AutoTokenizer.from_pretrained(str(path))
        encoded = tokenizer(TEXT, return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")
        ids = torch.tensor([encoded["input_ids"]])
        with torch.no_grad():
            hidden = (
                AutoModel.from_pretrained(str(path))(input_ids=ids).last_hidden_state[0].numpy()
            )
        inside = [i for i, (start, end) in enumerate(offsets) if start < SPANS[0][1] and end > 0]
        # Behind the last chunk stands <|endoftext|>, which the model itself pools.
        for vector, own in zip(result.vectors, (hidden[inside[-1]], hidden[-1]), strict=True):
            np.testing.assert_allclose(vector, own / np.linalg.norm(own), atol=1e-5)

    @pytest.mark.parametrize(
        ("name", "pooling"),
        [("bge-small-en-v1.5", "cls"), ("Qwen3-Embedding-0.6B", "last"), ("e5-base-v2", "mean")],
    )
    def test_with_special_tokens_of_its_own_a_chunk_is_pooled_as_trained(
        self, published: dict[str, Path], name: str, pooling: str
    ) -> None:
        encoder = _engine(published[name]).encoder
        assert isinstance(encoder, LocalEncoder)
        assert encoder.standalone_pooling == pooling

    def test_a_mode_without_counterpart_names_the_way_out(self, tmp_path: Path) -> None:
        path = save_tiny_model(tmp_path, "wordpiece", pooling="max")
        with pytest.raises(OptionError, match="pooling='mean'"):
            _engine(path)
        encoder = _engine(path, pooling="mean").encoder
        assert isinstance(encoder, LocalEncoder)
        assert encoder.pooling == encoder.standalone_pooling == "mean"


class TestDimensions:
    """Only widths that the vectors were trained to be cut to."""

    @pytest.mark.parametrize(
        ("name", "asked", "valid"),
        [
            ("nomic-embed-text-v1.5", 100, "64, 128"),
            ("nomic-embed-text-v1.5", 129, "more than the 128"),
            ("Qwen3-Embedding-0.6B", 31, "32 to 64"),
            ("jina-embeddings-v3-hf", 48, "32, 64"),
            ("e5-base-v2", 16, "trained for 32"),
            ("bge-m3", 16, "trained for 32"),
            ("bge-small-en-v1.5", 16, "trained for 32"),
            ("all-mpnet-base-v2", 16, "trained for 32"),
        ],
    )
    def test_another_width_is_refused_with_the_valid_ones(
        self, published: dict[str, Path], name: str, asked: int, valid: str
    ) -> None:
        with pytest.raises(OptionError, match=valid):
            _engine(published[name], dimensions=asked)

    def test_the_full_width_is_always_valid(self, published: dict[str, Path]) -> None:
        assert _engine(published["e5-base-v2"], dimensions=32).dimensions == 32

    def test_widths_in_config_json_count(self, tmp_path: Path) -> None:
        layout = dataclasses.replace(
            LAYOUTS["e5-base-v2"], name="of-ours", config={"matryoshka_dimensions": [8, 16, 32]}
        )
        path = write_model(tmp_path, layout)
        assert _engine(path, dimensions=16).dimensions == 16
        with pytest.raises(OptionError, match="8, 16, 32"):
            _engine(path, dimensions=12)

    @pytest.mark.parametrize("name", ["nomic-embed-text-v1.5", "all-mpnet-base-v2"])
    def test_a_model_that_is_published_to_be_cut_is_cut_alike_on_all_sides(
        self, published: dict[str, Path], tmp_path: Path, name: str
    ) -> None:
        """``truncate_dim`` in the files; nomic's layer norm stands before that cut too."""
        path = tmp_path / (name if "nomic" in name else "a-finetune-of-ours")
        shutil.copytree(published[name], path)
        weights = load_file(path / "model.safetensors")
        for i, key in enumerate(key for key in weights if "norm" in key.lower()):
            shape = weights[key].shape  # a mean of 0 would hide the layer norm
            weights[key] = np.random.default_rng(i).uniform(0.2, 1.8, shape).astype(np.float32)
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        asked = _engine(path, dimensions=64 if "nomic" in name else 16)
        settings = path / "config_sentence_transformers.json"
        settings.write_text(json.dumps({"truncate_dim": asked.dimensions}), encoding="utf-8")
        engine = _engine(path)
        for ours, expected in [
            (engine.embed([Parent(TEXT)])[0].vectors, asked.embed([Parent(TEXT)])[0].vectors),
            (engine.embed_texts([TEXT]), asked.embed_texts([TEXT])),
            (engine.embed_queries([TEXT]), asked.embed_queries([TEXT])),
        ]:
            np.testing.assert_allclose(ours, expected, atol=1e-6)
        late, alone = engine.embed([Parent(TEXT)])[0].vectors, engine.embed_texts([TEXT])
        np.testing.assert_allclose(late, alone, atol=1e-5)

    def test_a_nomic_model_by_another_name_is_cut_behind_a_layer_norm_and_says_so(
        self, tmp_path: Path, published: dict[str, Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        renamed = tmp_path / "our-own-finetune"
        shutil.copytree(published["nomic-embed-text-v1.5"], renamed)
        prompts = {"document_prompt": "search_document: ", "query_prompt": "search_query: "}
        ours = _engine(renamed, dimensions=64, **prompts).embed([Parent(TEXT)])[0].vectors
        known = _engine(published["nomic-embed-text-v1.5"], dimensions=64)
        np.testing.assert_allclose(ours, known.embed([Parent(TEXT)])[0].vectors, atol=1e-6)
        assert "after a layer norm" in caplog.text


class TestPrompts:
    """From the files; from the model's card where they are silent."""

    def test_a_passage_prompt_in_the_files_is_the_documents(self, tmp_path: Path) -> None:
        layout = dataclasses.replace(
            LAYOUTS["e5-base-v2"], name="of-ours", prompts={"query": "q: ", "passage": "p: "}
        )
        engine = _engine(write_model(tmp_path, layout))
        assert engine.describe().use.document_prompt == "p: "
        assert engine.describe().use.query_prompt == "q: "

    @pytest.mark.parametrize("stated", [{}, {"document": ""}])
    def test_the_default_prompt_is_not_put_in_front_of_documents(
        self, tmp_path: Path, stated: dict[str, str]
    ) -> None:
        """A default that is the query prompt, as sentence-transformers reads it for each side."""
        layout = dataclasses.replace(
            LAYOUTS["all-mpnet-base-v2"], prompts={"query": "query: ", **stated}
        )
        path = write_model(tmp_path, layout)
        settings = path / "config_sentence_transformers.json"
        content = json.loads(settings.read_text(encoding="utf-8"))
        settings.write_text(json.dumps({**content, "default_prompt_name": "query"}))
        own, engine = SentenceTransformer(str(path), device="cpu"), _engine(path)
        document, query = own.encode_document([TEXT]), own.encode_query([TEXT])
        assert np.abs(document - query).max() > 1e-3
        np.testing.assert_allclose(engine.embed([Parent(TEXT)])[0].vectors, document, atol=1e-6)
        np.testing.assert_allclose(engine.embed_texts([TEXT]), document, atol=1e-6)
        np.testing.assert_allclose(engine.embed_queries([TEXT]), query, atol=1e-6)

    def test_an_empty_prompt_switches_the_cards_off(self, published: dict[str, Path]) -> None:
        path = published["nomic-embed-text-v1"]
        own = SentenceTransformer(str(path), device="cpu").encode([TEXT])
        engine = _engine(path, document_prompt="")
        np.testing.assert_allclose(engine.embed([Parent(TEXT)])[0].vectors, own, atol=1e-6)

    def test_a_nomic_model_by_another_name_says_once_what_to_set(
        self, tmp_path: Path, published: dict[str, Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        renamed = tmp_path / "our-own-finetune"
        shutil.copytree(published["nomic-embed-text-v1.5"], renamed)
        _engine(renamed, document_prompt="search_document: ", query_prompt="")
        _engine(published["nomic-embed-text-v1.5"])
        assert "name no prompts" not in caplog.text
        for _ in range(2):
            _engine(renamed)
        assert caplog.text.count("name no prompts") == 1
        assert "query_prompt='search_query: '" in caplog.text

    def test_the_source_is_named(self, published: dict[str, Path]) -> None:
        sources = {}
        for name in ("e5-base-v2", "embeddinggemma-300m", "all-mpnet-base-v2"):
            contract = _engine(published[name]).describe().contract
            assert contract is not None
            sources[name] = contract.prompt_source
        assert sources == {
            "e5-base-v2": "model card",
            "embeddinggemma-300m": "files",
            "all-mpnet-base-v2": "none",
        }

    @pytest.mark.parametrize(
        ("model", "known"),
        [
            ("nomic-ai/nomic-embed-text-v1.5", True),
            ("models/nomic-embed-text-v1.5/", True),
            ("hub/models--intfloat--multilingual-e5-large/snapshots/0123abc", True),
            ("intfloat/multilingual-e5-large-instruct", True),
            ("intfloat/multilingual-e5-base-instruct", False),
            ("nomic-embed-text-v1.5/finetuned", False),
            ("nomic-ai/nomic-embed-text-v2-moe", False),
            ("BAAI/bge-large-en", True),
            ("BAAI/bge-base-zh-v1.5", False),
        ],
    )
    def test_a_card_is_found_by_the_models_name_alone(self, model: str, *, known: bool) -> None:
        assert (find_card(model) is not None) == known


def test_a_model_trained_for_the_dot_product_keeps_its_length_where_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = dataclasses.replace(LAYOUTS["gte-modernbert-base"], name="of-ours", pooling="mean")
    path = write_model(tmp_path, layout)
    settings = path / "config_sentence_transformers.json"
    settings.write_text(json.dumps({"similarity_fn_name": "dot"}), encoding="utf-8")
    own = SentenceTransformer(str(path), device="cpu").encode([TEXT])
    engine = _engine(path, normalize=False)
    np.testing.assert_allclose(engine.embed([Parent(TEXT)])[0].vectors, own, rtol=1e-4, atol=1e-5)
    assert "dot product" not in caplog.text
    _engine(path)
    assert caplog.text.count("dot product") == 1


def test_a_window_longer_than_the_positions_is_refused_with_their_number(
    published: dict[str, Path],
) -> None:
    """XLM-RoBERTa and MPNet count positions from behind the padding index."""
    for name in ("bge-m3", "all-mpnet-base-v2"):
        assert _engine(published[name], max_tokens=256).encoder.max_tokens == 256
        with pytest.raises(OptionError, match="256 positions"):
            _engine(published[name], max_tokens=257)


def test_a_text_that_would_run_off_the_position_table_is_cut(tmp_path: Path) -> None:
    """Without a declared length, sentence-transformers takes two tokens more than the table has."""
    layout = dataclasses.replace(LAYOUTS["bge-m3"], name="of-ours", pooling=None, positions=66)
    path = write_model(tmp_path, layout, window=10**30)
    engine = _engine(path)
    assert engine.encoder.max_tokens == 64
    assert engine.embed_texts(["word " * 200]).shape == (1, 32)
    assert engine.stats["truncated_texts"] == 1


@pytest.mark.parametrize("by_layer", [False, True])
def test_long_rotary_scaling_is_never_set_off(tmp_path: Path, by_layer: bool) -> None:
    """It is another one for all texts of a batch when one of them is long."""
    layout = LAYOUTS["modernbert-embed-base" if by_layer else "nomic-embed-text-v1.5"]
    scaling = {
        "rope_type": "longrope",
        "rope_theta": 1000.0,
        "original_max_position_embeddings": 128,
        "short_factor": [1.0] * (layout.width // 4),
        "long_factor": [4.0] * (layout.width // 4),
    }
    parameters = {"full_attention": scaling, "sliding_attention": scaling} if by_layer else scaling
    layout = dataclasses.replace(layout, config={**layout.config, "rope_parameters": parameters})
    engine = _engine(write_model(tmp_path, layout, window=1_024))
    assert engine.encoder.max_tokens == 128
    with pytest.raises(OptionError, match="128 positions"):
        _engine(tmp_path / layout.name, max_tokens=129)
    before = engine.embed_texts(["a " * 60])
    engine.embed_texts(["word " * 900])
    assert engine.stats["truncated_texts"] == 1
    together = engine.embed_texts(["a " * 60, "word " * 900])
    np.testing.assert_allclose(together[:1], before, atol=1e-5)


def test_dynamic_rotary_scaling_is_never_set_off(tmp_path: Path) -> None:
    """It goes by the longest text of a batch, and stays: a vector would depend on others."""
    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1000.0}
    layout = dataclasses.replace(
        LAYOUTS["nomic-embed-text-v1.5"], config={"rope_parameters": scaling}
    )
    engine = _engine(write_model(tmp_path, layout, window=1_024))
    assert engine.encoder.max_tokens == 256
    with pytest.raises(OptionError, match="256 positions"):
        _engine(tmp_path / layout.name, max_tokens=257)
    before = engine.embed_texts(["a " * 200])
    engine.embed_texts(["word " * 900])
    assert engine.stats["truncated_texts"] == 1
    np.testing.assert_array_equal(engine.embed_texts(["a " * 200]), before)


@pytest.mark.parametrize(
    ("folder", "field", "wrong"),
    [("1_Pooling", "word_embedding_dimension", 48), ("3_Dense", "in_features", 40)],
)
def test_modules_that_do_not_belong_together_are_refused(
    published: dict[str, Path], tmp_path: Path, folder: str, field: str, wrong: int
) -> None:
    """Where two checkpoints were mixed; else the first text would end in a traceback."""
    path = tmp_path / "of-ours"
    shutil.copytree(published["embeddinggemma-300m"], path)
    file = path / folder / "config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, field: wrong}), encoding="utf-8")
    if folder == "3_Dense":
        weights = {"linear.weight": np.ones((256, wrong), np.float32)}
        save_file(weights, path / folder / "model.safetensors")
    with pytest.raises(ContractError, match=f"reads vectors of {wrong} numbers"):
        _engine(path)


def test_a_model_that_reads_through_a_chat_template_is_refused(tmp_path: Path) -> None:
    layout = dataclasses.replace(LAYOUTS["Qwen3-Embedding-0.6B"], pooling=None)
    with pytest.raises(ContractError, match="chat template"):
        _engine(write_model(tmp_path, layout))
