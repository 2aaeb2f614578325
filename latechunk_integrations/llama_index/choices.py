"""Options that are a metadata key or a function, in the keys of caches."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeAlias

Choice: TypeAlias = str | Callable[..., Any]

_FUNCTION = "function "
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# Globals that count: a client or a model changes while it works, and what it gives does not.
_PLAIN = (FunctionType, str, int, float, tuple, list, dict, set, frozenset)


def describe_choice(choice: Choice | None) -> str | None:
    """The key itself, or the name and a hash of what the function does.

    Equal for the same function in another process; another one if its code, its defaults or what
    it has from around it differ: variables, tables and functions of its module, and the object
    whose method it is.
    """
    if choice is None or isinstance(choice, str):
        return choice
    name = getattr(choice, "__qualname__", type(choice).__qualname__)
    content = hashlib.sha256(_content(choice, set()).encode()).hexdigest()[:16]
    return f"{_FUNCTION}{choice.__module__}.{name} {content}"


def is_described_function(described: object) -> bool:
    """Whether this is what `describe_choice` made of a function."""
    return isinstance(described, str) and described.startswith(_FUNCTION)


def _content(value: object, told: set[int], above: tuple[int, ...] = ()) -> str:
    """What a function, or a value that it uses, consists of; the same in every process.

    Args:
        value: The function or value.
        told: Takes the functions that were told, for each is told once.
        above: What holds the value.
    """
    if id(value) in told or id(value) in above:
        return getattr(value, "__qualname__", "...")
    if isinstance(value, FunctionType):
        told.add(id(value))
    parts = _parts(value)
    if isinstance(parts, str):
        return parts
    shown = [_content(part, told, (*above, id(value))) for part in parts]
    # The order of a set changes from process to process.
    ordered = sorted(shown) if isinstance(value, set | frozenset | dict) else shown
    return f"{type(value).__name__}({','.join(ordered)})"


def _parts(value: object) -> Iterable[object] | str:
    """What a value consists of; a str: all there is to it."""
    parts: Iterable[object] | str
    if isinstance(value, tuple | list | set | frozenset):
        parts = value
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, partial):
        parts = (value.func, value.args, value.keywords)
    elif isinstance(value, CodeType):  # its repr has an address
        parts = (value.co_code, value.co_names, value.co_consts)
    elif isinstance(value, MethodType):
        parts = (value.__func__, _state(value.__self__))
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        own = (value.__code__, cells, value.__defaults__, value.__kwdefaults__)
        parts = (*own, _globals(value))
    elif callable(value):
        parts = (getattr(value, "__wrapped__", None) or _state(value),)
    else:
        parts = _shown(value)
    return parts


def _state(value: object) -> object:
    """What an object holds; of a class, and of what has no attributes, its name says enough."""
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return _shown(value)
    # Of what it holds no more than what that shows: a model would have no end.
    return {
        name: one if isinstance(one, _PLAIN) else _shown(one) for name, one in vars(value).items()
    }


def _globals(function: FunctionType) -> dict[str, object]:
    """The functions and tables of its module that a function, or one inside of it, names."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes.extend(one for one in code.co_consts if isinstance(one, CodeType))
    own = function.__globals__
    found = {name: own[name] for name in sorted(names) if isinstance(own.get(name), _PLAIN)}
    # A function of another module is told by its name: what it uses would have no end.
    return {
        name: _shown(one) if getattr(one, "__globals__", own) is not own else one
        for name, one in found.items()
    }


def _shown(value: object) -> str:
    return _ADDRESS.sub("", repr(value))
