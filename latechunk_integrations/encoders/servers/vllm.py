"""A model behind vLLM: token embeddings of `/pooling`, for token ids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.http.client import Call, HttpClient, HttpSettings, json_call
from latechunk_integrations.encoders.servers.id_server import IdServerEncoder
from latechunk_integrations.encoders.servers.matrices import matrix_of
from latechunk_integrations.encoders.servers.token_server import refuse_local_options
from latechunk_integrations.errors import ContractError, OptionError, ServerAnswerError
from latechunk_integrations.options import LateChunkOptions

__all__ = ["VllmEncoder"]

_UNIT_TOLERANCE = 1e-3


class VllmEncoder(IdServerEncoder):
    """A model behind vLLM, started with ``--runner pooling``; see `IdServerEncoder`."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> VllmEncoder:
        """Ask the server that the options name what it serves.

        Raises:
            ServerError: It does not answer, or not as documented.
            OptionError: ``base_url`` is missing, or the server has another model.
        """
        refuse_local_options(options)
        settings = HttpSettings.from_options(options, base_url=None, key_variable="VLLM_API_KEY")
        client = HttpClient(settings)
        models = client.run(json_call("/v1/models", None, lambda answer: answer["data"]))
        served = [model for model in models if model["id"] == options.model]
        if not served:
            names = ", ".join(repr(model["id"]) for model in models)
            raise OptionError(f"the server has {names}, not {options.model!r}: correct model=")
        limit = int(served[0]["max_model_len"])
        return cls(client, options, limit=limit, identity=[options.model, served[0].get("root")])

    def server_ids(self, text: str) -> list[int]:
        """The token ids that the server reads in a text, special tokens included."""
        body = {"model": self.options.model, "prompt": text, "add_special_tokens": True}
        return self.client.run(json_call("/tokenize", body, lambda answer: list(answer["tokens"])))

    def matrix_call(self, ids: list[int], row: int) -> Call[NDArray[np.float32]]:
        """The request for the token embeddings of one window, as base64 of float32."""
        body = {
            "model": self.options.model,
            "task": "token_embed",
            "input": ids,
            "encoding_format": "base64",
            "embed_dtype": "float32",
            "endianness": "little",
            # Token embeddings of unit length would not add up to the model's own vector.
            "use_activation": False,
        }
        width = self.known_width

        def check(answer: Any) -> NDArray[np.float32]:
            (one,) = answer["data"]
            n_read = answer["usage"]["prompt_tokens"]
            if n_read != len(ids):
                raise ServerAnswerError(f"the server read {n_read} tokens of {len(ids)}")
            return matrix_of(one["data"], len(ids), width)

        return json_call("/pooling", body, check, row=row)

    def check_probe(self, matrix: NDArray[np.float32]) -> None:
        """Refuse token embeddings that were given unit length one by one.

        Raises:
            ContractError: They were.
        """
        if np.allclose(np.linalg.norm(matrix, axis=1), 1.0, atol=_UNIT_TOLERANCE):
            raise ContractError(
                "the server gives every token embedding unit length and does not know "
                "use_activation=false; take a newer vLLM"
            )
