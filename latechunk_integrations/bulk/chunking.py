"""How documents are cut: a splitter as plain values, so that it can be sent and compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from latechunk_integrations.bulk.rows import digest
from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import ChunkNotFoundError, InputError
from latechunk_integrations.schema import CharSpans
from latechunk_integrations.splitting import chunk_spans, text_splitter

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


@dataclass(frozen=True)
class Chunking:
    """A splitter and its arguments.

    Args:
        splitter: See `latechunk_integrations.splitting.text_splitter`.
        chunk_size: Tokens of a chunk; ``None`` where the splitter has its own.
        arguments: More arguments of the splitter.
    """

    splitter: Any = "recursive"
    chunk_size: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any]) -> Chunking:
        """What the section ``chunking`` of a file says; see `ChunkingOptions`.

        Raises:
            OptionError: The file cannot be read, or an option is wrong.
        """
        options = ChunkingOptions.from_config(source)
        return cls(options.splitter, options.chunk_size, options.arguments)

    @property
    def fingerprint(self) -> str:
        """Hash of what names the splitter.

        A function is known by its name, not by its code; a built splitter, or the object whose
        method it is, by its class and what its attributes say of themselves (their ``repr``). It
        is the same in every process.
        """
        arguments = _write_json(dict(self.arguments), _name_splitter)
        return digest(_name_splitter(self.splitter), str(self.chunk_size), arguments)

    def build(self, engine: LateChunkEngine) -> Callable[[str], Iterable[Any]]:
        """The function from a text to its chunks.

        Raises:
            OptionError: There is no such splitter, or it counts tokens and the engine has none.
            MissingExtraError: Its package is not installed.
        """
        # Not every encoder gives tokens, and only this splitter counts them.
        encoder = engine.encoder if self.splitter == "recursive" else None
        return text_splitter(
            self.splitter, self.chunk_size, cast("TokenEncoder", encoder), self.arguments
        )


def spans_of(split: Callable[[str], Iterable[Any]], text: str, document_id: str) -> CharSpans:
    """The chunks of a document; two over the same span are one.

    Raises:
        ChunkNotFoundError: A chunk is not in the text.
        InputError: The splitter gave no chunk, or spans that are none.
    """
    spans, n_lost = chunk_spans(text, split(text))
    if n_lost:
        raise ChunkNotFoundError(
            f"{n_lost} chunks of document {document_id!r} are not in its text: take a splitter "
            "that does not change the text, or that gives (start, end) pairs",
            parent_id=document_id,
        )
    if not len(spans):
        raise InputError(f"the splitter gave no chunk of document {document_id!r}")
    _, first = np.unique(spans.array, axis=0, return_index=True)
    return spans if len(first) == len(spans) else CharSpans(spans.array[np.sort(first)])


def _name_splitter(splitter: Any) -> str:
    if isinstance(splitter, str):
        return splitter
    if isinstance(splitter, partial):
        given = _write_json([splitter.args, splitter.keywords], _name_splitter)
        return f"{_name_splitter(splitter.func)}{given}"
    owner = getattr(splitter, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):  # a function of C has its module
        return f"{_name_splitter(owner)}.{splitter.__name__}"
    if hasattr(splitter, "__qualname__"):
        return f"{splitter.__module__}:{splitter.__qualname__}"
    if not hasattr(splitter, "__dict__"):
        return _show_value(splitter)
    values = {name: _write_json(value, _show_value) for name, value in vars(splitter).items()}
    kind = type(splitter)
    return f"{kind.__module__}:{kind.__qualname__}{sorted(values.items())}"


def _write_json(value: Any, default: Callable[[Any], str]) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=default)
    except (TypeError, ValueError):  # keys that have no order, or a circle
        return _show_value(value)


def _show_value(value: Any) -> str:
    """What a value says of itself, without its place in memory and the random order of sets."""
    if isinstance(value, (set, frozenset)):
        return f"set{sorted(map(_show_value, value))}"
    return _ADDRESS.sub("", repr(value))
