"""A model behind Text Embeddings Inference: `/embed_all`, `/tokenize`, `/embed`, `/info`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.http.client import Call, HttpClient, HttpSettings, json_call
from latechunk_integrations.encoders.model.families import ModelCard, find_card
from latechunk_integrations.encoders.model.heads import (
    UnitHead,
    apply_heads,
    read_heads,
)
from latechunk_integrations.encoders.model.prompts import choose_document_prompt, own_prompts
from latechunk_integrations.encoders.model.published import PublishedFiles
from latechunk_integrations.encoders.model.vector_contract import VectorContract, cut_vectors
from latechunk_integrations.encoders.servers.matrices import RowReceiver, vectors_of
from latechunk_integrations.encoders.servers.tei_tokenizer import TeiTokenizer
from latechunk_integrations.encoders.servers.text_memory import TextMemory
from latechunk_integrations.encoders.servers.token_server import (
    ServerEncoder,
    read_limit,
    refuse_local_options,
)
from latechunk_integrations.errors import (
    ContractError,
    OptionError,
    RequestRefusedError,
    ServerAnswerError,
    ServerError,
)
from latechunk_integrations.options import LateChunkOptions

_PROBE = "The supplier delivers every part within thirty days."
# The server computes in half precision, and sums in another order than we do.
_PROBE_TOLERANCE = 0.02
# As `/info` names them, and as sentence-transformers does.
_POOLING = {"mean": "mean", "cls": "cls", "last_token": "lasttoken"}
_PROMPT_NAMES = {"document": ("document", "passage", "corpus"), "query": ("query",)}


@dataclass(frozen=True)
class TeiInfo:
    """What the server says of itself.

    Args:
        model: Name or path of the model.
        revision: Its commit; None where the server was not started with one.
        dtype: What the server computes in.
        pooling: As `/info` names it.
        max_tokens: Most tokens of a text, special tokens included.
        max_texts: Most texts of a request.
    """

    model: str
    revision: str | None
    dtype: str
    pooling: str
    max_tokens: int
    max_texts: int

    @classmethod
    def from_answer(cls, answer: Any) -> TeiInfo:
        """Read the answer of `/info`.

        Raises:
            ContractError: The model gives no embeddings, or none for each token.
        """
        kind = answer["model_type"]
        embedding = kind.get("embedding") if isinstance(kind, dict) else None
        pooling = embedding["pooling"] if embedding else None
        if pooling not in _POOLING:
            raise ContractError(
                f"{answer['model_id']!r} cannot be late-chunked: the server says {kind!r}, and an "
                f"embedding model with pooling {', '.join(_POOLING)} is wanted"
            )
        return cls(
            model=str(answer["model_id"]),
            revision=answer.get("model_sha"),
            dtype=str(answer.get("model_dtype")),
            pooling=str(pooling),
            max_tokens=read_limit(answer["max_input_length"]),
            max_texts=max(1, int(answer.get("max_client_batch_size", 1))),
        )


class TeiEncoder(ServerEncoder):
    """A model behind Text Embeddings Inference.

    Every window goes as text, whose tokens the server is asked for first. Unless they are the
    planned ones, the window goes as ids. The server writes these as text and reads them again,
    and they are compared likewise. A window that it reads otherwise is an error, never a vector.

    Args:
        client: Reaches the server.
        info: What the server says of itself.
        options: What the engine was asked for.

    Raises:
        ContractError: The server does more after pooling than late chunking can honour.
        OptionError: An option does not fit the model.
    """

    tokenizer: TeiTokenizer

    def __init__(self, client: HttpClient, info: TeiInfo, options: LateChunkOptions) -> None:
        super().__init__(client, TeiTokenizer(client, info.max_texts), options)
        self.info = info
        _check_model(info, options)
        self.dtype = info.dtype
        card = find_card(info.model)
        document_prompt, self.query_prompt = self._read_prompts(card)
        # Windows are written as text again, of texts that were read whole: a header that is cut
        # to its budget is no part of a prompt then. It comes after the prompt, and is not pooled.
        self.document_prompt, _ = choose_document_prompt(document_prompt, "")
        self.title_slot = None
        self.plain_tokens = info.max_tokens
        self.set_window(info.max_tokens)
        self.header_separator = self._find_separator()
        contract = VectorContract(
            pooling_mode=_POOLING[info.pooling],
            prompt_pooled=True,
            document_prompt=self.document_prompt,
            query_prompt=self.query_prompt,
            prompt_names=(),
            title_template=None,
            max_seq_length=info.max_tokens,
            matryoshka=card.dimensions if card else (),
            least_dimensions=card.least_dimensions if card else None,
            truncation_layer_norm=card.layer_norm if card else False,
        )
        self.set_contract(contract)
        matrix = self.probe(_PROBE)
        self._check_heads(matrix)
        # Forget the probes; note what is in front of every window, to be found by itself.
        self.tokenizer.memory = TextMemory()
        self.tokenizer.tokenize([self.document_prompt.rstrip()], "")
        revision = info.revision or options.revision
        self.set_fingerprint([info.model, revision, info.dtype, self.header_separator])

    @classmethod
    def load(cls, options: LateChunkOptions) -> TeiEncoder:
        """Ask the server that the options name what it is.

        Raises:
            ServerError: It does not answer, or not as documented.
            ContractError: Its model cannot be late-chunked.
            OptionError: ``base_url`` is missing, or an option does not fit the model.
        """
        refuse_local_options(options)
        settings = HttpSettings.from_options(options, base_url=None, key_variable="TEI_API_KEY")
        with HttpClient(settings).closed_on_error() as client:
            info = client.run(json_call("/info", None, TeiInfo.from_answer))
            return cls(client, info, options)

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        """Token ids of a header, set off from the text that follows."""
        ids = super().tokenize_header(header)
        if len(ids):
            self.tokenizer.remember(header.strip() + self.header_separator)
        return ids

    def matrices(self, rows: Sequence[list[int]]) -> Iterator[NDArray[np.float32]]:
        """The token embeddings of each row, which the server is known to read as planned.

        Raises:
            ServerAnswerError: It reads a row otherwise, or answers wrongly.
        """
        inputs = self._write_inputs(rows)
        return self.client.run_all(
            self._call(inputs[row], len(ids), row) for row, ids in enumerate(rows)
        )

    def matrix_call(self, ids: list[int], row: int) -> Call[NDArray[np.float32]]:
        """The request for the token embeddings of one window, special tokens included."""
        return self._call(self._write_inputs([ids])[0], len(ids), row)

    def _call(self, inputs: str | list[int], n_tokens: int, row: int) -> Call[NDArray[np.float32]]:
        body = {"inputs": inputs, "truncate": False}
        width = self.known_width

        def receive() -> RowReceiver:
            return RowReceiver(n_tokens, width, lambda answer: answer[0] if len(answer) == 1 else 0)

        return Call("/embed_all", body, receive, row=row)

    def _write_inputs(self, rows: Sequence[list[int]]) -> list[str | list[int]]:
        """What to send for each row so that the server reads exactly its tokens."""
        first, last = len(self.lead), len(self.tail)
        parts = [
            self.tokenizer.memory.parts_of(np.array(ids[first : len(ids) - last], dtype=np.int32))
            for ids in rows
        ]
        inputs: dict[int, str | list[int]] = {}
        # SentencePiece begins every text with a space, which a text after a header needs too.
        for join in ("".join, _add_space):
            left = [row for row in range(len(rows)) if row not in inputs]
            texts = [join(parts[row]) for row in left]
            read = self._read(texts, left, special=True)
            inputs |= {
                row: text
                for row, text, ids in zip(left, texts, read, strict=True)
                if np.array_equal(ids, rows[row])
            }
        left = [row for row in range(len(rows)) if row not in inputs]
        decoded = self._decode(rows, left)
        for row, ids in zip(left, self._read(decoded, left, special=False), strict=True):
            if not np.array_equal(ids, rows[row]):
                raise ServerAnswerError(
                    f"the server reads a window of {len(rows[row])} tokens as other tokens than "
                    "in the whole text, and takes no token ids as they are. Raise max_tokens, "
                    "put white space into the text or shorten the header. Or serve the model with "
                    "vLLM, which takes ids",
                    row=row,
                )
            inputs[row] = rows[row]
        return [inputs[row] for row in range(len(rows))]

    def _read(self, texts: list[str], rows: list[int], *, special: bool) -> list[NDArray[np.int32]]:
        """The ids of the texts of these rows."""
        try:
            return self.tokenizer.ids_of(texts, special=special)
        except ServerError as error:
            error.row = rows[error.row or 0]
            raise

    def _decode(self, rows: Sequence[list[int]], wanted: list[int]) -> list[str]:
        """The texts that the server makes of the ids of these rows before it reads them."""

        def check(answer: Any) -> str:
            (text,) = answer
            if not isinstance(text, str):
                raise ServerAnswerError("/decode gave no text")
            return text

        calls = (
            json_call("/decode", {"ids": rows[row], "skip_special_tokens": False}, check, row=row)
            for row in wanted
        )
        return list(self.client.run_all(calls))

    def embed_plain(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """See `ServerEncoder.embed_plain`; the server pools."""
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        texts = [prompt + text for text in texts]
        calls = (self._embed_call(texts, group) for group in self.tokenizer.groups(texts))
        vectors = np.concatenate(list(self.client.run_all(calls)))
        return cut_vectors(vectors, self.dimensions, self.contract)

    def _embed_call(self, texts: Sequence[str], group: list[int]) -> Call[NDArray[np.float32]]:
        # The server refuses an empty text, which is its special tokens to a model.
        nothing = np.concatenate([self.lead, self.tail]).tolist()
        inputs = [texts[row] or nothing for row in group]
        body = {"inputs": inputs, "truncate": True, "normalize": False}
        return json_call(
            "/embed",
            body,
            lambda answer: vectors_of(answer, len(inputs), self.contract.dimensions),
            row=group[0],
        )

    def _read_prompts(self, card: ModelCard | None) -> tuple[str, str]:
        """Prompts of documents and of queries: as asked, else the server's, else the card's."""
        asked = {"document": self.options.document_prompt, "query": self.options.query_prompt}
        if None not in asked.values():
            return asked["document"] or "", asked["query"] or ""
        stated = {side: self._read_stated(side, given) for side, given in asked.items()}
        name = self.options.query_prompt_name
        if name is not None and (text := self._find_named(name)) is not None:
            stated[name] = text
        own = own_prompts(stated, card, query_prompt_name=name)
        template = own.slot.template if own.slot else own.document
        return (
            template if asked["document"] is None else asked["document"],
            own.query if asked["query"] is None else asked["query"],
        )

    def _read_stated(self, side: str, asked: str | None) -> str:
        """The first prompt of a side that is not empty."""
        try:
            return next(
                (text for name in _PROMPT_NAMES[side] if (text := self._find_named(name))), ""
            )
        except ContractError:  # there is one, and it is not needed
            if asked is None:
                raise
            return asked

    def _find_named(self, name: str) -> str | None:
        try:
            return self.tokenizer.named_prompt(name)
        except RequestRefusedError:
            return None

    def _find_separator(self) -> str:
        """What sets a header off from a text, whatever the text begins with.

        Some tokenizers read two line ends before a word otherwise than before a space.
        """
        for separator in ("\n\n", "\n"):
            plain, word, space = self.tokenizer.ids_of(
                [f"a{separator}", f"a{separator}b", f"a{separator} b"], special=False
            )
            if all(np.array_equal(ids[: len(plain)], plain) for ids in (word, space)):
                return separator
        return ""

    def _check_heads(self, matrix: NDArray[np.float32]) -> None:
        """Compare the server's own vector with what its token embeddings add up to."""
        vector = self.client.run(
            json_call(
                "/embed",
                {"inputs": [_PROBE], "truncate": False, "normalize": False},
                lambda answer: vectors_of(answer, 1, None)[0],
            )
        )
        pooled = {"mean": matrix.mean(axis=0), "cls": matrix[0], "last_token": matrix[-1]}
        wanted = pooled[self.info.pooling]
        if _is_near(vector, wanted):
            return
        files = PublishedFiles(self.info.model, self.info.revision or self.options.revision)
        # The server gives unit length only where it is asked for.
        self.heads = tuple(head for head in read_heads(files) if not isinstance(head, UnitHead))
        if not self.heads or not _is_near(vector, apply_heads(self.heads, wanted[None])[0]):
            raise ContractError(
                f"{self.info.model!r} has modules after the pooling (Dense, LayerNorm), or "
                "normalises before them. Chunks need them too, and the server applies them to "
                "whole texts only. No files of that name, here or on the hub, do what the "
                "server does. Load this model with encoder='local'"
            )
        self.set_width(len(wanted))


def _is_near(vector: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    if len(vector) != len(wanted):
        return False
    return bool(np.linalg.norm(vector - wanted) <= _PROBE_TOLERANCE * np.linalg.norm(wanted))


def _add_space(parts: list[str]) -> str:
    """Parts with a space between those that have none."""
    return "".join(
        f" {part}" if at and not part[:1].isspace() else part for at, part in enumerate(parts)
    )


def _check_model(info: TeiInfo, options: LateChunkOptions) -> None:
    if info.model != options.model:
        raise OptionError(
            f"the server has the model {info.model!r}, not {options.model!r}: correct model= "
            "(model_name= in the adapters) or base_url"
        )
    if options.revision is not None and info.revision not in (None, options.revision):
        raise OptionError(
            f"the server has revision {info.revision!r}, not revision={options.revision!r}"
        )
