"""The token ids of a block's texts, as they are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.alignment import Aligner
from latechunk_integrations.encoders.base import TokenEncoder, TokenizedTexts
from latechunk_integrations.errors import naming
from latechunk_integrations.flow.pooled_texts import (
    LONG_TEXT_CHARS,
    PooledTexts,
    count_title_tokens,
    drain_ids,
    group_texts,
    join_texts,
    narrow_ids,
)


class TextPool:
    """Tokenizes texts with their prompts and headers, and keeps the ids.

    Args:
        encoder: Gives tokens. Its special tokens are the first in the pool.
    """

    def __init__(self, encoder: TokenEncoder) -> None:
        self._encoder = encoder
        self._ids: list[NDArray[np.integer]] = [*map(narrow_ids, (encoder.lead, encoder.tail))]
        self._size = len(encoder.lead) + len(encoder.tail)
        self._headers: dict[str, tuple[int, int]] = {"": (0, 0)}

    def read(
        self,
        texts: Sequence[str],
        headers: Sequence[str],
        parent_ids: Sequence[str],
        aligners: Sequence[Aligner] = (),
    ) -> PooledTexts:
        """Take texts in.

        Args:
            texts: The texts.
            headers: The header of each.
            parent_ids: Whose each is, for errors.
            aligners: They are given the offsets of the tokens.
        """
        slot = self._encoder.title_slot
        parts: list[PooledTexts] = []
        for group in group_texts([len(text) for text in texts]):
            with naming(parent_ids[group]):
                if slot is None:
                    prompts: str | list[str] = self._encoder.document_prompt
                else:
                    prompts = [slot.fill(header.strip()) for header in headers[group]]
                tokens = self.tokenize(texts[group], prompts)
                for header in set(headers[group]) if slot is None else ():
                    self._keep_header(header)
            numbers = np.arange(group.start, group.start + len(tokens))
            for aligner in aligners:
                n_tokens = tokens.ends - tokens.text_starts
                aligner.add(tokens.text_offsets, np.repeat(numbers, n_tokens))
            parts.append(self._place(tokens, headers[group]))
        return join_texts(parts)

    def tokenize(self, texts: Sequence[str], prompts: str | list[str]) -> TokenizedTexts:
        """Tokens of some texts, which are not kept."""
        if len(texts) == 1 and len(texts[0]) > LONG_TEXT_CHARS:
            prompt = prompts if isinstance(prompts, str) else prompts[0]
            pieces = list(self._encoder.tokenize_pieces(texts[0], prompt))
            return TokenizedTexts.join(pieces)
        found = self._encoder.tokenize(texts, prompts)
        return found if isinstance(found, TokenizedTexts) else TokenizedTexts.of(found)

    def drain(self) -> NDArray[np.integer]:
        """All ids, one after the other; the pool is empty afterwards."""
        return drain_ids(self._ids)

    def _keep_header(self, header: str) -> None:
        if header not in self._headers:
            ids = self._encoder.tokenize_header(header)
            self._headers[header] = (self._keep(ids), len(ids))

    def _keep(self, ids: NDArray[np.int32]) -> int:
        start = self._size
        self._ids.append(narrow_ids(ids))
        self._size += len(ids)
        return start

    def _place(self, tokens: TokenizedTexts, headers: Sequence[str]) -> PooledTexts:
        base = self._keep(tokens.ids)
        prompts = np.stack(
            [tokens.prompt_starts, tokens.text_starts - tokens.prompt_starts], axis=1
        )
        texts = np.stack([tokens.text_starts, tokens.ends - tokens.text_starts], axis=1)
        prompts[:, 0] += base
        texts[:, 0] += base
        edges = list(tokens.edges) if tokens.edges is not None else []
        slot = self._encoder.title_slot
        if slot is None:
            placed = np.array([self._headers[header] for header in headers], np.int64)
            nothing = np.zeros_like(prompts)
            return PooledTexts(prompts, placed.reshape(-1, 2), nothing, texts, edges)
        n_front, n_title = count_title_tokens(tokens, headers, len(slot.before))
        front, title, back = prompts.copy(), prompts.copy(), prompts.copy()
        front[:, 1] = n_front
        title[:, 0] += n_front
        title[:, 1] = n_title
        back[:, 0] += n_front + n_title
        back[:, 1] -= n_front + n_title
        return PooledTexts(front, title, back, texts, edges)
