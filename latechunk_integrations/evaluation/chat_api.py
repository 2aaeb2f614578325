"""A chat model behind an OpenAI-compatible address, as a function from a prompt to text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from latechunk_integrations.encoders.http.client import HttpClient, json_call
from latechunk_integrations.encoders.http.settings import HttpSettings

_KEY_VARIABLE = "OPENAI_API_KEY"


def open_chat(base_url: str, model: str) -> Callable[[str], str]:
    """Ask a chat model over HTTP; the key, if one is needed, is in ``OPENAI_API_KEY``.

    Args:
        base_url: Such as ``http://localhost:8000/v1``.
        model: The name that the server knows the model by.

    Raises:
        MissingExtraError: The extra ``servers`` is not installed.
    """
    client = HttpClient(HttpSettings(base_url.rstrip("/"), _KEY_VARIABLE))

    def ask(prompt: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0}
        return client.run(json_call("/chat/completions", body, _read_text))

    return ask


def _read_text(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])
