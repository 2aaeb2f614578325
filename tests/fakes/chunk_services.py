"""Services that pool chunks themselves, as their documentation describes them, on a tiny model.

They compute with a model of their own in float64 and import nothing of the package.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from tests.fakes.loopback import Answer, Asked

KEY = "sk-never-to-be-seen"


class TinyReader:
    """A tiny model that reads the elements of a document together.

    Args:
        path: Folder of a saved sentence-transformers model.
    """

    def __init__(self, path: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModel.from_pretrained(path).double().eval()

    def joined(self, elements: Sequence[str]) -> tuple[NDArray[np.float64], int]:
        """Vectors of elements that are one string, and the number of its tokens.

        Edges as in the paper: the first element pools the special token in front, the last
        one that behind.
        """
        text = "".join(elements)
        encoded = self.tokenizer(text, return_offsets_mapping=True, verbose=False)
        hidden = self._hidden(encoded["input_ids"])
        ends = np.cumsum([len(element) for element in elements])
        starts = ends - [len(element) for element in elements]
        rows = []
        for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
            inside = [
                i
                for i, (a, b) in enumerate(encoded["offset_mapping"])
                if b > a and a < end and b > start
            ]
            inside += [0] if index == 0 else []
            inside += [len(hidden) - 1] if index == len(elements) - 1 else []
            rows.append(_mean(hidden[inside]))
        return np.array(rows), len(hidden) - 2

    def separated(self, elements: Sequence[str]) -> tuple[NDArray[np.float64], int]:
        """Vectors of elements with a separator behind each, and the number of tokens."""
        ids, spans = [self.tokenizer.cls_token_id], []
        for element in elements:
            own = self.tokenizer(element, add_special_tokens=False, verbose=False)["input_ids"]
            spans.append((len(ids), len(ids) + len(own)))
            ids += [*own, self.tokenizer.sep_token_id]
        hidden = self._hidden(ids)
        return np.array([_mean(hidden[start:end]) for start, end in spans]), len(ids) - 1

    def _hidden(self, ids: Sequence[int]) -> NDArray[np.float64]:
        with torch.no_grad():
            output = self.model(input_ids=torch.tensor([ids]))
        hidden: NDArray[np.float64] = output.last_hidden_state[0].numpy()
        return hidden


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zeros for an element without a token, such as a lone combining mark; nobody documents it."""
    mean: NDArray[np.float64] = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
    return mean


@dataclass
class Service:
    """A service with limits; `respond` goes to a `LoopbackServer`.

    Args:
        reader: Computes.
        most_tokens: Of a document.
        most_request_tokens: Of a request.
    """

    reader: TinyReader
    most_tokens: int = 500
    most_request_tokens: int = 100_000

    def respond(self, asked: Asked) -> Answer:
        if asked.http_headers.get("authorization") != f"Bearer {KEY}":
            return Answer({"detail": "Invalid API key"}, 401)
        return self.answer(asked.body)

    def answer(self, body: Mapping[str, Any]) -> Answer:
        raise NotImplementedError


class JinaService(Service):
    """``POST /v1/embeddings``; late chunking reads all inputs as one string."""

    def answer(self, body: Mapping[str, Any]) -> Answer:
        inputs = body["input"]
        if len(inputs) > 2048:
            said = f'"input" length {len(inputs)} is larger than the largest allowed size 2048'
            return Answer({"detail": said}, 400)
        # `normalized` and `truncate` are what the encoder should ask for, spelled out; the first is
        # no parameter of jina-embeddings-v4.
        documented = body["model"].startswith(("jina-embeddings-v3", "jina-embeddings-v5-text-"))
        assert body.get("normalized") is (False if documented else None)
        assert body["truncate"] is False
        if body["late_chunking"]:
            vectors, n_tokens = self.reader.joined(inputs)
            longest = n_tokens
        else:
            read = [self.reader.joined([text]) for text in inputs]
            vectors = np.concatenate([rows for rows, _ in read])
            counts = [count for _, count in read]
            n_tokens, longest = sum(counts), max(counts)
        if longest > self.most_tokens:
            most = self.most_tokens + 2
            return Answer({"detail": f"Input text exceeds maximum length of {most} tokens"}, 400)
        if body["task"] == "retrieval.query":
            vectors = as_query(vectors)
        vectors = vectors[:, : body.get("dimensions")]
        items = [
            {"object": "embedding", "index": index, "embedding": row.tolist()}
            for index, row in enumerate(vectors)
        ]
        usage = {"total_tokens": n_tokens, "prompt_tokens": n_tokens}
        return Answer({"model": body["model"], "object": "list", "usage": usage, "data": items})


class VoyageService(Service):
    """``POST /v1/contextualizedembeddings`` with ``inputs``, float32 in base64."""

    def answer(self, body: Mapping[str, Any]) -> Answer:
        read = [self.reader.separated(document) for document in body["inputs"]]
        n_tokens = sum(count for _, count in read)
        if n_tokens > self.most_request_tokens:
            said = (
                f"Request to model {body['model']!r} failed. The max allowed tokens per submitted "
                f"batch is {self.most_request_tokens}. Your batch has {n_tokens} tokens after "
                "truncation. Please lower the number of tokens in the batch."
            )
            return Answer({"detail": said}, 400)
        if max(count for _, count in read) > self.most_tokens:
            said = (
                "The example in your batch has too many tokens and does not fit into the model's "
                f"context window of {self.most_tokens} tokens."
            )
            return Answer({"detail": said}, 400)
        assert body["encoding_format"] == "base64"
        assert body["output_dtype"] == "float"
        if body["input_type"] == "query":
            read = [(as_query(rows), count) for rows, count in read]
        documents = [
            {
                "object": "list",
                "index": index,
                "data": [
                    {"object": "embedding", "index": at, "embedding": _float_base64(row)}
                    for at, row in enumerate(rows[:, : body["output_dimension"]])
                ],
            }
            for index, (rows, _) in enumerate(read)
        ]
        usage = {"total_tokens": n_tokens}
        return Answer({"object": "list", "data": documents, "model": body["model"], "usage": usage})


class PerplexityService(Service):
    """``POST /v1/contextualizedembeddings`` with ``input``, int8 in base64, no unit length."""

    def answer(self, body: Mapping[str, Any]) -> Answer:
        if any(not element for document in body["input"] for element in document):
            detail = {"loc": ["body", "input"], "msg": "String should have at least 1 character"}
            return Answer({"detail": [detail]}, 422)
        read = [self.reader.separated(document) for document in body["input"]]
        n_tokens = sum(count for _, count in read)
        longest = max(count for _, count in read)
        if longest > self.most_tokens or n_tokens > self.most_request_tokens:
            error = {"message": "Total tokens exceed the limit", "type": "bad_request", "code": 400}
            return Answer({"error": error}, 400)
        assert body["encoding_format"] == "base64_int8"
        documents = [
            {
                "object": "list",
                "index": index,
                "data": [
                    {"object": "embedding", "index": at, "embedding": _int8_base64(row)}
                    for at, row in enumerate(rows[:, : body.get("dimensions")])
                ],
            }
            for index, (rows, _) in enumerate(read)
        ]
        cost = {"input_cost": 0.0, "total_cost": 0.0, "currency": "USD"}
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens, "cost": cost}
        return Answer({"object": "list", "data": documents, "model": body["model"], "usage": usage})


def as_query(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a service does to a query and not to a passage; a mix-up would show."""
    return vectors[:, ::-1].copy()


def _float_base64(row: NDArray[np.float64]) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def int8(row: NDArray[np.float64]) -> NDArray[np.int8]:
    """Quantised as the open weights do it: tanh, scaled, rounded."""
    return np.round(127 * np.tanh(row)).astype(np.int8)


def _int8_base64(row: NDArray[np.float64]) -> str:
    return base64.b64encode(int8(row).tobytes()).decode()
