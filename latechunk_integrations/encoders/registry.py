"""Which encoder an option names; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from latechunk_integrations.encoders.base import ChunkEncoder, TokenEncoder
from latechunk_integrations.options import EncoderChoice, LateChunkOptions

__all__ = ["load_encoder"]

# Module and class; the class has `load(options)`.
_ENCODERS: dict[EncoderChoice, tuple[str, str]] = {
    "local": ("latechunk_integrations.encoders.local.encoder", "LocalEncoder"),
    "tei": ("latechunk_integrations.encoders.servers.tei", "TeiEncoder"),
    "vllm": ("latechunk_integrations.encoders.servers.vllm", "VllmEncoder"),
    "llama.cpp": ("latechunk_integrations.encoders.servers.llama_cpp", "LlamaCppEncoder"),
    "jina": ("latechunk_integrations.encoders.services.jina_api", "JinaEncoder"),
    "voyage": ("latechunk_integrations.encoders.services.context_apis", "VoyageEncoder"),
    "perplexity": ("latechunk_integrations.encoders.services.context_apis", "PerplexityEncoder"),
}


def load_encoder(options: LateChunkOptions) -> TokenEncoder | ChunkEncoder:
    """The encoder that the options name, ready to work.

    Raises:
        MissingExtraError: What it needs is not installed.
        ModelError: The model cannot be loaded, or cannot be late-chunked.
        ServerError: The server does not answer, or not as documented.
    """
    module, name = _ENCODERS[options.encoder]
    return cast("TokenEncoder | ChunkEncoder", getattr(import_module(module), name).load(options))
