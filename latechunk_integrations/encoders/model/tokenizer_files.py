"""A model's tokenizer from its own files, without the libraries that run models."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from latechunk_integrations.encoders.model.published import PublishedFiles
from latechunk_integrations.encoders.model.tokenization import check_vocabulary
from latechunk_integrations.errors import ModelLoadError

# Tokenizers without a limit of their own state a number of this kind.
_NO_LIMIT = 10**9


def read_tokenizer(files: PublishedFiles) -> Tokenizer:
    """The fast tokenizer of a model.

    Args:
        files: The model's files. Without a ``tokenizer.json`` transformers converts what is
            there, if it is installed.

    Raises:
        ModelLoadError: There is no tokenizer, or none that can be read.
    """
    path = files.path("tokenizer.json", files.transformer_folder)
    try:
        return _convert_slow(files) if path is None else Tokenizer.from_file(str(path))
    # The tokenizers library raises bare exceptions, and transformers all kinds of them.
    except Exception as error:
        raise ModelLoadError(
            f"cannot read the tokenizer of {files.model!r}: name its hub repository, or a local "
            f"folder with its tokenizer.json ({error})"
        ) from error


def declared_length(files: PublishedFiles) -> int | None:
    """The window length that the tokenizer's settings declare; None if they declare none."""
    settings = files.json("tokenizer_config.json", files.transformer_folder)
    length = settings.get("model_max_length") if isinstance(settings, dict) else None
    known = isinstance(length, (int, float)) and 0 < length < _NO_LIMIT
    return int(length) if known else None  # type: ignore[arg-type]  # a number by then


def _convert_slow(files: PublishedFiles) -> Tokenizer:
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415  # slow to import, and an extra
    except ImportError as error:
        raise ModelLoadError(
            "it has no tokenizer.json, and what converts other files comes with the extra 'local': "
            "pip install 'latechunk-integrations[local]'"
        ) from error
    loaded: Any = AutoTokenizer.from_pretrained(
        files.repository, revision=files.revision, cache_dir=files.cache_folder
    )
    check_vocabulary(loaded, files.model)
    backend = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelLoadError(f"{type(loaded).__name__} is a slow tokenizer without offset mapping")
    return backend
