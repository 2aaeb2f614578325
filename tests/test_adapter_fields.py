"""The engine's options as fields of an adapter, and the keys of caches."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import SecretStr

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.adapter_fields import EngineFields, engine_options, vector_key
from latechunk_integrations.errors import OptionError


def options_of(engine: LateChunkEngine | None = None, **given: Any) -> LateChunkOptions:
    return engine_options(given, engine=engine, own=("parent_by",))


def test_the_fields_are_those_of_the_options() -> None:
    """Names, types and defaults: who adds an option adds a line to `EngineFields`."""
    wanted = {f.name: f.default for f in fields(LateChunkOptions) if f.name != "model"}
    assert {name: field.default for name, field in EngineFields.model_fields.items()} == wanted
    types = get_type_hints(LateChunkOptions)
    assert {n: f.annotation for n, f in EngineFields.model_fields.items()} == {
        name: types[name] for name in wanted
    }


def test_the_schema_describes_every_option() -> None:
    schema = EngineFields.model_json_schema()["properties"]
    assert schema["fallback"]["enum"] == ["window", "standard", "skip", "error"]
    for name, about in schema.items():
        assert len(about["description"]) > 10, name


def test_a_key_is_in_no_dump_and_no_repr() -> None:
    filled = EngineFields(api_key=SecretStr("secret-key"))
    assert "secret-key" not in f"{filled!r} {filled.model_dump()} {filled.model_dump_json()}"


def test_model_and_model_name_are_the_same_option(tmp_path: Path) -> None:
    assert options_of(model="name") == options_of(model_name="name")
    assert options_of(model=tmp_path).model == str(tmp_path)
    with pytest.raises(OptionError, match="same option"):
        options_of(model="one", model_name="other")


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(OptionError, match="context_weight"):
        options_of(model="name", contxt_weight=0.5)
    with pytest.raises(OptionError, match="parent_by"):
        options_of(model="name", parentby="file_path")
    with pytest.raises(OptionError, match="set HF_HOME"):
        options_of(model="name", cache_folder="/x")


def test_an_engine_has_its_options(tiny_engine: LateChunkEngine) -> None:
    assert options_of(tiny_engine) is tiny_engine.options
    assert options_of(tiny_engine, model_name=tiny_engine.options.model) is tiny_engine.options
    with pytest.raises(OptionError, match="context_weight"):
        options_of(tiny_engine, context_weight=0.5)


def test_the_key_covers_what_changes_vectors_and_nothing_else(tiny_model_path: Path) -> None:
    def key(**given: Any) -> str | None:
        return vector_key(LateChunkOptions(model=str(tiny_model_path), **given))

    assert key() is not None
    neutral: dict[str, Any] = {"device": "cpu", "batch_tokens": 64, "strict": True}
    neutral |= {"processes": 2}
    neutral |= {"timeout_seconds": 1.0, "max_retries": 1, "max_concurrency": 1}
    neutral |= {"window_cache": ":memory:", "window_cache_bytes": 1 << 21}
    for name, value in neutral.items():
        assert key(**{name: value}) == key(), name
    assert key(devices=["cpu", "cuda:0"]) == key()
    assert len({key(), key(pooling="weighted"), key(dtype="float32"), key(max_tokens=32)}) == 4


def test_the_key_is_the_files_not_the_place(tiny_model_path: Path, tmp_path: Path) -> None:
    """A copied folder is the same model; a changed weight is another one."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model_path, copy)
    before = vector_key(LateChunkOptions(model=str(tiny_model_path)))
    assert vector_key(LateChunkOptions(model=str(copy))) == before
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    os.utime(weights, ns=(1, 1))
    assert vector_key(LateChunkOptions(model=str(copy))) != before


def test_a_model_that_is_not_here_has_no_key_yet() -> None:
    assert vector_key(LateChunkOptions(model="nobody/nothing-of-this-name")) is None
    assert vector_key(LateChunkOptions(model="x", encoder="tei", base_url="http://[::1]:9")) is None


def test_an_engine_of_the_users_own_encoder_says_its_own(
    tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    class Other:
        """Bears the model's name, and is something else."""

        fingerprint = "other"

    options = LateChunkOptions(model=str(tiny_model_path), dtype="float32", device="cpu")
    other = LateChunkEngine.__new__(LateChunkEngine)
    other.__dict__.update(tiny_engine.__dict__, _encoder=Other(), _token_encoder=Other())
    assert vector_key(options, tiny_engine) == vector_key(options)
    assert vector_key(options, other) not in (None, vector_key(options))
