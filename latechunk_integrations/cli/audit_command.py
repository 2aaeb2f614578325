"""The command ``latechunk audit``: parses, calls, prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli import index_arguments as given

if TYPE_CHECKING:
    from latechunk_integrations.bulk.auditing import StoreAudit

_SHOWN = 20


def audit_command(
    *,
    target: Annotated[
        str,
        typer.Argument(help="The store, as --to of latechunk index, such as qdrant:FOLDER#NAME."),
    ],
    engine: Annotated[
        str | None,
        typer.Option(help="Fingerprint of your engine; without it: that of most vectors."),
    ] = None,
    json_file: given.JsonFile = None,
) -> None:
    """Say how the vectors of a store were made: late, windowed, standalone, of another engine."""
    from latechunk_integrations.bulk.auditing import audit  # noqa: PLC0415  # costs seconds

    given.check_json(json_file)
    found = audit(target, engine)
    given.show_result(found.to_dict(), _describe(found), json_file)


def _describe(found: StoreAudit) -> list[str]:
    totals = found.totals
    lines = [f"{totals.total()} vectors: {_format(totals)}"]
    by_size = sorted(found.counts.items(), key=lambda each: -each[1].total())
    lines += [f"  {name}: {_format(counts)}" for name, counts in by_size[:_SHOWN]]
    if len(by_size) > _SHOWN:
        lines.append(f"  and {len(by_size) - _SHOWN} sources more (--json lists all)")
    return lines


def _format(counts: Counter[str]) -> str:
    total = counts.total()
    shares = (f"{n / total:.1%} {name}" for name, n in counts.most_common())
    return ", ".join(shares) or "none"
