"""Runs the LlamaIndex tests with the oldest llama-index-core that pyproject.toml allows.

The old release and what it needs are installed into a layer over the environment that runs this,
so that no second torch is downloaded: ``make test-floor``. Arguments go to pytest.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LAYER = ROOT / "build" / "floor"
FRAMEWORK = "llama-index-core"


def oldest_release() -> str:
    """The lower bound that the extra ``llama-index`` declares, as an exact requirement."""
    declared = importlib.metadata.requires("latechunk_integrations") or []
    ranges = [Requirement(one) for one in declared if one.startswith(FRAMEWORK)]
    (lowest,) = {one.version for one in ranges[0].specifier if one.operator == ">="}
    return f"{FRAMEWORK}=={lowest}"


def build_layer() -> tuple[Path, Path]:
    """Install the oldest release into a layer over this environment.

    Returns:
        The layer's interpreter, and the folder that its packages are in.
    """
    subprocess.run([sys.executable, "-m", "venv", "--clear", LAYER], check=True)
    python = LAYER / "bin" / "python"
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("llama-index")
    ]
    constraints = LAYER / "constraints.txt"
    constraints.write_text("\n".join(pins), encoding="utf-8")
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*install, "-c", constraints, oldest_release()], check=True)
    site = next((LAYER / "lib").glob("python*")) / "site-packages"
    # Read after what stands in the folder itself.
    below = sysconfig.get_paths()["purelib"]
    (site / "zz_below.pth").write_text(f"{below}\n", encoding="utf-8")
    return python, site


def main() -> None:
    """Ends with pytest's status."""
    python, site = build_layer()
    print(oldest_release(), flush=True)
    # What old releases warn about is theirs.
    arguments = ["-m", "pytest", "-W", "default", "tests/llama_index", *sys.argv[1:]]
    # Old releases ship NLTK's data and download them nevertheless, unless this names the place.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NLTK_DATA": str(site / "llama_index" / "core")}
    sys.exit(subprocess.run([python, *arguments], cwd=ROOT, env=env, check=False).returncode)


if __name__ == "__main__":
    main()
