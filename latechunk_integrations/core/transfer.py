"""Arrays to the device and back, without waiting where the device can work on meanwhile."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array on a device; to a GPU from pinned memory, so that the host goes on at once."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class HostCopy:
    """A tensor on its way to the host.

    From a GPU it is copied on a stream of its own into pinned memory, while the next batch is
    computed. Elsewhere it is copied when it is asked for.

    Args:
        tensor: What the current stream computes.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._copied: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            return
        stream = _copy_stream(tensor.device)
        stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(stream):
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._copied = stream.record_event()
        # The allocator must not hand its memory on before the other stream has read it.
        tensor.record_stream(stream)

    @property
    def under_way(self) -> bool:
        """Whether the copy may still be going on."""
        return self._copied is not None

    def numpy(self) -> NDArray[np.float32]:
        """The values, once they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        array: NDArray[np.float32] = self._tensor.cpu().numpy()
        return array


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types here
