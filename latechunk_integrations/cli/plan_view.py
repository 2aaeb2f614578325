"""What ``latechunk index --plan`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from latechunk_integrations.cli import index_arguments as given
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.core.printable import escape_controls

if TYPE_CHECKING:
    from latechunk_integrations.bulk.planning import IndexPlan

_SHOWN = 20


def show_plan(plan: IndexPlan, json_file: Path | None) -> ExitCode:
    """Print a plan, or write it as JSON; returns the exit code that the run would have."""
    given.show_result(plan.to_dict(), _describe(plan), json_file)
    if plan.removal_refused:
        return ExitCode.REMOVAL_REFUSED
    return ExitCode.FOUND if plan.untold or plan.failing else ExitCode.DONE


def _describe(plan: IndexPlan) -> str:
    groups = {
        "would be added": plan.added,
        "would be replaced": plan.replaced,
        "would be removed": plan.removed,
        "gone from the source, would stay": plan.kept,
        "cannot be read": plan.untold,
        "would be dead letters": plan.failing,
    }
    lines = [f"{plan.n_unchanged} unchanged"]
    for title, documents in groups.items():
        lines += _list(title, documents)
    if plan.left_out:
        lines.append(f"{len(plan.left_out)} files and folders left out")
    if plan.removal_refused:
        lines.append(f"removal would be refused: {plan.removal_refused}")
    return "\n".join(escape_controls(line) for line in lines)


def _list(title: str, documents: Mapping[str, str]) -> list[str]:
    if not documents:
        return []
    shown = [f"  {name}: {why}" for name, why in list(documents.items())[:_SHOWN]]
    more = len(documents) - _SHOWN
    return [f"{len(documents)} {title}", *shown, *([f"  and {more} more"] if more > 0 else [])]
