"""What the options mean for one encoder: layout, focus, header pooling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.focus import HEADER_STEP, SUB_SPAN_SLOPE, choose_focus
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions


@dataclass(frozen=True)
class Resolved:
    """Options without ``auto``.

    Args:
        layout: How a window is laid out.
        focus: In nats; None: chosen for each window by the rule of `choose_focus`.
        header_focus: The same toward headers; None: by the same rule.
        header_pooling: Weight of a header's tokens in the pooling, from 0 to 1.
        of_sub_spans: Whether units are sub-spans, for which the rule is another.
    """

    layout: Literal["units", "text"]
    focus: float | None
    header_focus: float | None
    header_pooling: float
    of_sub_spans: bool = False

    @property
    def has_focus(self) -> bool:
        """Whether the encoder is told any focus."""
        if self.is_block_diagonal:
            return False
        return bool(self.focus is None or self.focus or self.header_focus)

    @property
    def is_block_diagonal(self) -> bool:
        """Whether no unit attends to another, so that each can have a window of its own."""
        return self.layout == "units" and self.focus == math.inf

    def focus_of(
        self, n_units: NDArray[np.float64], shares: NDArray[np.float64] | float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Focus and header focus of each window, in nats.

        Args:
            n_units: Units of each window, or how many of its chunks' size it would hold, shape
                ``(n_windows,)``.
            shares: The mean chunk of its units as a part of the window, same shape.

        Returns:
            Float32, shape ``(n_windows,)`` each.
        """
        asked = self.focus
        if asked is not None:
            focus = np.full(len(n_units), asked)
        elif self.of_sub_spans:
            focus = choose_focus(n_units, slope=SUB_SPAN_SLOPE)
        else:
            focus = choose_focus(n_units, shares)
        if self.header_focus is not None:
            header_focus = np.full(len(n_units), self.header_focus)
        else:
            header_focus = np.maximum(focus - HEADER_STEP, 0)
        return focus.astype(np.float32), header_focus.astype(np.float32)


def resolve(options: LateChunkOptions, encoder: TokenEncoder) -> Resolved:
    """The options for one encoder.

    Raises:
        OptionError: The encoder cannot do what was asked for.
    """
    layout = options.layout
    focus = None if options.focus == "auto" else float(options.focus)
    header_focus = None if options.header_focus == "auto" else float(options.header_focus)
    if not encoder.takes_units:
        check_running_text(options)
        layout, focus, header_focus = "text", 0.0, 0.0
    pooling = options.header_pooling
    if pooling is None:
        pooling = 1.0 if encoder.title_slot is not None else 0.0
    return Resolved(
        "text" if layout == "text" else "units",
        focus,
        header_focus,
        float(pooling),
        of_sub_spans=options.sub_span_tokens is not None,
    )


def check_running_text(options: LateChunkOptions) -> None:
    """Refuse units and focus where the encoder reads running text: they would be ignored.

    Raises:
        OptionError: One was asked for.
    """
    focused = any(value not in ("auto", 0) for value in (options.focus, options.header_focus))
    if options.layout == "units" or focused or options.stable_windows:
        raise OptionError(
            f"encoder={options.encoder!r} reads running text and takes no units and no focus: "
            "leave layout, focus, header_focus and stable_windows out, or use encoder='local'"
        )
