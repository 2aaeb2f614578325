"""`check_encoder`: whether an encoder does what the engine relies on."""

from __future__ import annotations

from typing import Any

from latechunk_integrations.encoders.base import ChunkEncoder, QueryEncoder, check_encoder_members
from latechunk_integrations.errors import OptionError
from latechunk_integrations.testing.plain_checks import check_plain_texts
from latechunk_integrations.testing.rules import Checker, ConformanceError
from latechunk_integrations.testing.service_checks import check_service
from latechunk_integrations.testing.token_checks import check_forward, check_tokens

# Of two forward passes that differ in their padding only.
_TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "float16": 3e-2, "bfloat16": 6e-2}
_UNKNOWN_DTYPE = 1e-3


def check_encoder(encoder: Any, *, tolerance: float | None = None) -> None:
    """Check an encoder against every rule that can be seen from outside; seconds, no training.

    Args:
        encoder: A `TokenEncoder`, with a `QueryEncoder`'s members or without, or a
            `ChunkEncoder`. Of a service, it costs some twenty requests of a few words.
        tolerance: Largest difference of vectors that are to be the same, relative to their
            length; None: by the encoder's ``dtype``.

    Raises:
        ConformanceError: It breaks a rule; the message names the rule and what was found.
    """
    name = type(encoder).__name__
    try:
        checked = check_encoder_members(encoder, name)
    except OptionError as error:
        raise ConformanceError(str(error), "members") from error
    dtype = checked.dtype or ""
    check = Checker(name, tolerance or _TOLERANCES.get(dtype, _UNKNOWN_DTYPE))
    for member, kind in (("fingerprint", str), ("dimensions", int)):
        value = getattr(checked, member)
        check.require(
            holds=isinstance(value, kind) and bool(value),
            rule="members",
            found=f"{member} is {value!r}",
        )
    if isinstance(checked, ChunkEncoder):
        check_service(check, checked)
    else:
        check_tokens(check, checked)
        check_forward(check, checked)
        if isinstance(checked, QueryEncoder):
            check_plain_texts(check, checked)
    checked.close()
