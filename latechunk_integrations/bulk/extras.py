"""Optional packages, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from latechunk_integrations.errors import MissingExtraError

__all__ = ["needed"]


def needed(module: str, *, extra: str) -> Any:
    """Import a module that an extra brings.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module, extra=extra) from error
