"""A model behind llama.cpp's server with `--pooling none`: token embeddings for token ids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.http.client import Call, HttpClient, HttpSettings, json_call
from latechunk_integrations.encoders.servers.id_server import IdServerEncoder
from latechunk_integrations.encoders.servers.matrices import RowReceiver
from latechunk_integrations.encoders.servers.token_server import refuse_local_options
from latechunk_integrations.errors import ContractError, ServerAnswerError
from latechunk_integrations.options import LateChunkOptions

__all__ = ["LlamaCppEncoder"]


class LlamaCppEncoder(IdServerEncoder):
    """A model behind ``llama-server --embeddings --pooling none``; see `IdServerEncoder`."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> LlamaCppEncoder:
        """Ask the server that the options name what it serves.

        Raises:
            ServerError: It does not answer, or not as documented.
            ContractError: It pools.
            OptionError: ``base_url`` is missing.
        """
        refuse_local_options(options)
        settings = HttpSettings.from_options(options, base_url=None, key_variable="LLAMA_API_KEY")
        client = HttpClient(settings)
        limit, path = client.run(json_call("/props", None, _read_props))
        return cls(client, options, limit=limit, identity=[options.model, path])

    def server_ids(self, text: str) -> list[int]:
        """The token ids that the server reads in a text, special tokens included."""
        body = {"content": text, "add_special": True}
        return self.client.run(json_call("/tokenize", body, lambda answer: list(answer["tokens"])))

    def matrix_call(self, ids: list[int], row: int) -> Call[NDArray[np.float32]]:
        """The request for the token embeddings of one window."""
        width = self.known_width

        def receive() -> RowReceiver:
            return RowReceiver(len(ids), width, _rows)

        return Call("/embeddings", {"input": ids}, receive, row=row)

    def probe(self, text: str) -> NDArray[np.float32]:
        """The token embeddings of a text with its special tokens; sets the width.

        Raises:
            ContractError: The server pools.
        """
        try:
            return super().probe(text)
        except ServerAnswerError as error:
            raise ContractError(
                "the server gives no token embeddings: start llama-server with --embeddings "
                f"--pooling none ({error})"
            ) from error


def _read_props(answer: Any) -> tuple[int, str]:
    return int(answer["default_generation_settings"]["n_ctx"]), str(answer.get("model_path"))


def _rows(answer: Any) -> Any:
    (one,) = answer
    return one["embedding"]
