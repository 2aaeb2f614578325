"""What `HuggingFaceEmbedding` takes, in our words: most pipelines come from there."""

from __future__ import annotations

from typing import Any

from latechunk_integrations.errors import OptionError

__all__ = ["HUGGING_FACE_HINTS", "from_hugging_face"]

_SAME = {
    "max_length": "max_tokens",
    "query_instruction": "query_prompt",
    "text_instruction": "document_prompt",
}

HUGGING_FACE_HINTS = {
    "cache_folder": "set HF_HOME, or give model_name the path of a local folder",
    "model_kwargs": "options of their own: dtype=, revision=, trust_remote_code=",
    "torch_dtype": "dtype= is the option",
    "tokenizer_kwargs": "the model's own tokenizer is used; max_tokens= is the window's length",
    "tokenizer_name": "the model's own tokenizer is used",
    "backend": "the model runs in PyTorch; other runtimes are servers: encoder='tei', base_url=",
    "parallel_process": "processes= is a number of worker processes",
    "target_devices": "devices= is a list, with a worker process for each",
    "prompts": "document_prompt= and query_prompt= are the options",
    "truncate_dim": "dimensions= is the option",
    "token": "set HF_TOKEN",
    "local_files_only": "set HF_HUB_OFFLINE=1",
}
"""What to do instead of giving an argument that has no counterpart."""


def from_hugging_face(given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `HuggingFaceEmbedding` under our names, the others as they are.

    Args:
        given: Keywords that are no fields of the adapter.
        own: Those that are; ``show_progress_bar`` is put there.

    Raises:
        OptionError: An option is given under both names.
    """
    options = dict(given)
    if "show_progress_bar" in options:
        own.setdefault("show_progress", options.pop("show_progress_bar"))
    for theirs, ours in _SAME.items():
        if theirs not in options:
            continue
        value = options.pop(theirs)
        if value is not None and options.setdefault(ours, value) != value:
            raise OptionError(f"{theirs} is {ours} by another name: give one of them")
    return options
