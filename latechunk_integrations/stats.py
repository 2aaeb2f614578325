"""Counts of what an engine did, and the log lines of what it could not do as asked."""

from __future__ import annotations

import logging
import threading
from collections import Counter

logger = logging.getLogger(__name__)


class EngineStats:
    """Thread-safe counters by name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[EngineStats], tuple[()]]:
        """A copy counts anew: what the original did was not done by it."""
        return type(self), ()

    def count(self, what: str, n: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[what] += n

    def report(self, what: str, message: str, n: int = 1) -> None:
        """Count something that was not done as asked, and log it.

        The first of a kind is a warning, the others are information: a corpus can hold
        thousands of them.
        """
        with self._lock:
            level = logging.INFO if self._counts[what] else logging.WARNING
            self._counts[what] += n
        logger.log(level, "%s (counted in stats[%r])", message, what)

    def to_dict(self) -> dict[str, int]:
        """The counts so far."""
        with self._lock:
            return dict(self._counts)
