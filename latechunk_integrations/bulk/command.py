"""What the command line gives, as the values of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.run import IndexSummary
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions

__all__ = ["describe", "exit_code", "parse_options", "parse_pairs"]


def parse_options(config: Path | None, model: str | None, pairs: Sequence[str]) -> LateChunkOptions:
    """Options of a file, overridden by the model and the pairs ``name=value``.

    Raises:
        OptionError: A pair or an option is wrong, or no model is named.
    """
    given: dict[str, Any] = {}
    if config is not None:
        read = LateChunkOptions.from_config(config)
        given = {**read.to_dict(), "api_key": read.api_key}
    if model is not None:
        given["model"] = model
    return LateChunkOptions.from_mapping({**given, **parse_pairs(pairs, "--option")})


def parse_pairs(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """``name=value`` pairs; a value is read as YAML reads it.

    Raises:
        OptionError: A pair is none.
    """
    import yaml  # noqa: PLC0415  # as in options.py

    read = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise OptionError(f"{flag} wants name=value, not {pair!r}")
        try:
            read[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise OptionError(f"the value of {flag} {pair!r} cannot be read") from error
    return read


def describe(summary: IndexSummary) -> str:
    """A run in a few lines."""
    written = f"{summary.n_documents} documents, {summary.n_chunks} chunks written"
    lines = [f"{written} in {summary.seconds:.1f} s; {summary.n_unchanged} documents unchanged"]
    if summary.n_skipped:
        lines.append(f"{summary.n_skipped} of them skipped, too long for a window")
    if summary.n_removed:
        lines.append(f"{summary.n_removed} documents removed")
    if summary.n_failed:
        lines.append(f"{summary.n_failed} documents failed, see {summary.dead_letters}")
    return "\n".join(lines)


def exit_code(summary: IndexSummary) -> int:
    """0; 1 when documents have failed."""
    return 1 if summary.n_failed else 0
