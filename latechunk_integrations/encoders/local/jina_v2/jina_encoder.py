"""How a JinaBERT runs: embeddings, layers with linear biases, gated feed-forward layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.modeling_outputs import BaseModelOutput

from latechunk_integrations.encoders.local.focus_attention import current_focus
from latechunk_integrations.encoders.local.jina_v2.jina_attention import AlibiRows, alibi_rows
from latechunk_integrations.encoders.local.jina_v2.jina_config import JinaBertConfig

# Tokens that pass through a feed-forward layer at once on a CPU: its wide intermediate values
# then stay in the cache, which saves a fifth of its time, and much memory.
_BLOCK_TOKENS = 256


class JinaBert(nn.Module):
    """The encoder of jina-embeddings-v2 (`Günther et al., 2023`_).

    Without position embeddings, dropout, pooler and language model head; for inference.

    Args:
        sizes: What the published config.json names.
        config: The same for sentence-transformers, which reads a few of its attributes.

    .. _Günther et al., 2023: https://arxiv.org/abs/2310.19923
    """

    takes_focus = True

    def __init__(self, sizes: JinaBertConfig, config: Any = None) -> None:
        super().__init__()
        self.sizes = sizes
        self.config = config
        width = sizes.hidden_size
        self.word_embeddings = nn.Embedding(sizes.vocab_size, width)
        self.token_type_embeddings = nn.Embedding(sizes.type_vocab_size, width)
        self.embedding_norm = nn.LayerNorm(width, eps=sizes.layer_norm_eps)
        self.layers = nn.ModuleList(JinaBertLayer(sizes) for _ in range(sizes.num_hidden_layers))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        return_dict: bool = True,  # sentence-transformers always asks for one
    ) -> BaseModelOutput:
        """Token embeddings of a padded batch.

        Args:
            input_ids: Token ids. *Shape:* ``(n_rows, row_length)``.
            attention_mask: Not zero where a token is, without gaps inside of a row; None:
                everywhere. *Shape:* ``(n_rows, row_length)``.
            token_type_ids: None: all zero. *Shape:* ``(n_rows, row_length)``.
            return_dict: The only form there is.

        Returns:
            ``last_hidden_state``, *shape:* ``(n_rows, row_length, width)``; values
            where no token is mean nothing.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        heads = self.sizes.num_attention_heads
        rows = alibi_rows(attention_mask.bool(), heads, current_focus())
        words = self.word_embeddings(rows.pack(input_ids))
        hidden = self.embedding_norm(words + self.token_type_embeddings(rows.pack(token_type_ids)))
        for layer in self.layers:
            hidden = layer(hidden, rows)
        return BaseModelOutput(last_hidden_state=rows.unpack(hidden))


class JinaBertLayer(nn.Module):
    """Self-attention and a gated feed-forward layer, each followed by a layer norm.

    Args:
        sizes: Sizes of the model.
    """

    def __init__(self, sizes: JinaBertConfig) -> None:
        super().__init__()
        width, eps = sizes.hidden_size, sizes.layer_norm_eps
        self.qk_norm, self.code_layout = sizes.qk_norm, sizes.code_layout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.output_norm = nn.LayerNorm(width, eps=eps)
        if sizes.qk_norm:
            self.query_norm = nn.LayerNorm(width, eps=eps)
            self.key_norm = nn.LayerNorm(width, eps=eps)
        if sizes.code_layout:
            self.residual_norm = nn.LayerNorm(width, eps=eps)
        self.gated = nn.Linear(width, 2 * sizes.intermediate_size, bias=False)
        self.down = nn.Linear(sizes.intermediate_size, width)
        self.down_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, hidden: Tensor, rows: AlibiRows) -> Tensor:
        """One layer; *shapes:* ``(..., width)``, as the rows are laid out."""
        attended = self._attention(hidden, rows)
        if hidden.device.type != "cpu":
            return self._feed_forward(attended)
        result = torch.empty_like(attended)
        for start in range(0, len(attended), _BLOCK_TOKENS):
            block = slice(start, start + _BLOCK_TOKENS)
            result[block] = self._feed_forward(attended[block])
        return result

    def _attention(self, hidden: Tensor, rows: AlibiRows) -> Tensor:
        query, key = self.query(hidden), self.key(hidden)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        context = rows.attend(query, key, self.value(hidden))
        attended: Tensor = self.output_norm(hidden + self.output(context))
        if self.code_layout:
            attended = self.residual_norm(hidden + attended)
        return attended

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        gate, up = self.gated(hidden).chunk(2, dim=-1)
        if self.code_layout:  # that layout has the halves the other way round
            gate, up = up, gate
        result: Tensor = self.down_norm(hidden + self.down(gelu(gate) * up))
        return result
