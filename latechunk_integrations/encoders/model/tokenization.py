"""Text to token ids and offsets, exactly as the model's own tokenizer gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from tokenizers.models import Unigram

from latechunk_integrations.encoders.base import TokenizedText, TokenizedTexts
from latechunk_integrations.errors import ModelLoadError, OffsetsError, WindowBudgetError

# As fast as larger pieces: their seams cost no more than what leaves the processor's caches.
_PIECE_CHARS = 32_768
# Pieces overlap by this much; both sides must agree on a run of tokens there.
_SEAM_CHARS = 1_024
_SEAM_TOKENS = 32
_MOST_HEADERS = 1_024


def check_vocabulary(tokenizer: Any, model: str) -> None:
    """Refuse a tokenizer that knows no word: transformers makes one where the files lack it.

    Raises:
        ModelLoadError: It knows special tokens only.
    """
    from transformers import PreTrainedTokenizerBase  # noqa: PLC0415  # slow to import

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return  # of a model without a transformer, which is refused for that
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    words = (token for token in tokenizer.get_vocab() if token not in special)
    if not any(any(map(str.isalnum, word)) for word in words):
        raise ModelLoadError(
            f"the tokenizer of {model!r} knows no word: its files (tokenizer.json, vocab.txt, "
            "sentencepiece.bpe.model or the like) are not beside the model"
        )


class OffsetTokenizer:
    """A private copy of a fast tokenizer, with neither truncation nor padding.

    A private copy, because sentence-transformers switches truncation on and off in the
    model's own one, which other threads may be using.

    Args:
        tokenizer: The tokenizer of a transformers model, or what is below it.

    Raises:
        OffsetsError: The tokenizer is a slow one, which has no offset mapping.
    """

    def __init__(self, tokenizer: Any) -> None:  # transformers types its tokenizers loosely
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(backend, Tokenizer):
            raise OffsetsError(
                f"{type(tokenizer).__name__} is a slow tokenizer without offset mapping; late "
                "chunking needs a fast one (a tokenizer.json beside the model, which "
                "transformers writes when it can convert the slow one)"
            )
        self._backend = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        # Unigram weighs whole words, and rounding decides between equal ways to divide one:
        # the same characters can be divided otherwise when their word begins elsewhere.
        self._joins_at_words = isinstance(self._backend.model, Unigram)
        self.lead, self.tail = self._special_tokens()
        self._headers: dict[str, NDArray[np.int32]] = {}

    def _special_tokens(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Special tokens that the post-processor puts before and after a text."""
        encoding = self._backend.encode("a")
        special = np.array(encoding.special_tokens_mask, dtype=bool)
        ids = np.array(encoding.ids, dtype=np.int32)
        text = np.flatnonzero(~special)
        if not len(text):
            raise OffsetsError("the tokenizer gives no token for the letter 'a'")
        return ids[: text[0]], ids[text[-1] + 1 :]

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        """Token ids and offsets of each text, read together with the prompt before it.

        Prompt and text are tokenized as one string, as the model does it: a tokenizer may
        join the prompt's last space to the text's first word.

        Args:
            texts: The texts.
            prompt: What comes before each of them, ``""`` for nothing; or one for each.

        Returns:
            For each text the ids of prompt and text, and the offsets in each. A token that
            reaches over the border belongs to the text.

        Raises:
            OffsetsError: The tokenizer's offsets reach outside the text.
        """
        prompts = [prompt] * len(texts) if isinstance(prompt, str) else list(prompt)
        joined = [front + text for front, text in zip(prompts, texts, strict=True)]
        n_chars = [len(text) for text in texts]
        return _split_prompts(*self._read(joined), list(map(len, prompts)), n_chars)

    def tokenize_header(self, header: str, separator: str = "\n\n") -> NDArray[np.int32]:
        """Token ids of a header, set off from the text that follows; the last ones are kept."""
        if not header or header.isspace():
            return np.zeros(0, np.int32)
        ids = self._headers.get(header)
        if ids is None:
            ids = self.tokenize([header.strip() + separator], "")[0].ids
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            self._headers[header] = ids
        return ids

    def check_window(self, max_tokens: int, prompt: str) -> None:
        """Refuse a window that leaves less than half of it to the text.

        Raises:
            WindowBudgetError: Prompt and special tokens take more.
        """
        n_special = len(self.lead) + len(self.tail)
        n_prompt = len(self.tokenize([prompt], "")[0].ids) if prompt else 0
        if n_special + n_prompt > max_tokens // 2:
            raise WindowBudgetError(
                f"{n_special} special and {n_prompt} prompt tokens take more than half of a "
                f"window of {max_tokens} tokens; raise max_tokens or shorten document_prompt",
                max_tokens=max_tokens,
                special_tokens=n_special,
                prompt_tokens=n_prompt,
            )

    def _read(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Ids and offsets of all texts, one after the other, and how many each has."""
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        lists = [encoding.ids for encoding in encodings]
        n_ids = np.array([len(ids) for ids in lists], np.int64)
        total = int(n_ids.sum())
        ids = np.fromiter(chain.from_iterable(lists), np.int32, total)
        # Half of the time that np.array takes for a list of pairs.
        pairs = chain.from_iterable(encoding.offsets for encoding in encodings)
        flat = np.fromiter(chain.from_iterable(pairs), np.int32, 2 * total)
        return ids, flat.reshape(-1, 2), n_ids

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """The tokens of one text of any length, piece by piece, as `tokenize` gives them.

        The tokenizer needs more than a hundred bytes for each token. A long text therefore
        goes through it in overlapping pieces, which are joined in the middle of a run of
        equal tokens. A text without such runs is tokenized whole.

        Args:
            text: The text.
            prompt: What comes before it; only the first piece holds its tokens.
        """
        end = _PIECE_CHARS
        n_prompt = len(prompt)
        left = self._read_piece(prompt + text[:end])
        n_given = 0
        while end < len(text):
            start, end = end - _SEAM_CHARS, end - _SEAM_CHARS + _PIECE_CHARS
            # Offsets count from the start of the prompt until a piece is given away.
            right = self._read_piece(text[start:end]).moved(n_prompt + start)
            seam = _find_seam(left, right, n_prompt + start + _SEAM_CHARS // 2)
            if seam is None:
                # Rare, as in a text without spaces: exact still, at the cost of memory.
                rest = self._rest_whole(prompt + text, left, n_given)
                yield rest.split(n_prompt, len(text))
                return
            yield left.cut(0, seam[0]).split(n_prompt, len(text))
            n_given += seam[0]
            left = right.cut(seam[1])
        yield left.split(n_prompt, len(text))

    def _rest_whole(self, text: str, left: TokenPiece, n_given: int) -> TokenPiece:
        """What follows the tokens given away so far, from the whole text's tokens.

        The tokens given away end where ``left`` begins, in the middle of an agreed run.
        """
        whole = self._read_piece(text)
        if not n_given:
            return whole
        rest = whole.cut(int(np.searchsorted(whole.offsets[:, 0], left.offsets[0, 0])))
        head = slice(0, _SEAM_TOKENS // 2)
        if len(whole.ids) - len(rest.ids) != n_given or not _agree(rest, head, left, head):
            raise OffsetsError(
                "the tokenizer reads this long text differently in pieces; split the document"
            )
        return rest

    def _read_piece(self, text: str) -> TokenPiece:
        return self._read_pieces([text])[0]

    def _read_pieces(self, texts: Sequence[str]) -> list[TokenPiece]:
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [
            TokenPiece(
                *_read_arrays(encoding), _read_words(encoding) if self._joins_at_words else None
            )
            for encoding in encodings
        ]


class TokenPiece(NamedTuple):
    """Tokens of a part of a text, without special tokens.

    ``words`` (the index of each token's word) is there when pieces must be joined between words.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    words: NDArray[np.int64] | None

    def moved(self, chars: int) -> TokenPiece:
        """The same tokens with offsets that count from ``chars`` further ahead."""
        return self._replace(offsets=self.offsets + np.int32(chars))

    def cut(self, start: int, end: int | None = None) -> TokenPiece:
        """Some of the tokens."""
        words = None if self.words is None else self.words[start:end]
        return TokenPiece(self.ids[start:end], self.offsets[start:end], words)

    def split(self, n_prompt_chars: int, n_chars: int) -> TokenizedText:
        """Prompt and text told apart, where offsets count from the start of the prompt."""
        n_ids = np.array([len(self.ids)])
        return _split_prompts(self.ids, self.offsets, n_ids, [n_prompt_chars], [n_chars])[0]

    def starts_word(self, token: int) -> bool:
        """Whether a piece may begin with this token."""
        return self.words is None or bool(self.words[token] != self.words[token - 1])


def _read_words(encoding: Encoding) -> NDArray[np.int64]:
    return np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)


def _read_arrays(encoding: Encoding) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    ids = encoding.ids
    # Half of the time that np.array takes for a list of pairs.
    offsets = np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * len(ids))
    return np.array(ids, dtype=np.int32), offsets.reshape(-1, 2)


def _find_seam(left: TokenPiece, right: TokenPiece, middle: int) -> tuple[int, int] | None:
    """Where two tokenizations of overlapping pieces can be joined.

    Args:
        left: The left piece.
        right: The right piece, its offsets counted as the left ones.
        middle: Middle of the overlap, in code points.

    Returns:
        Token counts ``(left, right)`` to keep from the left and to drop from the right, in
        the middle of a run of equal tokens, or None where there is no such run.
    """
    half = _SEAM_TOKENS // 2
    at = int(np.searchsorted(right.offsets[:, 0], middle))
    if right.words is not None and half <= at < len(right.ids):
        middle = _next_word(right.words, right.offsets, at)
        at = int(np.searchsorted(right.offsets[:, 0], middle))
    left_at = int(np.searchsorted(left.offsets[:, 0], middle))
    if min(left_at, at) < half or left_at + half > len(left.ids):
        return None
    if not (left.starts_word(left_at) and right.starts_word(at)):
        return None
    left_run, right_run = slice(left_at - half, left_at + half), slice(at - half, at + half)
    return (left_at, at) if _agree(left, left_run, right, right_run) else None


def _next_word(words: NDArray[np.int64], offsets: NDArray[np.int32], token: int) -> int:
    """Where the first word begins that starts at a token or after it, in code points."""
    behind = np.flatnonzero(words[token:] != words[token - 1 : -1])
    return int(offsets[token + behind[0], 0] if len(behind) else offsets[-1, 1])


def _agree(left: TokenPiece, left_run: slice, right: TokenPiece, right_run: slice) -> bool:
    return np.array_equal(left.ids[left_run], right.ids[right_run]) and np.array_equal(
        left.offsets[left_run], right.offsets[right_run]
    )


def _split_prompts(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int32],
    n_ids: NDArray[np.int64],
    prompt_chars: Sequence[int],
    text_chars: Sequence[int],
) -> TokenizedTexts:
    """Tokens of prompts and texts, told apart; offsets of a text count from its start."""
    ends = np.cumsum(n_ids)
    starts = ends - n_ids
    n_prompt_chars = np.array(prompt_chars, np.int32)
    if len(offsets):
        most = np.repeat(n_prompt_chars + np.array(text_chars, np.int32), n_ids)
        if offsets.min() < 0 or (offsets[:, 1] > most).any():
            raise OffsetsError("the tokenizer's offsets reach outside the text")
    if not n_prompt_chars.any():
        return TokenizedTexts(ids, offsets, starts, starts, ends)
    fronts = np.repeat(n_prompt_chars, n_ids)
    in_text = (offsets[:, 1] > fronts) | (offsets[:, 0] >= fronts)
    # The first token of the text; everything after it belongs to the text too.
    found = np.flatnonzero(in_text)
    at = np.searchsorted(found, starts)
    text_starts = np.where(at < len(found), np.append(found, 0)[at], ends)
    text_starts = np.minimum(text_starts, ends)
    is_text = np.arange(len(ids)) >= np.repeat(text_starts, n_ids)
    moved = np.where(is_text[:, None], np.maximum(offsets - fronts[:, None], 0), offsets)
    return TokenizedTexts(ids, moved.astype(np.int32), starts, text_starts, ends)
