"""`ChunkingOptions`: how documents are cut, beside the engine's options in one file.

The file that `latechunk tune` writes, and that every part of the package reads::

    engine:
      model: sentence-transformers/all-MiniLM-L6-v2
    chunking:
      splitter: recursive
      chunk_size: 128
      chunk_overlap: 0
      header: auto
      parent_by: null
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from latechunk_integrations.errors import OptionError, hint_at
from latechunk_integrations.options_file import CHUNKING_SECTION, read_file

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class ChunkingOptions:
    """How documents become chunks with headers.

    Args:
        splitter: ``"recursive"``, ``"module:name"`` or the name of an entry point; see
            `latechunk_integrations.splitting.text_splitter`.
        chunk_size: Tokens of a chunk at most; ``None``: 128 for ``"recursive"``, and for every
            other splitter its own.
        chunk_overlap: Tokens that neighbouring chunks share at most.
        parent_by: Metadata key that says which source documents are one parent.
        header: ``"auto"``: title and heading path, found in metadata and text; a metadata key
            that holds the title; ``None``: no header.

    Raises:
        OptionError: A value is impossible.
    """

    splitter: str = "recursive"
    chunk_size: int | None = None
    chunk_overlap: int = 0
    parent_by: str | None = None
    header: str | None = "auto"

    def __post_init__(self) -> None:
        """Check types and ranges."""
        splitter: object = self.splitter
        if not isinstance(splitter, str) or not splitter:
            raise OptionError(f"chunking: splitter must be a name, not {self.splitter!r}")
        for name, least in (("chunk_size", 1), ("chunk_overlap", 0)):
            value = getattr(self, name)
            if value is None and name == "chunk_size":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"chunking: {name} must be at least {least}, not {value!r}")
        for name in ("parent_by", "header"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise OptionError(f"chunking: {name} must be a metadata key")

    @property
    def arguments(self) -> dict[str, Any]:
        """What the splitter is given besides the size."""
        return {"chunk_overlap": self.chunk_overlap} if self.chunk_overlap else {}

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, which `from_config` reads back."""
        return asdict(self)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any]) -> ChunkingOptions:
        """The section ``chunking`` of a YAML file or a mapping; the defaults without one.

        Raises:
            OptionError: The file cannot be read, a key is unknown or a value impossible.
        """
        section = read_file(source).get(CHUNKING_SECTION)
        if section is None:
            return cls()
        if not isinstance(section, Mapping):
            raise OptionError(f"{CHUNKING_SECTION!r} must hold a mapping, not {section!r}")
        valid = [field.name for field in fields(cls)]
        for key in section:
            if key not in valid:
                hint = hint_at(str(key), valid)
                raise OptionError(f"chunking: unknown {key!r}{hint}; it has {', '.join(valid)}")
        return cls(**section)


def joining_key(
    parent_by: str | Callable[[_Item], object], item: _Item, metadata: Mapping[Any, Any]
) -> object:
    """What source documents of one parent share.

    Args:
        parent_by: A metadata key, or a function of the document.
        item: The framework's document.
        metadata: Of the document.

    Returns:
        None: the document is a parent of its own.
    """
    key = metadata.get(parent_by) if isinstance(parent_by, str) else parent_by(item)
    # A table leaves out what it does not know as "" or NaN: that is nothing to share.
    nothing = not key if isinstance(key, str) else isinstance(key, float) and math.isnan(key)
    return None if nothing else key


def is_config(source: object) -> bool:
    """Whether this names a file of options, and not a model."""
    return isinstance(source, (str, Path)) and str(source).lower().endswith((".yaml", ".yml"))
