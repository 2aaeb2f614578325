"""Packed vectors whose bytes were damaged: they come back as they were, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from latechunk_integrations import ChunkVectors, Parent
from latechunk_integrations.core.packing import pack_vectors, unpack_vectors
from latechunk_integrations.errors import InputError

_PARENT = Parent("One. Two.", [(0, 4), (5, 9)], id="two")
_VECTORS = ChunkVectors("two", np.eye(2, 4, dtype=np.float32), ("late", "windowed"), 1)


def _reads(content: bytes) -> bool:
    """Whether it is read; then it must be what was packed."""
    try:
        read = unpack_vectors(content, "key", _PARENT)
    except InputError:
        return False
    np.testing.assert_array_equal(read.vectors, _VECTORS.vectors)
    assert (read.modes, read.n_windows) == (_VECTORS.modes, _VECTORS.n_windows)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_gives_no_wrong_vector_and_no_other_error(bit: int) -> None:
    """Of the whole archive: also those that say how it is compressed, and whether encrypted."""
    content = pack_vectors(_VECTORS, "key")
    assert _reads(content)
    n_refused = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        n_refused += not _reads(bytes(damaged))
    assert n_refused > len(content) / 2
