"""The tokenizer of a Text Embeddings Inference server, as the engine wants to have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import TokenizedText, TokenizedTexts
from latechunk_integrations.encoders.http.client import Call, HttpClient, json_call
from latechunk_integrations.encoders.model.tokenization import OffsetTokenizer, TokenPiece
from latechunk_integrations.encoders.servers.text_memory import TextMemory
from latechunk_integrations.errors import ContractError, OffsetsError, ServerAnswerError

# Far below the two megabytes that the server takes in a request.
_REQUEST_CHARS = 131_072
# Three bytes for each of the first two characters: it tells byte from code point offsets.
_UNIT_PROBE = "日本 a"


class TeiTokenizer(OffsetTokenizer):
    """Reads texts by the server's ``/tokenize``, and knows where a window may begin or end.

    The server takes texts, so a window must not begin or end inside a word, where other tokens
    would come out. The edges are between what ends without white space and a space.

    Args:
        client: Reaches the server.
        max_texts: Most texts in a request.

    Raises:
        ContractError: The server puts a prompt of its own before every text.
        OffsetsError: Its offsets count neither bytes nor code points.
    """

    def __init__(self, client: HttpClient, max_texts: int) -> None:
        # Not the base class's: there is no tokenizer here.
        self._client = client
        self._max_texts = max_texts
        self._joins_at_words = True
        self.memory = TextMemory()
        self._headers = {}
        self._in_bytes = False
        (letter,) = self._ask(["a"], special=True)
        special = np.array([token["special"] for token in letter], dtype=bool)
        text = np.flatnonzero(~special)
        if not len(text):
            raise OffsetsError("the server's tokenizer gives no token for the letter 'a'")
        if letter[text[-1]]["stop"] != 1:
            raise ContractError(
                "the server puts a prompt before every text; start it without --default-prompt "
                "and --default-prompt-name, and set document_prompt and query_prompt here"
            )
        ids = _read_ids(letter)
        self.lead, self.tail = ids[: text[0]], ids[text[-1] + 1 :]
        self._in_bytes = self._offsets_count_bytes()

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        """Token ids, offsets and edges of each text after the prompt."""
        # A space after the prompt goes with the text: a header may come between them, and no
        # text reads as a lone space before a word.
        if not isinstance(prompt, str):  # only encoders with a title slot are asked so
            raise TypeError("this server reads all texts with one prompt")
        bare, gap = _split_gap(prompt)
        self.remember(bare)
        texts = [gap + text for text in texts]
        tokenized = super().tokenize(texts, bare)
        for text, one in zip(texts, tokenized, strict=True):
            self.memory.add(text, one.ids, one.offsets)
        return TokenizedTexts.of(
            [
                _with_edges(one, text[len(gap) :], len(gap), 0)
                for one, text in zip(tokenized, texts, strict=True)
            ]
        )

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """The same for one text of any length, piece by piece."""
        bare, gap = _split_gap(prompt)
        self.remember(bare)
        last = 0
        ids, offsets = [], []
        for piece in super().tokenize_pieces(gap + text, bare):
            ids.append(piece.ids)
            offsets.append(piece.offsets)
            moved = _with_edges(piece, text, len(gap), last)
            yield moved
            last = int(moved.offsets[-1, 1]) if len(moved.offsets) else last
        self.memory.add(gap + text, np.concatenate(ids), np.concatenate(offsets))

    def remember(self, text: str) -> None:
        """Keep what is in front of windows among the texts that ids are written with."""
        if text and not self.memory.touch(text):
            self.tokenize([text], "")

    def ids_of(self, texts: Sequence[str], *, special: bool) -> list[NDArray[np.int32]]:
        """Token ids of texts as the server would read them."""
        return [_read_ids(tokens) for tokens in self._ask(texts, special=special)]

    def named_prompt(self, name: str) -> str:
        """The text of a prompt that the model's own files name.

        Raises:
            RequestRefusedError: They name no such prompt.
            ContractError: It cannot be told from the server's answer.
        """
        (tokens,) = self._ask(["a"], special=False, prompt_name=name)
        prompt: str = ""
        at: int = 0
        for token in tokens[:-1]:
            # Tokens may share characters.
            prompt += (
                " " * (token["start"] - at) + str(token["text"])[max(0, at - token["start"]) :]
            )
            at = max(at, token["stop"])
        # The last token is the letter, perhaps with the space before it.
        n_chars = tokens[-1]["stop"] - 1
        prompt = prompt[:n_chars].ljust(n_chars)
        if not np.array_equal(self.ids_of([prompt + "a"], special=False)[0], _read_ids(tokens)):
            raise ContractError(
                f"the model has a prompt {name!r} whose text the server's answer does not tell; "
                "set document_prompt and query_prompt"
            )
        return str(prompt)

    def _read(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        pieces = self._read_pieces(texts)
        return (
            np.concatenate([np.zeros(0, np.int32), *(piece.ids for piece in pieces)]),
            np.concatenate([np.zeros((0, 2), np.int32), *(piece.offsets for piece in pieces)]),
            np.array([len(piece.ids) for piece in pieces], np.int64),
        )

    def _read_pieces(self, texts: Sequence[str]) -> list[TokenPiece]:
        pieces = []
        for text, tokens in zip(texts, self._ask(texts, special=False), strict=True):
            ids, offsets = _read_ids(tokens), self._char_offsets(text, tokens)
            starts_word = np.zeros(len(ids), np.int64)
            starts_word[_find_edges(text, offsets, 0)] = 1
            pieces.append(TokenPiece(ids, offsets, np.cumsum(starts_word)))
        return pieces

    def _ask(
        self, texts: Sequence[str], *, special: bool, prompt_name: str | None = None
    ) -> list[list[dict[str, Any]]]:
        """The server's tokens of each text; an empty one, which it refuses, has none."""
        answers: list[list[dict[str, Any]]] = [[] for _ in texts]
        groups = list(self.groups(texts, [row for row, text in enumerate(texts) if text]))
        options: dict[str, Any] = {"add_special_tokens": special}
        if prompt_name is not None:
            options["prompt_name"] = prompt_name
        calls = (self._call(texts, group, options) for group in groups)
        for group, answer in zip(groups, self._client.run_all(calls), strict=True):
            for row, tokens in zip(group, answer, strict=True):
                answers[row] = tokens
        return answers

    @staticmethod
    def _call(
        texts: Sequence[str], group: list[int], options: dict[str, Any]
    ) -> Call[list[list[dict[str, Any]]]]:
        def check(answer: Any) -> list[list[dict[str, Any]]]:
            if not isinstance(answer, list) or len(answer) != len(group):
                raise ServerAnswerError(f"not one list of tokens for each of {len(group)} texts")
            for tokens in answer:
                for token in tokens:
                    # Those of the model itself are at no place in the text.
                    is_of_model = token["special"] and options["add_special_tokens"]
                    names = ("id",) if is_of_model else ("id", "start", "stop")
                    if not all(_is_count(token[name]) for name in names):
                        raise ServerAnswerError("a token came without id or offsets")
            return answer

        body = {"inputs": [texts[row] for row in group], **options}
        return json_call("/tokenize", body, check, row=group[0])

    def groups(
        self, texts: Sequence[str], rows: Iterable[int] | None = None
    ) -> Iterator[list[int]]:
        """Rows of texts that go into one request each; all of them, or those named."""
        rows = range(len(texts)) if rows is None else rows
        group: list[int] = []
        n_chars = 0
        for row in rows:
            full = len(group) == self._max_texts
            if group and (full or n_chars + len(texts[row]) > _REQUEST_CHARS):
                yield group
                group, n_chars = [], 0
            group.append(row)
            n_chars += len(texts[row])
        if group:
            yield group

    def _offsets_count_bytes(self) -> bool:
        """Whether offsets count bytes: the server's own ``text`` fields do not tell it."""
        (tokens,) = self._ask([_UNIT_PROBE], special=False)
        stop = tokens[-1]["stop"] if tokens else None
        n_bytes = len(_UNIT_PROBE.encode())
        if stop not in (len(_UNIT_PROBE), n_bytes):
            raise OffsetsError(
                f"offsets of {_UNIT_PROBE!r} end at {stop}, which counts neither bytes nor "
                "code points"
            )
        return bool(stop == n_bytes)

    def _char_offsets(self, text: str, tokens: list[dict[str, Any]]) -> NDArray[np.int32]:
        """Offsets in code points."""
        offsets = np.array(
            [(token["start"], token["stop"]) for token in tokens], dtype=np.int32
        ).reshape(-1, 2)
        if not len(offsets) or not self._in_bytes or text.isascii():
            return offsets
        content = np.frombuffer(text.encode(), dtype=np.uint8)
        if offsets.min() < 0 or offsets.max() > len(content):
            raise OffsetsError("the server's offsets reach outside the text")
        # Characters that begin before each byte position: UTF-8 goes on with 10xxxxxx.
        begins = (content & 0b1100_0000) != 0b1000_0000  # noqa: PLR2004  # see above
        begun = np.concatenate([[0], np.cumsum(begins)]).astype(np.int32)
        # A token that begins or ends inside a character has all of it.
        inside = np.minimum(offsets[:, 0] + 1, len(content))
        starts = np.where(offsets[:, 0] < len(content), begun[inside] - 1, begun[-1])
        return np.stack([starts, begun[offsets[:, 1]]], axis=1).astype(np.int32)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 31


def _read_ids(tokens: list[dict[str, Any]]) -> NDArray[np.int32]:
    return np.array([token["id"] for token in tokens], dtype=np.int32)


def _split_gap(prompt: str) -> tuple[str, str]:
    bare = prompt.rstrip()
    return bare, prompt[len(bare) :]


def _with_edges(one: TokenizedText, text: str, n_gap: int, last: int) -> TokenizedText:
    offsets = np.maximum(one.offsets - np.int32(n_gap), 0)
    return replace(one, offsets=offsets, edges=_find_edges(text, offsets, last))


def _find_edges(text: str, offsets: NDArray[np.int32], last: int) -> NDArray[np.int64]:
    """Tokens before which white space sets apart two words.

    Args:
        text: The text that the offsets count in.
        offsets: Of tokens in text order.
        last: End of the token before them.
    """
    if not len(offsets):
        return np.zeros(0, np.int64)
    ends = np.concatenate([[last], offsets[:-1, 1]])
    begins = np.concatenate([[max(0, last - 1)], offsets[:-1, 0]])
    inner = (ends > 0) & (ends < len(text)) & (begins < ends) & (offsets[:, 0] >= ends)
    at = np.flatnonzero(inner)
    kept = [i for i in at.tolist() if text[ends[i]] == " " and not text[ends[i] - 1].isspace()]
    return np.array(kept, dtype=np.int64)
