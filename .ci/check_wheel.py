"""Checks an installed wheel without extras; run by ``make build`` in a fresh environment."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

NAME = "latechunk_integrations"
EXTRAS = {"llama_index": "llama-index", "langchain": "langchain"}


def without_extra(module: str, extra: str) -> None:
    """Ends unless importing the module fails and names the extra."""
    try:
        importlib.import_module(f"{NAME}.{module}")
    except ImportError as error:
        if f"[{extra}]" not in str(error):
            sys.exit(f"importing {module} without its extra does not name the extra: {error}")
    else:
        sys.exit(f"{module} could be imported without its extra")


def main() -> None:
    """Ends with a message and a non-zero status at the first thing that is wrong."""
    files = [str(file) for file in importlib.metadata.files(NAME) or ()]
    strangers = [file for file in files if not file.startswith((f"{NAME}/", f"{NAME}-"))]
    if strangers:
        sys.exit(f"the wheel holds more than the package: {strangers}")
    if f"{NAME}/py.typed" not in files:
        sys.exit("the wheel lacks py.typed")
    package = importlib.import_module(NAME)
    for module, extra in EXTRAS.items():
        without_extra(module, extra)
    print(f"{NAME} {package.__version__}: the wheel imports without extras")


if __name__ == "__main__":
    main()
