"""The options in a YAML file: which part of it is the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latechunk_integrations.errors import OptionError

# What users of an older plugin have in their files; it held no other keys.
_NESTED_KEYS = ("retrieval", "late_chunking")

# The two sections of a file that says everything: see `ChunkingOptions` for the second.
_ENGINE_SECTION = "engine"
CHUNKING_SECTION = "chunking"


def read_engine_section(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """What a YAML file or a mapping says of the engine, flat and as it is: nothing is checked.

    Args:
        source: As for `LateChunkOptions.from_config`.

    Raises:
        OptionError: The file cannot be read, or holds no mapping.
    """
    content = dict(read_file(source))
    content.pop(CHUNKING_SECTION, None)
    if _ENGINE_SECTION in content:
        if len(content) > 1:
            raise OptionError(f"options both in {_ENGINE_SECTION!r} and beside it: {[*content]}")
        content = content[_ENGINE_SECTION]
        if not isinstance(content, Mapping):
            raise OptionError(f"{_ENGINE_SECTION!r} must hold a mapping, not {content!r}")
    return _unnest(content)


def read_file(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping that a YAML file holds, as it is; a mapping is given back.

    Raises:
        OptionError: The file cannot be read, or holds no mapping.
    """
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    import yaml  # noqa: PLC0415  # only configuration files need it

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"cannot read the options in {path}: {error}") from error
    except RecursionError as error:
        raise OptionError(f"cannot read the options in {path}: it is nested too deeply") from error
    if not isinstance(content, Mapping):
        raise OptionError(f"{path} holds no mapping of options")
    return content


def _unnest(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in _NESTED_KEYS:
        if key not in mapping:
            continue
        inner = mapping[key]
        if not isinstance(inner, Mapping):
            raise OptionError(f"{key!r} must hold a mapping of options, not {inner!r}")
        if key == _NESTED_KEYS[-1] and len(mapping) > 1:
            raise OptionError(f"options are both in {key!r} and beside it: {list(mapping)}")
        mapping = inner
    return mapping
