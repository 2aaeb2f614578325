"""Flags: a file of options, changed by what the command line says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latechunk_integrations.cli.flags import read_options, read_pairs
from latechunk_integrations.errors import OptionError


def test_the_command_line_stands_above_the_file(tmp_path: Path) -> None:
    config = tmp_path / "latechunk.yaml"
    config.write_text("model: one\ncontext_weight: 0.5\nmax_tokens: 128\n", encoding="utf-8")
    options = read_options(config, "two", ["max_tokens=64", "strict=true"])
    assert (options.model, options.context_weight) == ("two", 0.5)
    assert (options.max_tokens, options.strict) == (64, True)


def test_a_key_in_the_file_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "latechunk.yaml"
    config.write_text("model: jina-embeddings-v3\nencoder: jina\napi_key: secret\n")
    options = read_options(config, None, ["max_retries=1"])
    assert options.api_key is not None
    assert options.api_key.get_secret_value() == "secret"
    assert "secret" not in repr(options)


def test_an_option_that_another_hides_is_still_that_of_the_file(tmp_path: Path) -> None:
    config = tmp_path / "latechunk.yaml"
    config.write_text("model: one\nenabled: false\ncontext_weight: 0.7\n", encoding="utf-8")
    assert read_options(config, None, ()).context_weight == 0
    assert read_options(config, None, ["enabled=true"]).context_weight == 0.7


@pytest.mark.parametrize(
    ("text", "value"),
    [("", ""), ("query: ", "query: "), ("7", "7"), ("[x] ", "[x] "), ("null", None)],
)
def test_a_text_is_taken_as_it_stands(text: str, value: str | None) -> None:
    options = read_options(None, "one", [f"document_prompt={text}", f"query_prompt={text}"])
    assert (options.document_prompt, options.query_prompt) == (value, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("query: ", "query: "),
        ("Represent: {this", "Represent: {this"),
        ("a=b", "a=b"),
        ("", None),
    ],
)
def test_a_value_is_read_as_yaml_but_never_as_a_mapping(text: str, value: Any) -> None:
    assert read_pairs([f"name={text}"], "--option") == {"name": value}


@pytest.mark.parametrize("pair", ["max_tokens", "=5", " =5"])
def test_a_pair_without_its_halves_is_refused(pair: str) -> None:
    with pytest.raises(OptionError, match="--option wants NAME=VALUE"):
        read_pairs([pair], "--option")


def test_a_command_without_a_model_says_how_to_name_one() -> None:
    with pytest.raises(OptionError, match="--model NAME or --config"):
        read_options(None, None, ["strict=true"])
