"""Texts of documents without what a terminal would act on."""

from __future__ import annotations

import re

# C0 without tab and line end, DEL, C1, and what turns the direction of writing around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    r"""The text with each control character written out, such as ``\x1b``.

    Example:
        >>> print(escape_controls("red \x1b[31m"))
        red \x1b[31m
    """
    return _CONTROLS.sub(lambda found: _write(found[0]), text)


def _write(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
