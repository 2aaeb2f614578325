"""Values that a notebook shows as the terminal does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, ClassVar

from rich.console import Console

_COLUMNS = 120


class NotebookView:
    """A value with a printer, whose module is above its own and names it with `print_with`."""

    printer: ClassVar[Callable[[Any, Console], None]]

    @classmethod
    def print_with(cls, printer: Callable[[Any, Console], None]) -> None:
        """Say what prints such a value on a console."""
        cls.printer = staticmethod(printer)

    def _repr_html_(self) -> str:
        """What is printed, as HTML; every text is escaped."""
        console = Console(record=True, file=io.StringIO(), width=_COLUMNS)
        type(self).printer(self, console)
        frame = '<pre style="line-height: 1.3; overflow-x: auto">{code}</pre>'
        return console.export_html(inline_styles=True, code_format=frame)
