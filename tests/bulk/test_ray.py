"""The same rows from Ray: in the command's pool, in a Dataset, and with workers that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.bulk import embed_dataset, index, write_chunks
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.ray_pool import RayPool, workers_that_fit
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.errors import (
    InputTypeError,
    MissingExtraError,
    ModelLoadError,
    OptionError,
)
from tests.bulk import support
from tests.evaluation.word_encoder import WordEncoder

pytestmark = [pytest.mark.store, pytest.mark.slow]

POISON = "zyzzyva"


class FailingEncoder(WordEncoder):
    """Fails in the forward pass over every text that holds ``POISON``."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> FailingEncoder:
        return cls()

    def forward(self, batch: TokenBatch) -> NDArray[np.float32]:
        (poison,) = self.tokenize([POISON], "")[0].ids.tolist()
        if poison in batch.ids:
            raise RuntimeError("bad kernel")
        return self.embed_tokens(batch)


class AbsentEncoder(WordEncoder):
    """Nothing to load."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> AbsentEncoder:
        raise ModelLoadError(f"cannot load the model {options.model}")


# Workers without torch start in a second; a dataset below has a model's vectors.
WORDS = LateChunkOptions(model="words", encoder=f"{__name__}:FailingEncoder")


def _values(outcome: DocumentRows | Failure) -> object:
    if isinstance(outcome, Failure):
        return outcome
    rows = [{**row, "vector": row["vector"].tobytes()} for row in outcome.rows()]
    return outcome.document_id, outcome.version, rows


@pytest.fixture
def milvus_server(tmp_path: Path) -> Iterator[str]:
    """Milvus Lite behind a port, as a server is."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path / "milvus"), "127.0.0.1", 0)
    yield f"milvus:http://127.0.0.1:{port}#chunks"
    server.stop(grace=0)
    database.close()


@pytest.mark.usefixtures("ray_here")
def test_a_worker_that_is_killed_loses_and_doubles_nothing() -> None:
    """A worker dies while the batches come in; the outcomes are those of this process."""
    corpus = [*support.documents(20), CorpusDocument("blank", " ")]
    chunking = Chunking(support.SPLITTER)
    pool = RayPool(WORDS, chunking, concurrency=2)

    def batches() -> Iterator[list[CorpusDocument]]:
        for start in range(0, len(corpus), 2):
            if start == 8:  # batches are waiting at both workers by now
                os.kill(pool.process_ids[0], signal.SIGKILL)
            yield corpus[start : start + 2]

    try:
        found = [_values(outcome) for batch in pool.run(batches()) for outcome in batch]
    finally:
        pool.close()
    embedder = DocumentEmbedder(LateChunkEngine.from_options(WORDS), chunking)
    assert pool.key == embedder.key
    assert sorted(map(repr, found)) == sorted(repr(_values(e)) for e in embedder.embed(corpus))


@pytest.mark.usefixtures("ray_here")
def test_a_forward_pass_that_fails_costs_its_document_on_ray_too(tmp_path: Path) -> None:
    corpus = [support.document(number, f"Text {number}.") for number in range(6)]
    corpus.insert(4, CorpusDocument("poison", POISON))
    target, given = support.target("jsonl", tmp_path), support.settings(ray=True, concurrency=2)
    summary = index(corpus, target, WORDS, tmp_path / "checkpoint", given)
    assert (summary.n_documents, summary.n_failed, summary.n_retried) == (6, 1, 1)
    held = {row["document_id"] for row in support.read("jsonl", tmp_path).values()}
    assert held == {each.id for each in corpus} - {"poison"}


class UnlikeAnywhereElse:
    """A splitter with another setting in each process, as dtype="auto" is on other machines."""

    def __init__(self) -> None:
        self.process_id = os.getpid()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return UnlikeAnywhereElse, ()

    def split_text(self, text: str) -> list[str]:
        return [text]


@pytest.mark.usefixtures("ray_here")
def test_workers_that_would_give_other_vectors_are_refused() -> None:
    with pytest.raises(OptionError, match="Name the dtype"):
        RayPool(WORDS, Chunking(UnlikeAnywhereElse()), concurrency=2)


@pytest.mark.usefixtures("ray_here")
def test_a_worker_started_anew_that_would_give_other_vectors_is_refused() -> None:
    pool = RayPool(WORDS, Chunking(UnlikeAnywhereElse()))
    try:
        assert len([*pool.run([support.documents(1)])]) == 1
        os.kill(pool.process_ids[0], signal.SIGKILL)
        with pytest.raises(OptionError, match="Name the dtype"):
            list(pool.run([support.documents(1)]))
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("n_gpus", "num_gpus", "n_workers"),
    [(0, 1, 0), (2, 1, 2), (3, 2, 1), (1, 0.25, 4), (2, 0.6, 2), (1, 0.1, 10), (0, 0.5, 0)],
)
def test_a_worker_has_its_part_of_one_gpu_or_whole_ones(
    n_gpus: float, num_gpus: float, n_workers: int
) -> None:
    assert workers_that_fit(n_gpus, num_gpus) == n_workers


def test_more_gpus_than_this_machine_has_are_refused_not_waited_for(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    """In a process of its own: here Ray is running already."""
    (tmp_path / "a.txt").write_text("A text.", encoding="utf-8")
    command = [sys.executable, "-c", "from latechunk_integrations.cli import app; app()"]
    command += ["index", str(tmp_path / "a.txt"), "--to", str(tmp_path / "rows.jsonl")]
    command += ["--checkpoint", str(tmp_path / "c"), "--model", str(tiny_model_path)]
    command += ["--ray", "--num-gpus", "1000", "--quiet"]
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    finished = subprocess.run(
        command, env=alone, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 2
    assert "do not fit on this machine" in " ".join(finished.stderr.split())


@pytest.mark.filterwarnings("ignore:`use_.* is deprecated:DeprecationWarning")  # Ray's own
@pytest.mark.usefixtures("ray_here")
def test_a_dataset_gives_the_rows_of_the_single_process_bit_for_bit(
    tmp_path: Path, tiny_model_path: Path, milvus_server: str
) -> None:
    import ray.data

    corpus = support.documents(11)
    options = support.options(tiny_model_path)
    index(corpus, str(tmp_path / "rows.parquet"), options, tmp_path / "kept", support.settings())
    single = support.read("parquet", tmp_path)
    records = [{"key": d.id, "body": d.text, "title": d.header} for d in corpus]
    records.append({"key": "blank", "body": " ", "title": ""})
    dataset = embed_dataset(
        ray.data.from_items(records, override_num_blocks=3),
        options,
        text_column="body",
        id_column="key",
        header_column="title",
        splitter=support.SPLITTER,
        batch_documents=2,
        dead_letters=tmp_path / "letters",
    ).materialize()
    many = tmp_path / "many"
    dataset.write_parquet(str(many / "rows.parquet"))
    assert support.read("parquet", many) == single
    (letters,) = (tmp_path / "letters").iterdir()
    assert json.loads(letters.read_bytes())["id"] == "blank"
    for _ in range(2):  # writing again changes nothing
        write_chunks(dataset, milvus_server, concurrency=1)
    write_chunks(dataset, support.target("qdrant", many), concurrency=1)
    assert support.read("qdrant", many) == single
    assert support.read_milvus(milvus_server.partition(":")[2].partition("#")[0]) == single


@pytest.mark.usefixtures("ray_here")
def test_a_model_that_cannot_be_loaded_is_the_error_it_is() -> None:
    options = LateChunkOptions(model="words", encoder=f"{__name__}:AbsentEncoder")
    with pytest.raises(ModelLoadError, match="cannot load the model") as raised:
        RayPool(options, Chunking(support.SPLITTER))
    assert type(raised.value) is ModelLoadError  # Ray raises a subclass that quotes a traceback


def test_what_is_no_dataset_is_refused(tiny_model_path: Path) -> None:
    with pytest.raises(InputTypeError, match="from_items"):
        embed_dataset([{"id": 1, "text": "x"}], support.options(tiny_model_path))  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("target", ["rows.parquet", "qdrant:folder#c", "milvus:file.db#c"])
def test_targets_that_tasks_cannot_share_are_refused(target: str) -> None:
    with pytest.raises(OptionError):
        write_chunks(None, target)  # type: ignore[arg-type]  # refused before it is looked at


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tiny_model_path: Path, tmp_path: Path
) -> None:
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    options = support.options(tiny_model_path)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        index([], "x.parquet", options, tmp_path, support.settings(ray=True))
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        embed_dataset(None, options)  # type: ignore[arg-type]  # Ray is missed first


def test_workers_within_rays_workers_are_refused() -> None:
    options = LateChunkOptions(model="m", processes=2)
    with pytest.raises(OptionError, match="Ray has workers of its own"):
        RayPool(options, Chunking())
