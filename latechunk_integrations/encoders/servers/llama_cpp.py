"""A model behind llama.cpp's server with `--pooling none`: token embeddings for token ids."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.http.client import Call, HttpClient, HttpSettings, json_call
from latechunk_integrations.encoders.servers.id_server import IdServerEncoder
from latechunk_integrations.encoders.servers.matrices import RowReceiver
from latechunk_integrations.encoders.servers.token_server import read_limit, refuse_local_options
from latechunk_integrations.errors import ContractError, OptionError, ServerAnswerError, ServerError
from latechunk_integrations.options import LateChunkOptions

# What llama-server says of an input that its physical batch does not hold.
_BATCH = re.compile(r"current batch size: (\d+)")


class LlamaCppEncoder(IdServerEncoder):
    """A model behind ``llama-server --embeddings --pooling none``; see `IdServerEncoder`."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> LlamaCppEncoder:
        """Ask the server that the options name what it serves.

        Raises:
            ServerError: It does not answer, or not as documented.
            ContractError: It pools.
            OptionError: ``base_url`` is missing, or a window does not fit the physical batch.
        """
        refuse_local_options(options)
        settings = HttpSettings.from_options(options, base_url=None, key_variable="LLAMA_API_KEY")
        with HttpClient(settings).closed_on_error() as client:
            limit, file = client.run(json_call("/props", None, _read_props))
            encoder = cls(client, options, limit=limit, identity=[options.model, *file])
            encoder.check_batch(limit)
            return encoder

    def check_batch(self, limit: int) -> None:
        """See that a window fits the physical batch, which nothing but a refusal tells.

        The server is asked for more tokens than its context holds. It refuses that either way,
        without a forward pass, and names the batch if that is what is too short.

        Args:
            limit: Tokens of the server's context.

        Raises:
            OptionError: A window does not fit.
        """
        # A refusal for good comes with the status of one that may pass: it is asked for once.
        try:
            self.client.run_once(self.matrix_call([self.pad_id] * (limit + 1), 0))
        except ServerError as error:
            # Any other refusal is of the context, which is too short as it should be.
            batch = _BATCH.search(str(error))
            if batch and int(batch[1]) < self.max_tokens:
                raise OptionError(
                    f"the server computes {batch[1]} tokens at once, and a window has "
                    f"{self.max_tokens}: start llama-server with -b {self.max_tokens} -ub "
                    f"{self.max_tokens}, or set max_tokens={batch[1]}"
                ) from error

    def server_ids(self, text: str) -> list[int]:
        """The token ids that the server reads in a text, special tokens included."""
        body = {"content": text, "add_special": True}
        return self.client.run(json_call("/tokenize", body, lambda answer: list(answer["tokens"])))

    def matrix_call(self, ids: list[int], row: int) -> Call[NDArray[np.float32]]:
        """The request for the token embeddings of one window."""
        width = self.known_width

        def receive() -> RowReceiver:
            return RowReceiver(len(ids), width, _read_rows)

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


def _read_props(answer: Any) -> tuple[int, list[str]]:
    """The context of a slot, then the path and the precision of the model."""
    limit = read_limit(answer["default_generation_settings"]["n_ctx"])
    return limit, [str(answer.get(name)) for name in ("model_path", "model_ftype")]


def _read_rows(answer: Any) -> Any:
    (one,) = answer
    return one["embedding"]
