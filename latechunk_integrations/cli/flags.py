"""Command-line flags to options: ``NAME=VALUE`` pairs over a file of options."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions

__all__ = ["read_options", "read_pairs"]

# Their values are texts as they stand: "" is no prompt, and a space at the end belongs to one.
_TEXTS = {
    option.name
    for option in fields(LateChunkOptions)
    if option.type in ("str", "str | None", "SecretStr | None")
}


def read_options(config: Path | None, model: str | None, pairs: Sequence[str]) -> LateChunkOptions:
    """Options of a file, changed by the model and the pairs of the command line.

    Args:
        config: A YAML file; see `LateChunkOptions.from_config`. What the command line changes
            counts as if it stood there.
        model: Hub name or local path; ``None``: the file's.
        pairs: Options as ``NAME=VALUE``.

    Raises:
        OptionError: A pair or an option is wrong, or no model is named.
    """
    given: dict[str, Any] = {}
    if config is not None:
        # As it stands there: of checked options with `enabled: false` the weight is gone.
        given |= LateChunkOptions.read_mapping(config)
    if model is not None:
        given["model"] = model
    given |= read_pairs(pairs, "--option", texts=_TEXTS)
    if "model" not in given:
        raise OptionError("no model: give --model NAME or --config latechunk.yaml")
    return LateChunkOptions.from_mapping(given)


def read_pairs(pairs: Sequence[str], flag: str, *, texts: Container[str] = ()) -> dict[str, Any]:
    """``NAME=VALUE`` pairs; a value is read as YAML reads it.

    Args:
        pairs: The pairs.
        flag: The flag they came with, for the error.
        texts: Names whose values are taken as they are, but for ``null``.

    Raises:
        OptionError: A pair is none.
    """
    read = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.strip() and equals):
            raise OptionError(f"{flag} wants NAME=VALUE, not {pair!r}")
        as_it_is = name.strip() in texts and value.strip() != "null"
        read[name.strip()] = value if as_it_is else _read_value(value)
    return read


def _read_value(text: str) -> Any:
    import yaml  # noqa: PLC0415  # as in options.py

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return text
    # A prompt such as "query: " is a mapping to YAML, and no option is one.
    return text if isinstance(value, dict) else value
