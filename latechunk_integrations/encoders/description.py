"""What an engine does with its model: the contract, and what the options made of it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latechunk_integrations.core.windows import COMMON_WINDOW, bound_unit_window
from latechunk_integrations.encoders.base import (
    ChunkEncoder,
    ChunkLimits,
    QueryEncoder,
    TokenEncoder,
)
from latechunk_integrations.encoders.model.contract import ModelContract
from latechunk_integrations.options import LateChunkOptions

# How an encoder of chunks pools.
_BY_ITSELF = "its own"
_COLUMNS = ("", "the model's own", "used here")


@dataclass(frozen=True)
class ModelUse:
    """What the options made of a model.

    Args:
        max_tokens: Window length, special tokens included; of an encoder that pools chunks
            itself the length of a document.
        pooling: How chunks are pooled.
        standalone_pooling: How chunks that are embedded alone are pooled.
        document_prompt: Prefix of every window; None: the encoder's own affair.
        query_prompt: Prefix of queries; None: the encoder embeds none.
        document_lora: LoRA that documents go through.
        query_lora: LoRA that queries go through.
        dimensions: Width of a vector.
        normalize: Whether vectors have unit length.
        context_weight: Share of the late vector; the rest is the standalone one's.
        layout: How a window is laid out: ``units`` or ``text``.
        focus: Nats toward the own chunk, or ``auto``; None: the encoder knows no focus.
        header_pooling: Weight of a header's tokens in the pooling.
        sub_span_tokens: About how many tokens make a sub-span; None: there are none.
        dtype: Number format of the forward pass; None: not known.
        device: Where it runs; None: not known.
    """

    max_tokens: int
    pooling: str
    standalone_pooling: str
    document_prompt: str | None
    query_prompt: str | None
    document_lora: str | None
    query_lora: str | None
    dimensions: int
    normalize: bool
    context_weight: float
    layout: str
    focus: float | str | None
    header_pooling: float
    sub_span_tokens: int | None
    dtype: str | None
    device: str | None


@dataclass(frozen=True)
class ModelDescription:
    """A model's contract beside its use; ``print`` shows a table.

    Args:
        model: Hub name or local path.
        contract: What the model's files say; None where they are not at hand.
        use: What the options made of it.
        fingerprint: Hash of everything that a vector depends on.
        encoder: How the model is reached: the option ``encoder``.
        limits: What an encoder that pools chunks itself takes; None for any other.
    """

    model: str
    contract: ModelContract | None
    use: ModelUse
    fingerprint: str
    encoder: str = "local"
    limits: ChunkLimits | None = None

    def to_dict(self) -> dict[str, Any]:
        """The description as plain values."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        rows = [_COLUMNS, *_rows(self.contract, self.use)]
        if self.limits is not None:
            rows += [(name.replace("_", " "), "", str(n)) for name, n in vars(self.limits).items()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        through = "" if self.encoder == "local" else f" through {self.encoder}"
        return "\n".join([self.model + through, *lines, f"fingerprint {self.fingerprint}"])


def describe(
    encoder: TokenEncoder | ChunkEncoder,
    options: LateChunkOptions,
    *,
    fingerprint: str,
    layout: str,
    header_pooling: float,
) -> ModelDescription:
    """The description of an engine's model.

    Args:
        encoder: The encoder; what it does not know of itself is None.
        options: What the engine was asked for.
        fingerprint: The engine's fingerprint.
        layout: The layout that the options are for this encoder.
        header_pooling: The same of the weight of a header's tokens.
    """
    limits = encoder.limits if isinstance(encoder, ChunkEncoder) else None
    pooling = standalone_pooling = _BY_ITSELF
    document_prompt = None
    takes_units = False
    if isinstance(encoder, ChunkEncoder):
        max_tokens = encoder.limits.document_tokens
    else:
        max_tokens, document_prompt = encoder.max_tokens, encoder.document_prompt
        pooling, standalone_pooling = encoder.pooling, encoder.standalone_pooling
        takes_units = encoder.takes_units
    use = ModelUse(
        max_tokens=max_tokens,
        pooling=pooling,
        standalone_pooling=standalone_pooling,
        document_prompt=document_prompt,
        query_prompt=encoder.query_prompt if isinstance(encoder, QueryEncoder) else None,
        document_lora=options.document_lora,
        query_lora=options.query_lora,
        dimensions=encoder.dimensions,
        normalize=options.normalize,
        context_weight=options.context_weight,
        layout=layout,
        focus=options.focus if takes_units else None,
        header_pooling=header_pooling,
        sub_span_tokens=options.sub_span_tokens,
        dtype=encoder.dtype,
        device=encoder.device,
    )
    known = encoder.contract if isinstance(encoder.contract, ModelContract) else None
    return ModelDescription(options.model, known, use, fingerprint, options.encoder, limits)


def _rows(contract: ModelContract | None, use: ModelUse) -> list[tuple[str, str, str]]:
    own = _own(contract) if contract is not None else {}
    used = {
        "architecture": " on ".join(part for part in (use.dtype, use.device) if part),
        "window": _used_window(use),
        "pooling": _used_pooling(use),
        "layout": _used_layout(use),
        "document prompt": "" if use.document_prompt is None else repr(use.document_prompt),
        "query prompt": "" if use.query_prompt is None else repr(use.query_prompt),
        "dimensions": str(use.dimensions),
        "similarity": "unit length" if use.normalize else "length as the model gives it",
        "LoRA": _used_loras(use),
    }
    names = {**used, **own}
    order = [name for name in _ORDER if name in names]
    rows = [(name, own.get(name, ""), used.get(name, "")) for name in order]
    return [row for row in rows if any(row[1:])]


_ORDER = (
    "architecture",
    "window",
    "padding",
    "pooling",
    "layout",
    "document prompt",
    "query prompt",
    "heads",
    "dimensions",
    "similarity",
    "LoRA",
)


def _own(contract: ModelContract) -> Mapping[str, str]:
    length = "not declared" if contract.max_seq_length is None else str(contract.max_seq_length)
    positions = "" if contract.max_positions is None else f", {contract.max_positions} positions"
    prompt_end = "" if contract.prompt_pooled else ", prompt left out"
    source = f" ({contract.prompt_source})" if contract.prompt_source != "none" else ""
    return {
        "architecture": f"{contract.architecture}, {_direction(contract)}",
        "window": length + positions,
        "padding": contract.padding_side,
        "pooling": contract.pooling_mode + prompt_end,
        "document prompt": repr(contract.document_prompt) + source,
        "query prompt": repr(contract.query_prompt) + source,
        "heads": ", ".join(map(str, contract.heads)) or "none",
        "dimensions": str(contract.dimensions) + _trained(contract),
        "similarity": contract.similarity,
        "LoRA": ", ".join(contract.loras) or "none",
    }


def _direction(contract: ModelContract) -> str:
    return "causal" if contract.causal else "bidirectional"


def _trained(contract: ModelContract) -> str:
    norm = ", layer norm before cutting" if contract.truncation_layer_norm else ""
    if contract.least_dimensions is not None:
        return f" (from {contract.least_dimensions} on{norm})"
    if contract.matryoshka:
        return f" (trained: {', '.join(map(str, contract.matryoshka))}{norm})"
    return f" ({norm.removeprefix(', ')})" if norm else ""


def _used_window(use: ModelUse) -> str:
    most = bound_unit_window(use.max_tokens)
    common = min(most, COMMON_WINDOW)
    if use.layout == "text" or common == use.max_tokens:
        return f"{use.max_tokens} tokens"
    more = " or three units" if common < most else ""
    return f"{use.max_tokens} tokens a unit, windows of {common}{more}"


def _used_layout(use: ModelUse) -> str:
    size = use.sub_span_tokens
    parts = "" if size is None else f", sub-spans of about {size} tokens"
    if use.focus is None:
        return f"running {use.layout}; no units and no focus here{parts}"
    pooled = f", header pooled by {use.header_pooling:g}" if use.header_pooling else ""
    return f"{use.layout}, focus {use.focus}{pooled}{parts}"


def _used_pooling(use: ModelUse) -> str:
    if use.standalone_pooling == use.pooling:
        return use.pooling
    return f"{use.pooling}, standalone {use.standalone_pooling}"


def _used_loras(use: ModelUse) -> str:
    if use.document_lora is None and use.query_lora is None:
        return "none"
    return f"documents {use.document_lora or 'none'}, queries {use.query_lora or 'none'}"
