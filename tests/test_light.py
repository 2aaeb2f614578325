"""What the package costs who does not run a model here: nothing of torch, and little time."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pandas")


def _run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", *flags, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_importing_the_package_takes_less_than_a_third_of_a_second() -> None:
    said = _run("import latechunk_integrations", "-X", "importtime").stderr
    (total,) = re.findall(r"\|\s*(\d+) \| latechunk_integrations$", said, re.MULTILINE)
    assert int(total) < 300_000  # microseconds


@pytest.mark.parametrize(
    "code",
    [
        "import latechunk_integrations",
        "from latechunk_integrations import LateChunkOptions, Parent, Span",
        "import latechunk_integrations.testing",
        "import latechunk_integrations.encoders.services.jina_api",
        "import latechunk_integrations.encoders.services.nomic_queries",
        "import latechunk_integrations.encoders.model.published",
    ],
)
def test_what_runs_no_model_loads_nothing_heavy(code: str) -> None:
    loaded = _run(f"import sys\n{code}\nprint([n for n in {HEAVY!r} if n in sys.modules])").stdout
    assert loaded.strip() == "[]"
