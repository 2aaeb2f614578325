"""What the package costs who does not run a model here: nothing of torch, and little time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent
from tests.fakes.llama_cpp import LlamaCppServer
from tests.fakes.tei import TeiServer
from tests.fakes.vllm import VllmServer

pytestmark = pytest.mark.slow  # each imports the package in a new process

HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pandas")
SERVERS = {"tei": TeiServer, "vllm": VllmServer, "llama.cpp": LlamaCppServer}
TEXT = "Berlin is a city. The supplier delivers every part within thirty days. " * 4
SPANS = [(0, 17), (18, 70), (71, 200)]

# As if they were not installed.
_BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""


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
        "from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent, Span",
        "import latechunk_integrations.testing",
        "import latechunk_integrations.encoders.servers.vllm",
        "import latechunk_integrations.encoders.servers.tei",
        "import latechunk_integrations.encoders.servers.llama_cpp",
        "import latechunk_integrations.encoders.services.jina_api",
        "import latechunk_integrations.encoders.services.nomic_queries",
        "import latechunk_integrations.encoders.model.published",
    ],
)
def test_what_runs_no_model_loads_nothing_heavy(code: str) -> None:
    loaded = _run(f"import sys\n{code}\nprint([n for n in {HEAVY!r} if n in sys.modules])").stdout
    assert loaded.strip() == "[]"


def test_a_local_model_without_its_libraries_names_the_extra() -> None:
    code = """
from latechunk_integrations import LateChunkEngine
try:
    LateChunkEngine.from_pretrained("some/model")
except ImportError as error:
    print(type(error).__name__, error)
"""
    said = _run(_BLOCK + code).stdout
    assert said.startswith("MissingExtraError torch is not installed")
    assert "[local]" in said


@pytest.mark.rule(4)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_is_used_without_torch(kind: str, tiny_model_path: Path) -> None:
    # What every server can do.
    options = {"context_weight": 0.5, "layout": "text", "focus": 0}
    parent = Parent(TEXT, SPANS, "Title")
    local = LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", **options
    )
    with SERVERS[kind](tiny_model_path) as server:
        code = f"""
import json
from latechunk_integrations import LateChunkEngine, Parent
engine = LateChunkEngine.from_pretrained(
    {str(tiny_model_path)!r}, encoder={kind!r}, base_url={server.url!r}, **{options!r}
)
(result,) = engine.embed([Parent({TEXT!r}, {SPANS!r}, "Title")])
print(json.dumps([result.vectors.tolist(), engine.embed_query("where").tolist()]))
engine.close()
"""
        vectors, query = json.loads(_run(_BLOCK + code).stdout)
    np.testing.assert_allclose(query, local.embed_query("where"), atol=1e-5)
    if kind != "tei":  # its windows begin at other places
        np.testing.assert_allclose(vectors, local.embed([parent])[0].vectors, atol=1e-5)
    assert np.shape(vectors) == (len(SPANS), local.dimensions)
