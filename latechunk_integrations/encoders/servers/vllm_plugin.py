"""Sums of chunks on a vLLM server, so that no token embeddings travel.

This module runs in vLLM's process, as an IO processor: ``vllm serve ... --io-processor-plugin
latechunk``. vLLM finds it by its entry point; `VllmEncoder` finds out whether it is there.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.host_sums import sum_on_host
from latechunk_integrations.core.pooling import Bags

# Requests under way, of which the ranges are kept until their token embeddings are there.
_MOST_WAITING = 4_096
# Chunks overlap and nest; beyond this many times the tokens a request is refused.
_MOST_OVERLAP = 64


def name_processor() -> str:
    """Where vLLM finds the processor; what its entry point names."""
    return f"{__name__}.{ChunkSummer.__name__}"


class ChunkSummer:
    """Answers a window and its ranges with a sum for each chunk.

    It has the methods of vLLM's ``IOProcessor`` and does not derive from it, so that this module
    can be imported where there is no vLLM.

    Args:
        vllm_config: vLLM's own.
        renderer: vLLM's own.
    """

    def __init__(self, vllm_config: Any, renderer: Any) -> None:
        del vllm_config, renderer
        self._waiting: OrderedDict[str | None, tuple[str, int, Bags]] = OrderedDict()

    def merge_pooling_params(self, params: Any = None) -> Any:
        """Token embeddings as the model gives them, not of unit length."""
        from vllm.pooling_params import PoolingParams  # noqa: PLC0415  # in vLLM's process only

        del params
        return PoolingParams(task="token_embed", use_activation=False)

    def parse_data(self, data: Any) -> tuple[list[int], str, Bags]:
        """Token ids, the request's key, and what is pooled.

        Raises:
            ValueError: A range reaches outside the window, or there are too many.
        """
        ids = [int(one) for one in data["ids"]]
        return ids, str(data["key"]), read_bags(data, len(ids))

    def pre_process(
        self, prompt: tuple[list[int], str, Bags], request_id: str | None = None, **others: Any
    ) -> dict[str, list[int]]:
        """The window as vLLM's prompt; its ranges wait for the token embeddings."""
        del others
        ids, key, bags = prompt
        self._waiting[request_id] = key, len(ids), bags
        if len(self._waiting) > _MOST_WAITING:  # what failed on its way is never asked for
            self._waiting.popitem(last=False)
        return {"prompt_token_ids": ids}

    def post_process(
        self, model_output: Sequence[Any], request_id: str | None = None, **others: Any
    ) -> dict[str, Any]:
        """The answer: key, tokens that were read, sums as base64 of little-endian float32.

        Raises:
            ValueError: The model gave another number of token embeddings.
        """
        del others
        key, n_tokens, bags = self._waiting.pop(request_id)
        (one,) = model_output
        rows: NDArray[np.float32] = one.outputs.data.float().cpu().numpy()
        if len(rows) != n_tokens:
            raise ValueError(f"{len(rows)} token embeddings of {n_tokens} tokens")
        sums = sum_on_host(rows[None], bags, np.zeros(len(bags), np.int64))
        content = base64.b64encode(sums.astype("<f4").tobytes()).decode()
        return {"key": key, "n_tokens": len(rows), "sums": content}


def write_bags(bags: Bags) -> dict[str, Any]:
    """What is pooled in one window, as JSON; positions count from the window's first token."""
    written: dict[str, Any] = {"starts": bags.starts.tolist(), "lengths": bags.lengths.tolist()}
    if bags.weighted:
        written |= {"weights": bags.weights.tolist(), "steps": bags.steps.tolist()}
    return written


def read_bags(data: Any, n_tokens: int) -> Bags:
    """What `write_bags` wrote, for a window of so many tokens.

    Raises:
        ValueError: A range reaches outside the window, or there are too many.
    """
    lengths = np.array(data["lengths"], np.int64)
    starts = np.array(data["starts"], np.int64)
    if lengths.ndim != 2 or lengths.shape != starts.shape:  # noqa: PLR2004  # bags and ranges
        raise ValueError("starts and lengths must be lists of ranges, one for each chunk")
    most = _MOST_OVERLAP * max(n_tokens, 1)
    used = lengths > 0
    # Ends by comparison, not by a sum that may run over.
    outside = (starts < 0) | (starts > n_tokens) | (lengths > n_tokens - starts)
    if (lengths < 0).any() or outside[used].any() or not used.any(axis=1).all():
        raise ValueError(f"a range reaches outside the window of {n_tokens} tokens, or is empty")
    if lengths.size > most or lengths.sum() > most:
        raise ValueError(f"more than {_MOST_OVERLAP} times the window's tokens are pooled")
    of_bags = np.arange(len(lengths), dtype=np.int64)
    weights = np.array(data.get("weights", np.ones(lengths.shape)), np.float32)
    steps = np.array(data.get("steps", np.zeros(len(lengths))), np.int64)
    if weights.shape != lengths.shape or steps.shape != of_bags.shape:
        raise ValueError("weights must be given for each range, and steps for each chunk")
    return Bags(of_bags, np.zeros_like(of_bags), starts, lengths, weights, steps)
