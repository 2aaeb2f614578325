"""Runs the LlamaIndex tests with the oldest llama-index-core that pyproject.toml allows.

The old release, and what it needs in another version than this environment has, go into a folder
that is read before this environment; nothing else is installed twice: ``make test-floor``.
Arguments go to pytest.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LAYER = ROOT / ".venv-floor"  # not in build/, which `make build` empties meanwhile
FRAMEWORK = "llama-index-core"


def oldest_release() -> str:
    """The lower bound that the extra ``llama-index`` declares, as an exact requirement."""
    declared = importlib.metadata.requires("latechunk_integrations") or []
    ranges = [Requirement(one) for one in declared if one.startswith(FRAMEWORK)]
    (lowest,) = {one.version for one in ranges[0].specifier if one.operator == ">="}
    return f"{FRAMEWORK}=={lowest}"


def install(*requirements: str) -> None:
    """Put packages into the folder, without what they need."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--target", LAYER, *requirements], check=True)


def is_here(requirement: Requirement) -> bool:
    """Whether this environment has it in the right version, where it is needed at all."""
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def build_layer() -> None:
    """The oldest release and what of its needs this environment lacks."""
    shutil.rmtree(LAYER, ignore_errors=True)
    install(oldest_release())
    (old,) = importlib.metadata.distributions(path=[str(LAYER)])
    needs = [Requirement(one) for one in old.requires or []]
    missing = [str(one) for one in needs if not is_here(one)]
    if missing:
        install(*missing)
    print(oldest_release(), *missing, flush=True)


def main() -> None:
    """Ends with pytest's status."""
    build_layer()
    # What old releases warn about is theirs.
    arguments = ["-m", "pytest", "-W", "default", "tests/llama_index", *sys.argv[1:]]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(LAYER), str(ROOT)]),
        # Old releases ship NLTK's data and download them nevertheless, unless this names the place.
        "NLTK_DATA": str(LAYER / "llama_index" / "core"),
    }
    status = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, check=False)
    sys.exit(status.returncode)


if __name__ == "__main__":
    main()
