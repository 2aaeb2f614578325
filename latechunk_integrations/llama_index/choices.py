"""Options that are a metadata key or a function, in the keys of caches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["Choice", "describe_choice", "is_described_function"]

Choice: TypeAlias = str | Callable[..., Any]

_FUNCTION = "function "


def describe_choice(choice: Choice | None) -> str | None:
    """The key itself, or the name and a hash of the code of the function."""
    if choice is None or isinstance(choice, str):
        return choice
    name = f"{choice.__module__}.{getattr(choice, '__qualname__', type(choice))}"
    code = getattr(choice, "__code__", None)
    content = b"" if code is None else code.co_code + repr(code.co_consts).encode()
    return f"{_FUNCTION}{name} {hashlib.sha256(content).hexdigest()[:16]}"


def is_described_function(described: object) -> bool:
    """Whether this is what `describe_choice` made of a function."""
    return isinstance(described, str) and described.startswith(_FUNCTION)
