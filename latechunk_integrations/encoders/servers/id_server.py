"""Servers that take token ids as they are: exact windows, offsets from a tokenizer here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.http.client import HttpClient
from latechunk_integrations.encoders.model.families import find_card
from latechunk_integrations.encoders.model.prompts import choose_document_prompt, warn_of_unused
from latechunk_integrations.encoders.model.served import pool_rows, read_served_model
from latechunk_integrations.encoders.servers.token_server import ServerEncoder
from latechunk_integrations.errors import ContractError
from latechunk_integrations.options import LateChunkOptions

PROBE = "The supplier delivers every part within thirty days."


class IdServerEncoder(ServerEncoder):
    """A model on a server that takes token ids.

    Texts are read here, with the model's own tokenizer, so that offsets are exact; of the
    model's files its weights are not needed. The server is asked once whether it reads a
    sentence alike. Queries and standalone passages go through the token embeddings too, and
    are pooled here as the model does it.

    Args:
        client: Reaches the server.
        options: What the engine was asked for.
        limit: Most tokens that the server takes.
        identity: What names the served model in the fingerprint.

    Raises:
        ContractError: The server's model is another one, or cannot be late-chunked.
        ModelLoadError: Its tokenizer cannot be read.
        OptionError: An option does not fit the model.
    """

    def __init__(
        self, client: HttpClient, options: LateChunkOptions, *, limit: int, identity: Any
    ) -> None:
        name = options.tokenizer or options.model
        card = find_card(name) or find_card(options.model)
        tokenizer, contract, self.heads = read_served_model(
            name, options.revision, card, options.query_prompt_name
        )
        asked = options.query_prompt
        warn_of_unused(name, contract.query_prompt, contract.prompt_names, asked)
        super().__init__(client, tokenizer, options)
        self.set_contract(contract)
        self.prompt_pooled = contract.prompt_pooled
        self.document_prompt, self.title_slot = choose_document_prompt(
            options.document_prompt, contract.title_template or contract.document_prompt
        )
        self.query_prompt = contract.query_prompt if asked is None else asked
        self.plain_tokens = min(limit, contract.max_seq_length or limit)
        self.set_window(limit, self.plain_tokens)
        self._check_tokenizer(name)
        self.check_probe(self.probe(PROBE))
        self.set_fingerprint(identity, options.revision)

    @abstractmethod
    def server_ids(self, text: str) -> list[int]:
        """The token ids that the server reads in a text, special tokens included."""

    def check_probe(self, matrix: NDArray[np.float32]) -> None:
        """Look at the first token embeddings that the server gives; by default all is well."""

    def embed_plain(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """See `ServerEncoder.embed_plain`."""
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        room = (self.plain_tokens or self.max_tokens) - len(self.tail)
        rows, skipped = [], []
        for text in self.tokenizer.tokenize(texts, prompt):
            front = np.concatenate([self.lead, text.prompt, text.ids])[:room]
            rows.append(np.concatenate([front, self.tail]).tolist())
            unpooled = len(text.prompt) and not self.prompt_pooled
            skipped.append(len(self.lead) + len(text.prompt) if unpooled else 0)
        pooled = [
            pool_rows(matrix, self.contract.pooling_mode, n_skipped)
            for matrix, n_skipped in zip(self.matrices(rows), skipped, strict=True)
        ]
        return self.finish(np.array(pooled))

    def _check_tokenizer(self, name: str) -> None:
        ours = self.read_alone(PROBE)
        theirs = self.server_ids(PROBE)
        if ours != theirs:
            raise ContractError(
                f"the tokenizer of {name!r} and the server read {PROBE!r} differently (as "
                f"{ours[:8]}... and {theirs[:8]}...): point tokenizer= at the files of the model "
                "that the server has"
            )
