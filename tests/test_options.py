"""Options: one home, checked when built, the same from a file."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.errors import OptionError


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "int8"},
        {"pooling": "max"},
        {"fallback": "truncate"},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"overlap_tokens": -1},
        {"min_parent_tokens": None},
        {"context_weight": 1.5},
        {"context_weight": "high"},
        {"header_weight": float("nan")},
        {"dimensions": 0},
        {"strict": "yes"},
        {"revision": 3},
        {"model": ""},
        {"encoder": ""},
        {"encoder": 3},
        {"base_url": "localhost:8080", "encoder": "tei"},
        {"base_url": "ftp://host", "encoder": "tei"},
        {"base_url": "http://host:port", "encoder": "tei"},
        {"base_url": "http://host/?key=secret", "encoder": "tei"},
        {"base_url": "http://user:secret@host", "encoder": "tei"},
        {"base_url": "http://host"},
        {"api_key": 3, "encoder": "tei"},
        {"api_key": "secret"},
        {"timeout_seconds": 0},
        {"max_retries": -1},
        {"max_concurrency": 0},
        {"tokenizer": 3},
        {"processes": 0},
        {"processes": True},
        {"processes": 2, "encoder": "tei", "base_url": "http://host"},
        {"processes": 2, "encoder": "own:Encoder", "base_url": "http://host"},
        {"devices": "cuda:0"},
        {"devices": []},
        {"devices": [0, 1]},
        {"devices": ["cuda:0", "cuda:1"], "device": "cuda:0"},
        {"devices": ["cuda:0"], "encoder": "voyage"},
    ],
)
def test_an_impossible_value_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        LateChunkOptions(**{"model": "m", **wrong})


def test_fewer_processes_than_devices_are_refused() -> None:
    with pytest.raises(OptionError, match="processes=1 leaves some of devices="):
        LateChunkOptions(model="m", devices=("cuda:0", "cuda:1"), processes=1)


@pytest.mark.parametrize(
    ("given", "workers", "here"),
    [
        ({}, (), None),
        ({"processes": 1}, (), None),
        ({"processes": 2}, (None, None), None),
        ({"processes": 2, "device": "cpu"}, ("cpu", "cpu"), "cpu"),
        ({"devices": ["cuda:1"]}, (), "cuda:1"),
        ({"devices": ["cuda:0", "cuda:1"]}, ("cuda:0", "cuda:1"), "cuda:0"),
        ({"devices": ["a", "b"], "processes": 3}, ("a", "b", "a"), "a"),
    ],
)
def test_workers_take_turns_on_the_devices(
    given: dict[str, Any], workers: tuple[str | None, ...], here: str | None
) -> None:
    options = LateChunkOptions(model="m", **given)
    assert options.worker_devices == workers
    assert options.for_one_process().device == here
    assert options.for_one_process().worker_devices == ()
    assert options.for_one_process("other").device == "other"
    assert LateChunkOptions.from_config(options.to_dict()) == options
    hash(options)  # engines are kept by it


def test_disabled_is_a_context_weight_of_zero() -> None:
    disabled = LateChunkOptions(model="m", enabled=False)
    assert (disabled.context_weight, disabled.late, disabled.standalone) == (0, False, True)


def test_yaml_and_mapping_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "latechunk.yaml"
    path.write_text("model: m\nmax_tokens: 128\ncontext_weight: 0.5\n", encoding="utf-8")
    options = LateChunkOptions(model="m", max_tokens=128, context_weight=0.5)
    assert LateChunkOptions.from_config(path) == options
    assert LateChunkOptions.from_config(str(path)) == options
    assert LateChunkOptions.from_config(options.to_dict()) == options


def test_a_whole_number_is_the_same_option_as_its_float() -> None:
    """YAML and Python write 2 for 2.0; the fingerprint must not tell them apart."""
    whole: dict[str, Any] = {"focus": 2, "header_focus": 1, "header_pooling": 1, "header_weight": 3}
    floats = {name: float(value) for name, value in whole.items()}
    one, other = (LateChunkOptions(model="m", **given) for given in (whole, floats))
    assert one.to_key(()) == other.to_key(())


def test_the_older_nested_shape_works() -> None:
    inner = {"enabled": True, "model": "m", "max_tokens": 64, "fallback": "standard"}
    options = LateChunkOptions.from_config({"retrieval": {"late_chunking": inner}})
    assert options == LateChunkOptions(model="m", max_tokens=64, fallback="standard")


def test_unknown_keys_are_answered_with_the_valid_ones() -> None:
    with pytest.raises(OptionError) as caught:
        LateChunkOptions.from_config({"model": "m", "contextweight": 1})
    assert "did you mean 'context_weight'" in str(caught.value)
    assert "overlap_tokens" in str(caught.value)


@pytest.mark.parametrize(
    "content", ["- a list\n", "model: [unclosed\n", "retrieval: 3\n", "max_tokens: 3\n"]
)
def test_a_file_that_holds_no_options_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "latechunk.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OptionError):
        LateChunkOptions.from_config(path)
    with pytest.raises(OptionError, match="cannot read"):
        LateChunkOptions.from_config(tmp_path / "absent.yaml")


def test_an_engine_is_made_from_a_file(tmp_path: Path, tiny_model_path: Path) -> None:
    path = tmp_path / "latechunk.yaml"
    path.write_text(f"model: {tiny_model_path}\nmax_tokens: 32\n", encoding="utf-8")
    assert LateChunkEngine.from_config(path).encoder.max_tokens == 32


def test_a_key_is_kept_and_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "latechunk.yaml"
    path.write_text("model: m\nencoder: tei\napi_key: very-secret\n", encoding="utf-8")
    options = LateChunkOptions.from_config(path)
    assert options.api_key == SecretStr("very-secret")
    assert options == LateChunkOptions(model="m", encoder="tei", api_key=SecretStr("very-secret"))
    assert replace(options, strict=True).api_key == options.api_key
    assert copy.deepcopy(options) == options == copy.copy(options)
    unpickled = pickle.loads(pickle.dumps(options))
    assert unpickled == replace(options, api_key=None)
    shown = f"{options!r} {options} {options.to_dict()} {unpickled!r}"
    assert "very-secret" not in shown
    assert LateChunkOptions.from_config(options.to_dict()) == unpickled


def test_a_wrong_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(OptionError) as caught:
        LateChunkOptions(model="m", encoder="tei", base_url="http://user:secret@host")
    assert "secret" not in str(caught.value)


def test_a_path_object_is_a_path(tiny_model_path: Path, tmp_path: Path) -> None:
    engine = LateChunkEngine.from_pretrained(tiny_model_path, device="cpu", dtype="float32")
    assert engine.options.model == str(tiny_model_path)
    mapping = {"model": "served", "tokenizer": tmp_path}
    assert LateChunkOptions.from_mapping(mapping).tokenizer == str(tmp_path)
    with pytest.raises(OptionError, match="must be a string"):
        LateChunkOptions.from_mapping({"model": b"bytes"})
