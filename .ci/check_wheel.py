"""Checks an installed wheel without extras; run by ``make build`` in a fresh environment."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

NAME = "latechunk_integrations"
NAMESPACE_MODULES = (
    "llama_index/embeddings/latechunk/__init__.py",
    "llama_index/node_parser/latechunk/__init__.py",
)
# What each part that needs an extra names when it is missing.
EXTRAS = {
    "llama_index": "llama-index",
    "langchain": "langchain",
    "encoders.local": "local",
    "encoders.http.client": "servers",
}
HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "sklearn",
    "llama_index.core",
    "langchain",
)
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


def check_local(package: ModuleType) -> None:
    """Ends unless loading a model of this machine names the extra that it needs."""
    try:
        package.LateChunkEngine.from_pretrained("some/model")
    except ImportError as error:
        if "[local]" not in str(error):
            sys.exit(f"a local model without its extra does not name it: {error}")
    else:
        sys.exit("a local model loads without its extra")


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
    # Installing it, pip makes the command beside the interpreter, and compiled modules.
    files = [file for file in files if Path(file).stem != "latechunk" and "__pycache__" not in file]
    ours = (f"{NAME}/", f"{NAME}-", "langchain_latechunk/")
    strangers = [file for file in files if not file.startswith(ours)]
    # LlamaIndex's namespace: these two and no __init__.py above them, which would hide the others.
    strangers = [file for file in strangers if file not in NAMESPACE_MODULES]
    if strangers:
        sys.exit(f"the wheel holds more than the package: {strangers}")
    package_files = [f"{NAME}/{one}" for one in ("py.typed", "evaluation/html/report.html.j2")]
    for needed in (*package_files, *NAMESPACE_MODULES):
        if needed not in files:
            sys.exit(f"the wheel lacks {needed}")
    present = [name for name in HEAVY if importlib.util.find_spec(name) is not None]
    if present:
        sys.exit(f"the wheel without extras brings {present}")
    package = importlib.import_module(NAME)
    for name in package.__all__:
        getattr(package, name)
    check_local(package)
    for module, extra in EXTRAS.items():
        without_extra(module, extra)
    check_command()
    print(f"{NAME} {package.__version__}: the wheel imports without extras")


if __name__ == "__main__":
    main()
