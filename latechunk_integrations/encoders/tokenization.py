"""Text to token ids and offsets, exactly as the model's own tokenizer gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from latechunk_integrations.encoders.base import TokenizedText
from latechunk_integrations.errors import OffsetsError

__all__ = ["OffsetTokenizer"]

# Texts longer than this are tokenized piece by piece, since the tokenizer needs more than a
# hundred bytes for each token; shorter ones are tokenized whole.
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
        short = [prompt + text for text in texts if len(text) <= _PIECE_CHARS]
        encodings = iter(self._backend.encode_batch(short, add_special_tokens=False))
        return [
            _split_prompt(
                *(
                    _arrays(next(encodings))
                    if len(text) <= _PIECE_CHARS
                    else self._tokenize_long(prompt + text)
                ),
                len(prompt),
                len(text),
            )
            for text in texts
        ]

    def _tokenize_long(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Ids and offsets of a long text from overlapping pieces that agree at their seams."""
        all_ids, all_offsets = self._encode(text, 0, _PIECE_CHARS)
        ids, offsets = [], []
        end = min(_PIECE_CHARS, len(text))
        while end < len(text):
            start = end - _SEAM_CHARS
            next_ids, next_offsets = self._encode(text, start, start + _PIECE_CHARS)
            seam = _find_seam(all_ids, all_offsets, next_ids, next_offsets, start, end)
            if seam is None:
                # No word borders to cut at: exact still, at the cost of memory.
                return _arrays(self._backend.encode(text, add_special_tokens=False))
            left, right = seam
            ids.append(all_ids[:left])
            offsets.append(all_offsets[:left])
            all_ids, all_offsets = next_ids[right:], next_offsets[right:]
            end = min(start + _PIECE_CHARS, len(text))
        return np.concatenate([*ids, all_ids]), np.concatenate([*offsets, all_offsets])

    def _encode(
        self, text: str, start: int, end: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        piece = self._backend.encode(text[start:end], add_special_tokens=False)
        ids, offsets = _arrays(piece)
        return ids, offsets + np.int32(start)


def _arrays(encoding: Encoding) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    ids = np.array(encoding.ids, dtype=np.int32)
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    return ids, offsets


def _find_seam(
    left_ids: NDArray[np.int32],
    left_offsets: NDArray[np.int32],
    right_ids: NDArray[np.int32],
    right_offsets: NDArray[np.int32],
    start: int,
    end: int,
) -> tuple[int, int] | None:
    """Where two tokenizations of overlapping pieces can be joined.

    Returns:
        Token counts ``(left, right)`` to keep from the left and to drop from the right, in
        the middle of a long run of equal tokens around the middle of the overlap, or None.
    """
    middle = (start + end) // 2
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
