"""Checks an installed wheel without extras; run by ``make build`` in a fresh environment."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

NAME = "latechunk_integrations"
EXTRAS = {"llama_index": "llama-index", "langchain": "langchain"}
COMMANDS = ("compare", "tune", "inspect", "diagnose", "index")


def without_extra(module: str, extra: str) -> None:
    """Ends unless importing the module fails and names the extra."""
    try:
        importlib.import_module(f"{NAME}.{module}")
    except ImportError as error:
        if f"[{extra}]" not in str(error):
            sys.exit(f"importing {module} without its extra does not name the extra: {error}")
    else:
        sys.exit(f"{module} could be imported without its extra")


def check_command() -> None:
    """Ends unless the installed command lists what it can do."""
    command = Path(sys.executable).with_name("latechunk")
    shown = subprocess.run([command, "--help"], check=True, capture_output=True, text=True).stdout
    lacking = [name for name in COMMANDS if name not in shown]
    if lacking:
        sys.exit(f"latechunk --help does not list {lacking}")


def main() -> None:
    """Ends with a message and a non-zero status at the first thing that is wrong."""
    files = [str(file) for file in importlib.metadata.files(NAME) or ()]
    # pip makes the command when it installs the wheel, beside the interpreter.
    files = [file for file in files if Path(file).stem != "latechunk"]
    strangers = [file for file in files if not file.startswith((f"{NAME}/", f"{NAME}-"))]
    if strangers:
        sys.exit(f"the wheel holds more than the package: {strangers}")
    for needed in ("py.typed", "evaluation/html/report.html.j2"):
        if f"{NAME}/{needed}" not in files:
            sys.exit(f"the wheel lacks {needed}")
    package = importlib.import_module(NAME)
    for module, extra in EXTRAS.items():
        without_extra(module, extra)
    check_command()
    print(f"{NAME} {package.__version__}: the wheel imports without extras")


if __name__ == "__main__":
    main()
