"""Text to token ids and offsets, exactly as the model's own tokenizer gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from latechunk_integrations.encoders.base import TokenizedText
from latechunk_integrations.errors import OffsetsError

__all__ = ["OffsetTokenizer"]

_PIECE_CHARS = 131_072
# Pieces overlap by this much; both sides must agree on a run of tokens there.
_SEAM_CHARS = 1_024
_SEAM_TOKENS = 32


class OffsetTokenizer:
    """A private copy of a fast tokenizer, with neither truncation nor padding.

    A private copy, because sentence-transformers switches truncation on and off in the
    model's own one, which other threads may be using.

    Args:
        tokenizer: The tokenizer of a transformers model.

    Raises:
        OffsetsError: The tokenizer is a slow one, which has no offset mapping.
    """

    def __init__(self, tokenizer: Any) -> None:  # transformers types its tokenizers loosely
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise OffsetsError(
                f"{type(tokenizer).__name__} is a slow tokenizer without offset mapping; late "
                "chunking needs a fast one (a tokenizer.json beside the model, which "
                "transformers writes when it can convert the slow one)"
            )
        self._backend = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self.lead, self.tail = self._special_tokens()

    def _special_tokens(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Special tokens that the post-processor puts before and behind a text."""
        encoding = self._backend.encode("a")
        special = np.array(encoding.special_tokens_mask, dtype=bool)
        ids = np.array(encoding.ids, dtype=np.int32)
        text = np.flatnonzero(~special)
        if not len(text):
            raise OffsetsError("the tokenizer gives no token for the letter 'a'")
        return ids[: text[0]], ids[text[-1] + 1 :]

    def tokenize(self, texts: Sequence[str], prompt: str) -> list[TokenizedText]:
        """Token ids and offsets of each text, read together with the prompt before it.

        Prompt and text are tokenized as one string, as the model does it: a tokenizer may
        join the prompt's last space to the text's first word.

        Args:
            texts: The texts.
            prompt: What stands before each of them; ``""`` for nothing.

        Returns:
            For each text the ids of prompt and text, and the text's offsets. A token that
            reaches over the border belongs to the text.

        Raises:
            OffsetsError: The tokenizer's offsets reach outside the text.
        """
        encodings = self._backend.encode_batch(
            [prompt + text for text in texts], add_special_tokens=False
        )
        return [
            _split_prompt(*_arrays(encoding), len(prompt), len(text))
            for encoding, text in zip(encodings, texts, strict=True)
        ]

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """The tokens of one text of any length, piece by piece, as `tokenize` gives them.

        The tokenizer needs more than a hundred bytes for each token. A long text therefore
        goes through it in overlapping pieces, which are joined in the middle of a run of
        equal tokens. A text without such runs is tokenized whole.

        Args:
            text: The text.
            prompt: What stands before it; only the first piece holds its tokens.
        """
        end = _PIECE_CHARS
        ids, offsets = self._encode(prompt + text[:end])
        n_prompt = len(prompt)
        while end < len(text):
            start, end = end - _SEAM_CHARS, end - _SEAM_CHARS + _PIECE_CHARS
            next_ids, next_offsets = self._encode(text[start:end])
            # Offsets count from the start of the prompt until a piece is given away.
            next_offsets += np.int32(n_prompt + start)
            middle = n_prompt + start + _SEAM_CHARS // 2
            seam = _find_seam(ids, offsets, next_ids, next_offsets, middle)
            if seam is None:
                # Rare, as in a text without spaces: exact still, at the cost of memory.
                yield from self._rest_whole(text, prompt, ids, offsets)
                return
            yield _split_prompt(ids[: seam[0]], offsets[: seam[0]], n_prompt, len(text))
            ids, offsets = next_ids[seam[1] :], next_offsets[seam[1] :]
        yield _split_prompt(ids, offsets, n_prompt, len(text))

    def _rest_whole(
        self,
        text: str,
        prompt: str,
        ids: NDArray[np.int32],
        offsets: NDArray[np.int32],
    ) -> Iterator[TokenizedText]:
        """What follows the pieces given away so far, from the whole text's tokens.

        The tokens given away end where ``ids`` begins, in the middle of an agreed run.
        """
        whole_ids, whole_offsets = self._encode(prompt + text)
        at = int(np.searchsorted(whole_offsets[:, 0], offsets[0, 0])) if len(offsets) else 0
        head = slice(at, at + min(len(ids), _SEAM_TOKENS // 2))
        if not np.array_equal(whole_ids[head], ids[: head.stop - head.start]):
            raise OffsetsError(
                "the tokenizer reads this long text differently in pieces; split the document"
            )
        yield _split_prompt(whole_ids[at:], whole_offsets[at:], len(prompt), len(text))

    def _encode(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return _arrays(self._backend.encode(text, add_special_tokens=False))


def _arrays(encoding: Encoding) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    ids = np.array(encoding.ids, dtype=np.int32)
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    return ids, offsets


def _find_seam(
    left_ids: NDArray[np.int32],
    left_offsets: NDArray[np.int32],
    right_ids: NDArray[np.int32],
    right_offsets: NDArray[np.int32],
    middle: int,
) -> tuple[int, int] | None:
    """Where two tokenizations of overlapping pieces can be joined.

    Args:
        left_ids: Token ids of the left piece.
        left_offsets: Its offsets.
        right_ids: Token ids of the right piece.
        right_offsets: Its offsets, counted as the left ones.
        middle: Middle of the overlap, in code points.

    Returns:
        Token counts ``(left, right)`` to keep from the left and to drop from the right, in
        the middle of a run of equal tokens, or None where there is no such run.
    """
    left = int(np.searchsorted(left_offsets[:, 0], middle))
    right = int(np.searchsorted(right_offsets[:, 0], middle))
    half = _SEAM_TOKENS // 2
    if min(left, right) < half:
        return None
    left_run, right_run = slice(left - half, left + half), slice(right - half, right + half)
    same = (
        len(left_ids[left_run]) == _SEAM_TOKENS
        and np.array_equal(left_ids[left_run], right_ids[right_run])
        and np.array_equal(left_offsets[left_run], right_offsets[right_run])
    )
    return (left, right) if same else None


def _split_prompt(
    ids: NDArray[np.int32], offsets: NDArray[np.int32], n_prompt_chars: int, n_chars: int
) -> TokenizedText:
    if len(offsets) and (offsets.min() < 0 or offsets[:, 1].max() > n_prompt_chars + n_chars):
        raise OffsetsError("the tokenizer's offsets reach outside the text")
    in_text = (offsets[:, 1] > n_prompt_chars) | (offsets[:, 0] >= n_prompt_chars)
    n_prompt = int(np.argmax(in_text)) if in_text.any() else len(ids)
    return TokenizedText(
        prompt=ids[:n_prompt],
        ids=ids[n_prompt:],
        offsets=np.maximum(offsets[n_prompt:] - np.int32(n_prompt_chars), 0),
    )
