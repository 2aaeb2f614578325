"""vLLM on loopback: `/v1/models`, `/tokenize`, `/pooling` with the task `token_embed`.

As documented: `input` may be text or token ids, answers carry `data` as nested lists or as
base64, `usage`, and an id; errors are `{"error": {"message", "type", "code"}}`.
"""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from latechunk_integrations.encoders.servers.vllm_plugin import ChunkSummer
from tests.fakes.loopback import Answer, Asked, LoopbackServer
from tests.fakes.models import ServedModel


class VllmServer(LoopbackServer):
    """Serves a tiny model.

    Args:
        folder: The model; its path is its name.
        api_key: As ``--api-key`` sets it.
        knows_activation: Whether ``use_activation`` is known; without it, every token embedding
            gets unit length.
        plugin: Whether it was started with ``--io-processor-plugin latechunk``; the processor
            is the real one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        api_key: str | None = None,
        knows_activation: bool = True,
        plugin: bool = False,
    ) -> None:
        super().__init__(self._respond)
        self.served = ServedModel(folder)
        self.name = str(folder)
        self.api_key = api_key
        self.knows_activation = knows_activation
        self._ids = itertools.count()
        self.processor = ChunkSummer(None, None) if plugin else None

    def _respond(self, asked: Asked) -> Answer:
        if self.api_key and asked.http_headers.get("authorization") != f"Bearer {self.api_key}":
            return Answer({"error": "Unauthorized"}, 401)
        if asked.path == "/v1/models":
            model = {"id": self.name, "object": "model", "root": self.name}
            limit = {"max_model_len": self.served.max_tokens}
            return Answer({"object": "list", "data": [{**model, **limit}]})
        body = asked.body
        if body.get("model") not in (None, self.name):
            return _error(f"The model `{body['model']}` does not exist.", "NotFoundError", 404)
        if asked.path == "/tokenize":
            return self._tokenize(body)
        return self._pooling(body, asked.http_headers.get("x-request-id"))

    def _tokenize(self, body: Any) -> Answer:
        ids = self.served.ids(body["prompt"], special=body.get("add_special_tokens", True))
        limit = self.served.max_tokens
        counts = {"count": len(ids), "max_model_len": limit}
        return Answer({**counts, "tokens": ids, "token_strs": None})

    def _sum(self, data: Any, request_id: str | None) -> Answer:
        if self.processor is None:
            return _error("No IOProcessor plugin installed.", "BadRequestError", 400)
        try:
            parsed = self.processor.parse_data(data)
        except (KeyError, ValueError) as error:
            return _error(str(error), "BadRequestError", 400)
        prompt = self.processor.pre_process(parsed, request_id=request_id)
        state = self.served.hidden(prompt["prompt_token_ids"])
        given = SimpleNamespace(outputs=SimpleNamespace(data=state))
        summed = self.processor.post_process([given], request_id=request_id)
        return Answer({"request_id": request_id, "created_at": 0, "data": summed})

    def _pooling(self, body: Any, request_id: str | None) -> Answer:
        if "data" in body:
            return self._sum(body["data"], request_id)
        if body.get("task") not in (None, "token_embed"):
            return _error(f"Unsupported task: {body['task']!r}", "BadRequestError", 400)
        if "normalize" in body:
            message = "Parameter `normalize` was removed; use `use_activation` instead."
            return _error(message, "BadRequestError", 400)
        one = body["input"]
        ids = self.served.ids(one) if isinstance(one, str) else list(one)
        if len(ids) > self.served.max_tokens:
            limit = self.served.max_tokens
            message = f"This model's maximum context length is {limit} tokens."
            return _error(message, "BadRequestError", 400)
        state = self.served.hidden(ids)
        if not self.knows_activation or body.get("use_activation", True):
            state = torch.nn.functional.normalize(state, dim=1)
        data: Any = state.tolist()
        if body.get("encoding_format", "float") == "base64":
            assert body.get("embed_dtype", "float32") == "float32"
            order = ">f4" if body.get("endianness") == "big" else "<f4"
            data = base64.b64encode(state.numpy().astype(order).tobytes()).decode()
        item = {"index": 0, "object": "pooling", "data": data}
        usage = {"prompt_tokens": len(ids), "total_tokens": len(ids), "completion_tokens": 0}
        name = request_id or f"pool-{next(self._ids)}"
        answer = {"id": name, "object": "list", "created": 0, "model": self.name}
        return Answer({**answer, "data": [item], "usage": usage})


def _error(message: str, kind: str, status: int) -> Answer:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return Answer({"error": error}, status)
