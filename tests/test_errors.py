"""The error tree."""

from __future__ import annotations

import inspect
import re

from latechunk_integrations import errors


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


def test_a_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtraError("llama_index.core", extra="llama-index")
    assert "pip install 'latechunk-integrations[llama-index]'" in str(error)
    assert isinstance(error, ImportError)
