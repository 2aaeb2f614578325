"""Servers that run for real, started once each; without their environments all is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from latechunk_integrations import LateChunkEngine
from tests.real_servers.models import CAUSAL_WINDOW, convert_to_gguf, load_here, save_causal_model
from tests.real_servers.places import LLAMA, VLLM
from tests.real_servers.process import free_port, serving

MINILM_CONTEXT = 512

LlamaServer = Callable[..., AbstractContextManager[str]]


def _needs(folder: Path) -> None:
    if not (folder / ".installed").exists():
        pytest.skip(f"{folder.name} is not installed: `make test-servers` does that")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where servers write what they print."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def causal_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny causal model."""
    return save_causal_model(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="session")
def causal_here(causal_path: Path) -> LateChunkEngine:
    """An engine over it on this machine."""
    return load_here(causal_path)


@pytest.fixture(scope="session")
def minilm_here(minilm_path: Path) -> LateChunkEngine:
    """An engine over MiniLM on this machine."""
    return load_here(minilm_path)


def _serve_vllm(model: Path, log: Path, *options: str) -> AbstractContextManager[str]:
    port = free_port()
    command = [str(VLLM / "bin" / "vllm"), "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--runner", "pooling"]
    command += ["--dtype", "float32", "--pooler-config.task", "token_embed"]
    command += ["--enforce-eager", *options]  # without compiling, which takes minutes
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    return serving(command, log, port, environment)


@pytest.fixture(scope="session")
def vllm_minilm(minilm_path: Path, logs: Path) -> Iterator[str]:
    """MiniLM behind vLLM, with our plugin."""
    _needs(VLLM)
    plugin = ["--io-processor-plugin", "latechunk"]
    with _serve_vllm(minilm_path, logs / "vllm_minilm", *plugin) as url:
        yield url


@pytest.fixture(scope="session")
def vllm_causal(causal_path: Path, logs: Path) -> Iterator[str]:
    """The causal model behind vLLM, with prefix caching, and prompts computed 64 tokens a step."""
    _needs(VLLM)
    length = ["--max-model-len", str(CAUSAL_WINDOW), "--max-num-batched-tokens", "64"]
    features = ["--enable-prefix-caching", "--enable-chunked-prefill"]
    with _serve_vllm(causal_path, logs / "vllm_causal", *length, *features) as url:
        yield url


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory, minilm_path: Path, causal_path: Path) -> Path:
    """A folder with `minilm-f32.gguf`, `minilm-q8_0.gguf` and `causal-f32.gguf`."""
    _needs(LLAMA)
    folder = tmp_path_factory.mktemp("gguf")
    convert_to_gguf(minilm_path, folder / "minilm-f32.gguf", "f32")
    convert_to_gguf(minilm_path, folder / "minilm-q8_0.gguf", "q8_0")
    convert_to_gguf(causal_path, folder / "causal-f32.gguf", "f32", gpt2=True)
    return folder


@pytest.fixture(scope="session")
def serve_llama(gguf: Path, logs: Path) -> LlamaServer:
    """Starts llama.cpp's server over one of the files, with options of `llama_server.py`."""

    def serve(name: str, **options: int | str) -> AbstractContextManager[str]:
        port = free_port()
        script = str(Path(__file__).with_name("llama_server.py"))
        command = [str(LLAMA / "bin" / "python"), script, str(gguf / name), "--port", str(port)]
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        return serving(command, logs / f"{name}-{port}", port, {})

    return serve


@pytest.fixture(scope="session")
def llama_servers(serve_llama: LlamaServer) -> Iterator[Callable[..., str]]:
    """The address of a server with these options, which stays for the whole session."""
    with ExitStack() as stack:
        started: dict[str, str] = {}

        def start(name: str, **options: int | str) -> str:
            key = f"{name} {options}"
            if key not in started:
                started[key] = stack.enter_context(serve_llama(name, **options))
            return started[key]

        yield start
