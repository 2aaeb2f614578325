"""`EngineHandle`: what an adapter holds of its engine, the same one in every copy."""

from __future__ import annotations

import copy
import threading
from typing import Any

from latechunk_integrations.engine import LateChunkEngine, rebuild_engine
from latechunk_integrations.options import LateChunkOptions


class EngineHandle:
    """An engine that is there already, or is loaded on first use.

    An adapter keeps one and hands it on in its copies. A copy (``copy.copy``, ``copy.deepcopy``)
    shares a loaded model and has counts of its own. A pickle holds the options, the fingerprint
    of a loaded engine and, where options do not name it, the encoder; the model is loaded when
    the unpickled handle is first asked for its engine. Thread-safe.

    Args:
        options: Every option of the engine.
        fingerprint: What the engine must have once it is loaded, such as a description of the
            original says; None: anything.
    """

    def __init__(self, options: LateChunkOptions, *, fingerprint: str | None = None) -> None:
        self.options = options
        self._fingerprint = fingerprint
        self._engine: LateChunkEngine | None = None
        self._own: tuple[Any, Any] = (None, None)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, engine: LateChunkEngine) -> EngineHandle:
        """The handle of an engine that is loaded."""
        handle = cls(engine.options, fingerprint=engine.fingerprint)
        handle._engine = engine
        return handle

    @property
    def engine(self) -> LateChunkEngine:
        """The engine; on first use it is loaded, with a model that the whole process shares.

        Raises:
            FingerprintMismatchError: It would give other vectors than the original.
            ModelError: The model cannot be loaded.
        """
        with self._lock:  # threads that come at once must not load it several times
            if self._engine is None:
                self._engine = rebuild_engine(self.options, self._fingerprint, *self._own)
                self._fingerprint = self._engine.rebuild_arguments()[1]
            return self._engine

    @property
    def loaded(self) -> LateChunkEngine | None:
        """The engine, if it is there already."""
        return self._engine

    @property
    def fingerprint(self) -> str | None:
        """The engine's fingerprint, if it is known without loading anything."""
        return self._fingerprint

    def __copy__(self) -> EngineHandle:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> EngineHandle:
        twin = EngineHandle(copy.copy(self.options), fingerprint=self._fingerprint)
        twin._engine = copy.copy(self._engine)
        twin._own = self._own
        return twin

    def __getstate__(self) -> tuple[object, ...]:
        """Without the model, unless it is one that options do not name.

        Raises:
            UnpicklableEncoderError: It is such a one, and cannot be pickled.
        """
        if self._engine is not None:
            return self._engine.rebuild_arguments()
        return self.options, self._fingerprint, *self._own

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Load nothing yet."""
        options, fingerprint, *own = state
        EngineHandle.__init__(self, options, fingerprint=fingerprint)
        self._own = (own[0], own[1])
