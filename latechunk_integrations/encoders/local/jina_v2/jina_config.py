"""What a JinaBERT is: its sizes, read from the published config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latechunk_integrations.errors import ModelLoadError

_BY_NAMES = ("qk_norm", "code_layout")
_NO_SIZES = ("layer_norm_eps", *_BY_NAMES)


def is_jina_v2(published: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a jina-embeddings-v2 model.

    The published models call themselves ``bert``; no BERT of transformers has linear biases
    in place of position embeddings.
    """
    return (
        published.get("model_type") == "bert"
        and published.get("position_embedding_type") == "alibi"
        and "feed_forward_type" in published
    )


@dataclass(frozen=True, kw_only=True)
class JinaBertConfig:
    """Sizes of a JinaBERT; the defaults are those of jina-embeddings-v2-base-en.

    Args:
        vocab_size: Rows of the word embeddings.
        type_vocab_size: Rows of the token type embeddings.
        hidden_size: Width of a token embedding.
        num_hidden_layers: Number of layers.
        num_attention_heads: Number of heads; any number that divides the width.
        intermediate_size: Width of each half of the gated feed-forward layer.
        max_position_embeddings: Longest window in tokens. Attention itself has no such limit.
        layer_norm_eps: Epsilon of every layer norm.
        qk_norm: Whether queries and keys are normalised. No config.json says so; the parameter
            names do, as they do for `code_layout`.
        code_layout: Whether layers are those of jina-embeddings-v2-base-code: another residual
            norm before the feed-forward layer, whose halves are the other way round.

    Raises:
        ModelLoadError: A size is no positive integer, or the heads do not divide the width.
    """

    vocab_size: int = 30_528
    type_vocab_size: int = 2
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3_072
    max_position_embeddings: int = 8_192
    layer_norm_eps: float = 1e-12
    qk_norm: bool = False
    code_layout: bool = False

    def __post_init__(self) -> None:
        """Check what the attention takes for granted."""
        sizes = {name: value for name, value in vars(self).items() if name not in _NO_SIZES}
        wrong = [f"{k}={v!r}" for k, v in sizes.items() if not isinstance(v, int) or v < 1]
        if wrong:
            raise ModelLoadError(f"config.json names sizes that cannot be: {', '.join(wrong)}")
        if self.hidden_size % self.num_attention_heads:
            raise ModelLoadError(
                f"hidden_size {self.hidden_size} is no multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )

    @classmethod
    def from_published(
        cls, published: Mapping[str, Any], *, qk_norm: bool, code_layout: bool
    ) -> JinaBertConfig:
        """The sizes that a published config.json names.

        Args:
            published: The content of config.json.
            qk_norm: Whether the checkpoint has layer norms for queries and keys.
            code_layout: Whether its layers are those of jina-embeddings-v2-base-code.

        Raises:
            ModelLoadError: A size is missing, or the feed-forward layer is of another kind.
        """
        kind = published["feed_forward_type"]
        if kind != "geglu":
            raise ModelLoadError(
                f"feed_forward_type {kind!r} of config.json is not supported: the published "
                "jina-embeddings-v2 models have 'geglu'"
            )
        names = [name for name in cls.__dataclass_fields__ if name not in _BY_NAMES]
        missing = [name for name in names if name not in published]
        if missing:
            raise ModelLoadError(f"config.json lacks {', '.join(missing)}")
        sizes = {name: published[name] for name in names}
        return cls(qk_norm=qk_norm, code_layout=code_layout, **sizes)
