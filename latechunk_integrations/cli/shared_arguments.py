"""Flags that several commands take alike: the fields of a class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

P = ParamSpec("P")
T = TypeVar("T")


def takes_shared_arguments(command: Callable[Concatenate[T, P], None]) -> Callable[..., None]:
    """Give a command the fields of its first parameter's class as flags."""
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    kind: Any = first.annotation
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        first.replace(name=each.name, default=each.default, annotation=hints[each.name])
        for each in inspect.signature(kind).parameters.values()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        common = {each.name: given.pop(each.name) for each in fields(kind)}
        command(kind(**common), **given)  # type: ignore[call-arg]  # of P: typer has checked them

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*shared, *own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
