"""Which encoder an option names; each is imported when it is asked for."""

from __future__ import annotations

from latechunk_integrations.encoders.base import ChunkEncoder, TokenEncoder, check_encoder_members
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.plugins import ENCODERS


def load_encoder(options: LateChunkOptions) -> TokenEncoder | ChunkEncoder:
    """The encoder that the options name, ready to work.

    Raises:
        MissingExtraError: What it needs is not installed.
        ModelError: The model cannot be loaded, or cannot be late-chunked.
        OptionError: There is no encoder of that name, or it lacks a part of one.
        ServerError: The server does not answer, or not as documented.
    """
    load = getattr(ENCODERS.find(options.encoder), "load", None)
    if not callable(load):
        raise OptionError(
            f"encoder={options.encoder!r} has no load(options), which builds an encoder from "
            "LateChunkOptions"
        )
    return check_encoder_members(load(options), f"encoder={options.encoder!r}")
