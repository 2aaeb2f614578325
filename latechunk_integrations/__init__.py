"""Late chunking for LlamaIndex and LangChain: one engine, two thin adapters."""

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import LateChunkError
from latechunk_integrations.options import FRUGAL, RECOMMENDED, LateChunkOptions
from latechunk_integrations.schema import CharSpans, ChunkVectors, Parent, Span

__all__ = [
    "FRUGAL",
    "RECOMMENDED",
    "CharSpans",
    "ChunkVectors",
    "LateChunkEngine",
    "LateChunkError",
    "LateChunkOptions",
    "Parent",
    "Span",
]
__version__ = "0.1.0"
