"""What a name in an option means: a part of this package, of another, or ``module:name``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from latechunk_integrations.errors import LateChunkError, MissingExtraError, OptionError, hint_at


@dataclass(frozen=True)
class PluginKind:
    """Parts that a user names in one option, and that other packages can bring.

    Args:
        option: The option, as errors call it.
        group: Entry-point group in which an installed package lists such parts.
        own: Parts of this package: ``module:name`` by name.
        special: Further names, which the caller resolves before it asks here.
    """

    option: str
    group: str
    own: Mapping[str, str] = field(default_factory=dict)
    special: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Every name that can be given, but for ``module:name``."""
        return sorted({*self.special, *self.own, *self._list_installed()})

    def find(self, name: str) -> Any:
        """The object that a name means. ``module:name`` imports code of the user's choice.

        Args:
            name: A name of this package, ``module:name``, or the name of an entry point, in
                this order.

        Raises:
            OptionError: There is no such name, or what it means cannot be imported.
            MissingExtraError: It is part of this package, and an extra is not installed.
        """
        if name in self.own:
            return _import_named(self.own[name])
        try:
            if ":" in name:
                return _import_named(name)
            if name in self._list_installed():
                return self._list_installed()[name].load()
        except LateChunkError:
            raise
        except Exception as error:
            raise OptionError(
                f"no {self.option} {name!r}: it cannot be imported "
                f"({type(error).__name__}: {error})"
            ) from error
        raise OptionError(self._explain_unknown(name))

    def _list_installed(self) -> Mapping[str, Any]:
        return {point.name: point for point in entry_points(group=self.group)}

    def _explain_unknown(self, name: str) -> str:
        known = self.names()
        listed = ", ".join(map(repr, [*known, "module:name"]))
        return f"no {self.option} {name!r}{hint_at(name, known)}; it is one of {listed}"


def _import_named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_PACKAGE = "latechunk_integrations"

ENCODERS = PluginKind(
    "encoder",
    f"{_PACKAGE}.encoders",
    {
        "local": f"{_PACKAGE}.encoders.local.encoder:LocalEncoder",
        "tei": f"{_PACKAGE}.encoders.servers.tei:TeiEncoder",
        "vllm": f"{_PACKAGE}.encoders.servers.vllm:VllmEncoder",
        "llama.cpp": f"{_PACKAGE}.encoders.servers.llama_cpp:LlamaCppEncoder",
        "jina": f"{_PACKAGE}.encoders.services.jina_api:JinaEncoder",
        "voyage": f"{_PACKAGE}.encoders.services.context_apis:VoyageEncoder",
        "perplexity": f"{_PACKAGE}.encoders.services.context_apis:PerplexityEncoder",
    },
)
"""Where a model runs: classes with ``load(options)``, which gives a `TokenEncoder` or a
`ChunkEncoder`."""

SPLITTERS = PluginKind(
    "splitter", f"{_PACKAGE}.splitters", special=("recursive", "native", "sentences")
)
"""How a text is cut; see `latechunk_integrations.splitting.text_splitter`."""

WRITERS = PluginKind(
    "target",
    f"{_PACKAGE}.writers",
    {
        "chroma": f"{_PACKAGE}.bulk.writers.chroma:ChromaWriter",
        "lancedb": f"{_PACKAGE}.bulk.writers.lancedb:LanceWriter",
        "milvus": f"{_PACKAGE}.bulk.writers.milvus:MilvusWriter",
        "pgvector": f"{_PACKAGE}.bulk.writers.pgvector:PgvectorWriter",
        "qdrant": f"{_PACKAGE}.bulk.writers.qdrant:QdrantWriter",
    },
)
"""Where rows go: called with place, collection and dimensions, gives a ``Writer``."""


def import_extra(module: str, *, extra: str) -> Any:
    """Import a module that an extra brings.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module, extra=extra) from error
