"""Options that are a metadata key or a function, in the keys of caches."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeAlias

__all__ = ["Choice", "describe_choice", "is_described_function"]

Choice: TypeAlias = str | Callable[..., Any]

_FUNCTION = "function "
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_choice(choice: Choice | None) -> str | None:
    """The key itself, or the name and a hash of what the function does.

    Equal for the same function in another process; another one if its code, its defaults or what
    it has from around it differ.
    """
    if choice is None or isinstance(choice, str):
        return choice
    name = getattr(choice, "__qualname__", type(choice).__qualname__)
    content = hashlib.sha256(_content(choice).encode()).hexdigest()[:16]
    return f"{_FUNCTION}{choice.__module__}.{name} {content}"


def is_described_function(described: object) -> bool:
    """Whether this is what `describe_choice` made of a function."""
    return isinstance(described, str) and described.startswith(_FUNCTION)


def _content(value: object) -> str:
    """What a function, or a value that it uses, consists of; the same in every process."""
    if isinstance(value, functools.partial):
        return _content((value.func, value.args, sorted(value.keywords.items())))
    if isinstance(value, CodeType):  # its repr has an address
        return _content((value.co_code, value.co_names, value.co_consts))
    if isinstance(value, tuple | list):
        return f"({','.join(map(_content, value))})"
    if isinstance(value, set | frozenset):  # their order changes from process to process
        return f"{{{','.join(sorted(map(_content, value)))}}}"
    code = getattr(value, "__code__", None)
    if code is None:
        state = vars(value) if callable(value) and hasattr(value, "__dict__") else value
        return _ADDRESS.sub("", repr(state))
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    return _content((code, cells, getattr(value, "__defaults__", None)))
