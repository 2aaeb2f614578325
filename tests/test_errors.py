"""The error tree."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import pytest

from latechunk_integrations import errors

_KINDS = [name for name in errors.__all__ if name.endswith("Error")]
_VALUES: dict[str, Any] = {
    "parent_id": "doc",
    "span": (1, 2),
    "max_tokens": 8,
    "special_tokens": 2,
    "prompt_tokens": 9,
    "extra": "ray",
    "request_id": "17",
    "row": 3,
    "retry_after_seconds": 0.5,
    "expected": "0a",
    "found": "1b",
}


def test_the_docstring_draws_the_whole_tree() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.LateChunkError)
    }
    drawn = set(re.findall(r"\w+Error(?= |\n|$)", errors.__doc__ or "")) - {
        "ValueError",
        "TypeError",
        "ImportError",
    }
    assert drawn == classes == {name for name in errors.__all__ if name.endswith("Error")}


def test_errors_carry_where_it_happened() -> None:
    error = errors.SpanError("wrong", parent_id="doc", span=(1, 2))
    assert (error.parent_id, error.span) == ("doc", (1, 2))
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("name", _KINDS)
def test_every_error_comes_out_of_another_process_as_it_was(name: str) -> None:
    kind = getattr(errors, name)
    keywords = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    error = kind("wrong", **{keyword: _VALUES[keyword] for keyword in keywords})
    error.found = "later"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))
    assert getattr(copy, "msg", None) == getattr(error, "msg", None)  # an ImportError's own


def test_a_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtraError("llama_index.core", extra="llama-index")
    assert "pip install 'latechunk-integrations[llama-index]'" in str(error)
    assert isinstance(error, ImportError)
