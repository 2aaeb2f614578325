"""Late chunking for LlamaIndex and LangChain: one engine, two thin adapters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.errors import LateChunkError
    from latechunk_integrations.options import LateChunkOptions
    from latechunk_integrations.schema import CharSpans, ChunkVectors, Parent, Span, SubSpanVectors

__all__ = [
    "CharSpans",
    "ChunkVectors",
    "LateChunkEngine",
    "LateChunkError",
    "LateChunkOptions",
    "Parent",
    "Span",
    "SubSpanVectors",
]
__version__ = "0.1.0"

# Each is loaded when it is first used: importing the package costs next to nothing.
_HOMES = {
    "CharSpans": "schema",
    "ChunkVectors": "schema",
    "LateChunkEngine": "engine",
    "LateChunkError": "errors",
    "LateChunkOptions": "options",
    "Parent": "schema",
    "Span": "schema",
    "SubSpanVectors": "schema",
}


if not TYPE_CHECKING:  # or every misspelt name would have the type Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
