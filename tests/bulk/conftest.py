"""One small Ray for all tests that need it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """Ray with two cores on this machine, without dashboard."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's workers step back for every other process: beside other tests they never get a turn.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray reads it as it is
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own start is not what is tested
        import ray

        ray.init(
            address="local",
            num_cpus=3,
            object_store_memory=100 << 20,
            include_dashboard=False,
            log_to_driver=False,
        )
    yield
    ray.shutdown()
