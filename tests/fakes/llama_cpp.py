"""llama.cpp's server on loopback: `/props`, `/tokenize`, `/embeddings`, with pooling none.

As documented: `/embeddings` answers with a list, whose `embedding` holds a row for each token,
not normalised, under `--pooling none`, and one normalised row under any other pooling. An input
that is longer than the physical batch is refused with 500, one that is longer than the context
with 400, in the server's own words and in this order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.loopback import Answer, Asked, LoopbackServer
from tests.fakes.models import ServedModel


class LlamaCppServer(LoopbackServer):
    """Serves a tiny model.

    Args:
        folder: The model.
        pooling: As ``--pooling`` sets it, ``none`` or ``mean``.
        batch: Physical batch, as ``-ub`` sets it; None: as long as the context.
    """

    def __init__(self, folder: Path, *, pooling: str = "none", batch: int | None = None) -> None:
        super().__init__(self._respond)
        self.served = ServedModel(folder)
        self.pooling = pooling
        self.batch = batch or self.served.max_tokens

    def _respond(self, asked: Asked) -> Answer:
        if asked.path == "/props":
            settings = {"id": 0, "n_ctx": self.served.max_tokens}
            path = str(self.served.folder / "tiny.gguf")
            return Answer({"default_generation_settings": settings, "model_path": path})
        if asked.path == "/tokenize":
            special = asked.body.get("add_special", False)
            return Answer({"tokens": self.served.ids(asked.body["content"], special=special)})
        return self._embeddings(asked.body["input"])

    def _embeddings(self, one: Any) -> Answer:
        ids = self.served.ids(one) if isinstance(one, str) else list(one)
        limit = self.served.max_tokens
        if len(ids) > self.batch:
            message = (
                f"input ({len(ids)} tokens) is too large to process. increase the physical batch "
                f"size (current batch size: {self.batch})"
            )
            return Answer({"error": {"code": 500, "message": message, "type": "server_error"}}, 500)
        if len(ids) > limit:
            message = (
                f"input ({len(ids)} tokens) is larger than the max context size ({limit} tokens). "
                "skipping"
            )
            kind = "exceed_context_size_error"
            return Answer({"error": {"code": 400, "message": message, "type": kind}}, 400)
        state = self.served.hidden(ids)
        if self.pooling != "none":
            vector = self.served.pooled(ids)
            state = (vector / vector.norm())[None]
        return Answer([{"embedding": state.tolist(), "index": 0}])
