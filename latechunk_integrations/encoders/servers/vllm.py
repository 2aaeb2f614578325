"""A model behind vLLM: token embeddings of `/pooling`, for token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.host_sums import sum_on_host
from latechunk_integrations.core.pooling import Bags
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.encoders.http.client import Call, HttpClient, HttpSettings, json_call
from latechunk_integrations.encoders.servers.id_server import PROBE, IdServerEncoder
from latechunk_integrations.encoders.servers.matrices import matrix_of
from latechunk_integrations.encoders.servers.token_server import read_limit, refuse_local_options
from latechunk_integrations.encoders.servers.vllm_plugin import read_bags, write_bags
from latechunk_integrations.errors import ContractError, OptionError, ServerAnswerError, ServerError
from latechunk_integrations.options import LateChunkOptions

_UNIT_TOLERANCE = 1e-3
# Of the sums of one sentence, computed twice.
_SUM_TOLERANCE = 1e-3


class VllmEncoder(IdServerEncoder):
    """A model behind vLLM, started with ``--runner pooling``; see `IdServerEncoder`.

    Started with ``--io-processor-plugin latechunk`` too, the server sums the token embeddings of
    each chunk itself, and they do not travel.
    """

    sums_there = False

    @classmethod
    def load(cls, options: LateChunkOptions) -> VllmEncoder:
        """Ask the server that the options name what it serves.

        Raises:
            ServerError: It does not answer, or not as documented.
            OptionError: ``base_url`` is missing, or the server has another model.
        """
        refuse_local_options(options)
        settings = HttpSettings.from_options(options, base_url=None, key_variable="VLLM_API_KEY")

        def check(answer: Any) -> tuple[int, Any]:
            models = {str(model["id"]): model for model in answer["data"]}
            if options.model not in models:
                names = ", ".join(map(repr, models)) or "no model"
                raise OptionError(f"the server has {names}, not {options.model!r}: correct model=")
            served = models[options.model]
            return read_limit(served["max_model_len"]), served.get("root")

        with HttpClient(settings).closed_on_error() as client:
            limit, root = client.run(json_call("/v1/models", None, check))
            return cls(client, options, limit=limit, identity=[options.model, root])

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

    def sum_tokens(
        self, batch: TokenBatch, bags: Bags, rows: NDArray[np.int64], begins: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Sums of chunks, from a server that has the plugin; see `SummingEncoder`.

        Raises:
            ServerError: With the row that it was about.
        """
        moved = replace(bags, starts=bags.starts + begins[:, None])
        sums = np.zeros((len(bags), self.token_dim), np.float32)
        asked = np.unique(rows).tolist()

        def calls() -> Iterator[Call[NDArray[np.float32]]]:
            for row in asked:
                ids = batch.ids[row, : batch.lengths[row]].tolist()
                yield self.sum_call(ids, moved.take(np.flatnonzero(rows == row)), row)

        for row, summed in zip(asked, self.client.run_all(calls()), strict=True):
            sums[rows == row] = summed
        return sums

    def sum_call(self, ids: list[int], bags: Bags, row: int) -> Call[NDArray[np.float32]]:
        """The request for the sums of one window's chunks."""
        data = {"ids": ids, **write_bags(bags)}
        # The answer repeats it: sums of other ranges are found out.
        key = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
        width = self.known_width

        def check(answer: Any) -> NDArray[np.float32]:
            given = answer["data"]
            if given["key"] != key or given["n_tokens"] != len(ids):
                raise ServerAnswerError("the server summed another window than it was asked for")
            return matrix_of(given["sums"], len(bags), width)

        body = {"model": self.options.model, "data": {"key": key, **data}}
        return json_call("/pooling", body, check, row=row)

    def check_probe(self, matrix: NDArray[np.float32]) -> None:
        """Refuse token embeddings that were given unit length one by one; look for the plugin.

        Raises:
            ContractError: They were.
        """
        if np.allclose(np.linalg.norm(matrix, axis=1), 1.0, atol=_UNIT_TOLERANCE):
            raise ContractError(
                "the server gives every token embedding unit length and does not know "
                "use_activation=false; take a newer vLLM"
            )
        self.sums_there = self._finds_plugin(matrix)

    def _finds_plugin(self, matrix: NDArray[np.float32]) -> bool:
        """Whether the server sums, and as it should.

        Raises:
            ContractError: It sums, and the sums are not those of its token embeddings.
        """
        n_tokens = len(matrix)
        bags = read_bags({"starts": [[0, 1]], "lengths": [[1, n_tokens - 1]]}, n_tokens)
        # Most servers have no plugin, and some say so with the status of what may pass.
        try:
            given = self.client.run_once(self.sum_call(self.read_alone(PROBE), bags, 0))
        except ServerError:
            return False
        expected = sum_on_host(matrix[None], bags, np.zeros(1, np.int64))
        if np.linalg.norm(given - expected) > _SUM_TOLERANCE * np.linalg.norm(expected):
            raise ContractError(
                "the server's plugin gives other sums than its token embeddings have: install the "
                "latechunk_integrations of this machine there, or start it without the plugin"
            )
        return True
