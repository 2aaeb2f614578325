"""What `HuggingFaceEmbedding` takes, in our words: most pipelines come from there."""

from __future__ import annotations

from typing import Any

from latechunk_integrations.errors import OptionError

_SAME = {
    "max_length": "max_tokens",
    "query_instruction": "query_prompt",
    "text_instruction": "document_prompt",
}


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
