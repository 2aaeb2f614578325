"""What is checked, by name, and how a breach is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RULES: Mapping[str, str] = {
    "members": "an encoder has every member of its protocol, of its type",
    "offsets": "each token has the half-open range of code points of the text that it is",
    "prompt": "prompt and text are read as one string, and offsets count from the text's start",
    "pieces": "a text that is read in pieces has the tokens of the whole text",
    "width": "arrays have the shapes that the protocol states, and float32 where it says so",
    "numbers": "every number is finite, and no vector has the length 0",
    "order": "what comes back is in the order of what was given",
    "padding": "a row depends neither on the rows beside it nor on what follows its end",
    "units": "with infinite focus a unit of a window has the embeddings that it has alone",
    "documents": "a document depends on no other document of its request",
    "determinism": "the same input gives the same vectors again",
    "own vector": "one chunk over a whole text is what the encoder itself gives for that text",
    "own parent": "a chunk gets the vector of its own parent, whatever other parents hold its text",
    "same vectors": "an adapter gives the vectors of its engine, row for row",
    "kept": "a store gives back the vectors that were written under an id",
    "replaced": "what is written again under an id replaces what was there",
    "found": "a search with a stored vector finds its own id first",
}


class ConformanceError(AssertionError):
    """Something breaks a rule that vectors depend on.

    Args:
        message: What was found.
        rule: Name of the rule, of `RULES`.
    """

    def __init__(self, message: str, rule: str) -> None:
        super().__init__(message, rule)
        self.rule = rule

    def __str__(self) -> str:
        """What was found, and the rule."""
        return f"{self.args[0]} [rule {self.rule!r}: {RULES[self.rule]}]"


class Checker:
    """Collects nothing: the first breach ends the check, since others would follow from it.

    Args:
        name: How to call what is checked.
        tolerance: Largest difference of two vectors that are to be the same, relative to their
            length.
    """

    def __init__(self, name: str, tolerance: float) -> None:
        self.name = name
        self.tolerance = tolerance

    def require(self, *, holds: bool | np.bool_, rule: str, found: str) -> None:
        """End unless something holds.

        Raises:
            ConformanceError: It does not.
        """
        if not holds:
            raise ConformanceError(f"{self.name}: {found}", rule)

    def same(self, rule: str, what: str, found: NDArray[Any], wanted: NDArray[Any]) -> None:
        """End unless two arrays of vectors are the same within the tolerance."""
        self.require(
            holds=np.shape(found) == np.shape(wanted),
            rule=rule,
            found=f"{what}: shape {np.shape(found)} instead of {np.shape(wanted)}",
        )
        difference = relative_difference(found, wanted)
        self.require(
            holds=difference <= self.tolerance,
            rule=rule,
            found=f"{what}: the vectors differ by {difference:.2g} of their length, and "
            f"{self.tolerance:.2g} is allowed",
        )

    def vectors(self, what: str, found: NDArray[Any], shape: Sequence[int]) -> None:
        """End unless these are vectors of a shape, finite and none of them zero."""
        is_array = isinstance(found, np.ndarray)
        self.require(
            holds=is_array and found.shape == tuple(shape),
            rule="width",
            found=f"{what}: {getattr(found, 'shape', type(found).__name__)} instead of an array of "
            f"shape {tuple(shape)}",
        )
        self.require(
            holds=found.dtype == np.float32,
            rule="width",
            found=f"{what}: {found.dtype} instead of float32",
        )
        finite = np.isfinite(found).all() and (np.abs(found).max(axis=-1, initial=0) > 0).all()
        self.require(holds=finite, rule="numbers", found=f"{what}: NaN, infinity or zeros")


def relative_difference(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The largest difference of two rows, relative to the length of the second."""
    left, right = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not right.size:
        return 0.0
    lengths = np.maximum(np.linalg.norm(right, axis=-1), 1e-12)
    return float((np.linalg.norm(left - right, axis=-1) / lengths).max())
