"""Where figures come from: versions, machine, models, and the data, without paths of a machine."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import latechunk_integrations
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.results import ModelFacts, Provenance

# Addresses may be of an inner network; where a key comes from is nobody's business.
_PRIVATE = ("base_url", "api_key")
_PACKAGES = ("torch", "transformers", "numpy")


def collect_provenance(
    engines: Sequence[LateChunkEngine], names: Sequence[str], golden: GoldenSet
) -> Provenance:
    """What a reader must know to trust or repeat figures."""
    return Provenance(
        version=latechunk_integrations.__version__,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        command=_describe_command(sys.argv),
        hardware=_describe_hardware(engines),
        software=", ".join([f"Python {platform.python_version()}", *_list_versions()]),
        dataset=_hash_set(golden),
        models=tuple(_describe_model(*each) for each in zip(engines, names, strict=True)),
    )


def name_models(engines: Sequence[LateChunkEngine]) -> list[str]:
    """A name for each model, none twice."""
    names: list[str] = []
    for engine in engines:
        name = shorten_path(engine.options.model)
        n_before = sum(known.partition(" (")[0] == name for known in names)
        names.append(f"{name} ({n_before + 1})" if n_before else name)
    return names


def shorten_path(text: str) -> str:
    """A path without what it tells of a machine: its last two parts; other texts as they are."""
    absolute = Path(text).is_absolute() or text.startswith(("~", ".."))
    return "/".join(Path(text).parts[-2:]) if absolute else text


def _describe_command(arguments: Sequence[str]) -> str:
    """The command line, if it was this package's own."""
    if not arguments or Path(arguments[0]).stem not in ("latechunk", "__main__"):
        return ""
    shown = []
    for argument in arguments[1:]:
        name, equals, value = argument.partition("=")
        hidden = equals and name.strip().removeprefix("-").endswith(_PRIVATE)
        kept = "..." if hidden else shorten_path(value)
        shown.append(f"{name}={kept}" if equals else shorten_path(argument))
    return " ".join(["latechunk", *(f"'{each}'" if " " in each else each for each in shown)])


def _describe_hardware(engines: Sequence[LateChunkEngine]) -> str:
    processor = platform.processor() or platform.machine()
    found = [f"{platform.system()} on {processor}, {os.cpu_count() or '?'} cores"]
    if any(str(engine.encoder.device).startswith("cuda") for engine in engines):
        import torch  # noqa: PLC0415  # there where a model runs on CUDA

        found.append(torch.cuda.get_device_name())
    return ", ".join(found)


def _list_versions() -> list[str]:
    installed = {name: metadata.version(name) for name in _PACKAGES if find_spec(name)}
    return [f"{name} {version}" for name, version in installed.items()]


def _describe_model(engine: LateChunkEngine, name: str) -> ModelFacts:
    def shown(option: str, value: Any) -> Any:
        return shorten_path(value) if isinstance(value, str) and option in _PATHS else value

    encoder = engine.encoder
    return ModelFacts(
        name=name,
        fingerprint=engine.fingerprint,
        dtype=str(encoder.dtype or ""),
        device=str(encoder.device or ""),
        dimensions=engine.dimensions,
        max_tokens=encoder.max_tokens,
        options={
            option: shown(option, value)
            for option, value in engine.options.to_dict().items()
            if option not in _PRIVATE
        },
    )


_PATHS = ("model", "tokenizer", "document_lora", "query_lora")


def _hash_set(golden: GoldenSet) -> str:
    digest = hashlib.sha256()
    for document in golden.documents:
        digest.update(f"{document.doc_id}\0{document.title}\0{document.text}\0".encode())
    for query in golden.queries:
        digest.update(f"{query.query_id}\0{query.text}\0".encode())
    for span in golden.spans:
        places = [(place.start, place.end) for place in span.places]
        digest.update(f"{span.query_id}\0{span.doc_id}\0{places}\0".encode())
    return digest.hexdigest()[:32]
