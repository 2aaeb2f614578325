"""Text Embeddings Inference on loopback: `/info`, `/tokenize`, `/decode`, `/embed`, `/embed_all`.

As documented and as its source has it: offsets count bytes and `text` is cut with them from the
characters; ids are decoded and read again without special tokens; errors are objects with
`error` and `error_type`; a batch over the limit and a text over the window are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.loopback import Answer, Asked, LoopbackServer
from tests.fakes.models import ServedModel


class TeiServer(LoopbackServer):
    """Serves a tiny model.

    Args:
        folder: The model; its path is its name.
        max_texts: ``max_client_batch_size``.
        offsets_in_bytes: As the released versions have it.
        default_prompt: As ``--default-prompt`` sets it.
        pooling: What `/info` says; None: the model's own.
        api_key: As ``--api-key`` sets it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_texts: int = 4,
        offsets_in_bytes: bool = True,
        default_prompt: str = "",
        model_type: Any = None,
        api_key: str | None = None,
    ) -> None:
        super().__init__(self._respond)
        self.served = ServedModel(folder)
        self.max_texts = max_texts
        self.offsets_in_bytes = offsets_in_bytes
        self.default_prompt = default_prompt
        self.api_key = api_key
        mode = str(self.served.model[1].pooling_mode)
        pooling = {"lasttoken": "last_token"}.get(mode, mode)
        self.model_type = model_type or {"embedding": {"pooling": pooling}}

    def _respond(self, asked: Asked) -> Answer:
        if self.api_key and asked.http_headers.get("authorization") != f"Bearer {self.api_key}":
            return Answer(b"", 401)
        if asked.path == "/info":
            return Answer(self._info())
        return self._checked(asked)

    def _checked(self, asked: Asked) -> Answer:
        inputs = asked.body.get("inputs", asked.body.get("ids"))
        many = isinstance(inputs, list) and not (inputs and isinstance(inputs[0], int))
        texts = inputs if many else [inputs]
        if not texts:
            return _error("`inputs` cannot be empty", "empty", 400)
        if len(texts) > self.max_texts:
            return _error(
                f"batch size {len(texts)} > maximum allowed batch size {self.max_texts}",
                "validation",
                413,
            )
        if any(not one for one in texts):
            return _error("`inputs` cannot be empty", "empty", 400)
        name = asked.body.get("prompt_name")
        prompts = {one: text or "" for one, text in self.served.model.prompts.items()}
        if name is not None and name not in prompts:
            return _error(f"`prompt_name` {name} not found in prompts", "validation", 413)
        prompt = prompts[name] if name is not None else self.default_prompt
        work = {
            "/tokenize": self._tokenize,
            "/decode": self._decode,
            "/embed": self._embed,
            "/embed_all": self._embed_all,
        }[asked.path]
        return work(asked.body, texts, prompt)

    def _info(self) -> dict[str, Any]:
        return {
            "model_id": str(self.served.folder),
            "model_sha": None,
            "model_dtype": "float32",
            "model_type": self.model_type,
            "max_concurrent_requests": 512,
            "max_input_length": self.served.max_tokens,
            "max_batch_tokens": 16384,
            "max_batch_requests": None,
            "max_client_batch_size": self.max_texts,
            "auto_truncate": False,
            "tokenization_workers": 2,
            "version": "1.8.0",
            "sha": None,
            "docker_label": None,
        }

    def _tokenize(self, body: Any, texts: list[Any], prompt: str) -> Answer:
        special = body.get("add_special_tokens", True)
        return Answer([self._tokens(prompt + text, special=special) for text in texts])

    def _tokens(self, text: str, *, special: bool) -> list[dict[str, Any]]:
        encoding = self.served.tokenizer.encode(text, add_special_tokens=special)
        tokens = []
        parts = (encoding.ids, encoding.offsets, encoding.special_tokens_mask, encoding.tokens)
        for token_id, (start, stop), is_special, name in zip(*parts, strict=True):
            if is_special:
                token = {"id": token_id, "text": name, "start": None, "stop": None}
            else:
                if self.offsets_in_bytes:
                    start, stop = (len(text[:at].encode()) for at in (start, stop))  # noqa: PLW2901
                # Cut from the characters, also where the offsets count bytes.
                cut = text[start:][: stop - start]
                token = {"id": token_id, "text": cut, "start": start, "stop": stop}
            tokens.append({**token, "special": bool(is_special)})
        return tokens

    def _decode(self, body: Any, texts: list[Any], _: str) -> Answer:
        skip = body.get("skip_special_tokens", True)
        return Answer([self._text(ids, skip=skip) for ids in texts])

    def _text(self, ids: list[int], *, skip: bool) -> str:
        text: str = self.served.tokenizer.decode(ids, skip_special_tokens=skip)
        return text

    def _read(self, one: Any, prompt: str) -> list[int]:
        """The ids that the model sees."""
        if isinstance(one, str):
            return self.served.ids(prompt + one)
        if prompt:
            return self.served.ids(prompt + self._text(one, skip=True))
        return self.served.ids(self._text(one, skip=False), special=False)

    def _rows(self, body: Any, texts: list[Any], prompt: str) -> list[list[int]] | Answer:
        rows = [self._read(one, prompt) for one in texts]
        for ids in rows:
            if len(ids) > self.served.max_tokens and not body.get("truncate"):
                return _error(
                    f"`inputs` must have less than {self.served.max_tokens} tokens. "
                    f"Given: {len(ids)}",
                    "validation",
                    413,
                )
        return [self._cut(ids) for ids in rows]

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.served.max_tokens:
            return ids
        n_tail = 1  # the tiny models end with one special token
        return ids[: self.served.max_tokens - n_tail] + ids[-n_tail:]

    def _embed(self, body: Any, texts: list[Any], prompt: str) -> Answer:
        rows = self._rows(body, texts, prompt)
        if isinstance(rows, Answer):
            return rows
        vectors = [self.served.pooled(ids) for ids in rows]
        if body.get("normalize", True):
            vectors = [vector / vector.norm() for vector in vectors]
        return Answer([vector.tolist() for vector in vectors])

    def _embed_all(self, body: Any, texts: list[Any], prompt: str) -> Answer:
        rows = self._rows(body, texts, prompt)
        if isinstance(rows, Answer):
            return rows
        return Answer([_shortest(self.served.hidden(ids).tolist()) for ids in rows])


def _shortest(matrix: list[list[float]]) -> list[list[float]]:
    """Numbers with the digits that a float32 needs and no more, as this server writes them."""
    return [[float(f"{value:.9g}") for value in row] for row in matrix]


def _error(message: str, kind: str, status: int) -> Answer:
    return Answer({"error": message, "error_type": kind}, status)
