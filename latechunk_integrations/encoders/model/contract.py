"""The model contract: what the model's own files say about windows, pooling and prompts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from latechunk_integrations.encoders.model.vector_contract import HeadContract, VectorContract
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import PoolingChoice
from latechunk_integrations.schema import PoolingMode

logger = logging.getLogger(__name__)

POOLING_MODES: Mapping[str, PoolingMode] = {
    "mean": "mean",
    "lasttoken": "last",
    "cls": "cls",
    "weightedmean": "weighted",
}

_warned: set[tuple[str, str]] = set()
_warned_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ModelContract(VectorContract):
    """What a vector of a loaded model is, read from the model's own files.

    Args:
        architecture: ``model_type`` of the transformer.
        causal: Whether a token sees only what comes before it.
        max_positions: Positions that the transformer can count; None if there is no limit.
        padding_side: Side on which the tokenizer pads.
        prompt_source: Where prompts are stated: ``files``, ``model card`` (`families`), ``none``.
        empty_title: What is in the slot without a title.
        similarity: Similarity that the model was trained for.
        loras: Names of its LoRAs.
    """

    architecture: str
    causal: bool
    max_positions: int | None
    padding_side: str
    prompt_source: str
    empty_title: str
    similarity: str
    loras: tuple[str, ...] = ()
    # A loaded model is asked for both.
    heads: tuple[HeadContract, ...] = field()
    dimensions: int = field()

    @property
    def header_pooling(self) -> float:
        """How much of a header's tokens the model was trained to pool: 1 in a slot, else 0."""
        return 0.0 if self.title_template is None else 1.0


def own_pooling(contract: VectorContract) -> PoolingMode | None:
    """The model's own pooling mode; None where it has no counterpart for a chunk."""
    return POOLING_MODES.get(contract.pooling_mode)


def resolve_pooling(
    choice: PoolingChoice, contract: VectorContract, model: str, *, in_units: bool = False
) -> PoolingMode:
    """The pooling mode of chunks, with a warning where late chunking breaks the contract.

    Args:
        choice: What was asked for.
        contract: The model's contract.
        model: Names the model in the warning, which comes once for each.
        in_units: Chunks have special tokens of their own, so that any mode is as trained.

    Raises:
        OptionError: ``auto`` and the model pools in a way that has no counterpart per chunk.
    """
    own = own_pooling(contract)
    if choice == "cls" and not in_units:
        warn_once(
            model,
            f"pooling='cls' of {model!r}: all chunks of one window share a vector; use it for "
            "ablation only",
        )
    if choice != "auto":
        return choice
    if own is None:
        raise OptionError(
            f"this model pools by {contract.pooling_mode!r}, which has no counterpart for a "
            "chunk; choose pooling='mean' to accept the difference"
        )
    if own == "cls":
        if not in_units:
            warn_once(
                model,
                f"{model!r} was trained with CLS pooling, and running text has no such token for "
                "a chunk: it is averaged. Use layout='units', where each chunk has its own, accept "
                "the mean with pooling='mean', or choose a model trained with mean pooling",
            )
        return "mean"
    return own


def check_dimensions(asked: int | None, contract: VectorContract) -> None:
    """Refuse a width that the vectors were not trained to be cut to.

    Raises:
        OptionError: With the valid widths.
    """
    if asked is None or asked == contract.dimensions:
        return
    if asked > contract.dimensions:
        raise OptionError(f"dimensions={asked} is more than the {contract.dimensions} of the model")
    least = contract.least_dimensions
    if least is not None and asked < least:
        raise OptionError(
            f"dimensions={asked}: this model was trained for {least} to {contract.dimensions}"
        )
    if least is None and contract.matryoshka and asked not in contract.matryoshka:
        valid = sorted({*contract.matryoshka, contract.dimensions})
        widths = ", ".join(str(width) for width in valid if width <= contract.dimensions)
        raise OptionError(f"dimensions={asked}: this model was trained for {widths}")


def warn_once(model: str, message: str) -> None:
    """Log a warning once for a model in this process."""
    with _warned_lock:
        if (model, message) in _warned:
            return
        _warned.add((model, message))
    logger.warning(message)
