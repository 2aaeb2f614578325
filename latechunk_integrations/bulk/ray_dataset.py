"""Chunk rows of a Ray Dataset, and Ray writers to vector stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latechunk_integrations.bulk.atomic_file import replace_file
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.dead_letters import format_letter
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.ray_pool import refuse_processes
from latechunk_integrations.bulk.rows import (
    Columns,
    DocumentRows,
    Failure,
    digest,
    read_document,
    to_table,
)
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import InputError, InputTypeError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.plugins import import_extra

if TYPE_CHECKING:
    from ray.data import Dataset

# Rows of a block that are made at once, so that a block of long documents stays small.
_ROWS_AT_ONCE = 1_024


def embed_dataset(  # noqa: PLR0913  # each is a choice of its own, all with defaults
    dataset: Dataset,
    options: LateChunkOptions,
    *,
    text_column: str = "text",
    id_column: str = "id",
    header_column: str | None = None,
    splitter: Any = "recursive",
    chunk_size: int | None = None,
    splitter_arguments: dict[str, Any] | None = None,
    concurrency: int | tuple[int, int] = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    batch_documents: int = 64,
    reproducible: bool = True,
    dead_letters: str | Path | None = None,
) -> Dataset:
    """The chunks of a Ray Dataset of documents, late-chunked; lazy, as Ray's own steps are.

    Args:
        dataset: A row for each document.
        options: Of the engine, which every actor loads once.
        text_column: Column of the text.
        id_column: Column of the document's id, a string or an integer, unique in the dataset.
        header_column: Column of the header; ``None``: no header.
        splitter: ``"recursive"``, ``"module:name"``, a function, object or factory; see
            `latechunk_integrations.splitting.text_splitter`.
        chunk_size: Tokens of a chunk; ``None``: the splitter's own, 128 for ``"recursive"``.
        splitter_arguments: More arguments of the splitter.
        concurrency: Number of actors, or the least and the most of them.
        num_cpus: Cores of each actor, which are also its threads.
        num_gpus: Accelerators of each actor; may be a fraction.
        batch_documents: Documents that an actor is handed at once.
        reproducible: Embed each document by itself, so that its rows are the same bits in every
            run; ``False``: documents share forward passes, which pays on an accelerator.
        dead_letters: Folder for the ids and reasons of documents that fail; ``None``: the first
            one ends the run.

    Returns:
        A Dataset of chunk rows: ``document_id``, ``chunk_id``, ``start``, ``end`` (code points),
        ``first_page`` and ``last_page`` (0: a dataset has no pages), ``text``, ``vector``
        (float32), ``mode``, and three fingerprints. ``late_parent`` is that of text, header and
        the places of all chunks, ``late_engine`` that of model and options, ``version`` that of
        all that the row depends on.

    Raises:
        InputTypeError: ``dataset`` is no Ray Dataset.
        MissingExtraError: Ray is not installed.
    """
    data = import_extra("ray.data", extra="ray")
    if not isinstance(dataset, data.Dataset):
        raise InputTypeError(
            f"embed_dataset wants a ray.data.Dataset, not {type(dataset).__name__}; "
            "ray.data.from_items(rows) makes one"
        )
    refuse_processes(options)
    bounds = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency
    embedded: Dataset = dataset.map_batches(
        _Embed,
        fn_constructor_kwargs={
            "options": options,
            "chunking": Chunking(splitter, chunk_size, splitter_arguments or {}),
            "columns": Columns(text_column, id_column, header_column),
            "reproducible": reproducible,
            "dead_letters": dead_letters,
        },
        batch_size=batch_documents,
        batch_format="pyarrow",
        compute=data.ActorPoolStrategy(min_size=bounds[0], max_size=bounds[1]),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )
    return embedded


class _Embed:
    """The actor of `embed_dataset`."""

    def __init__(
        self,
        options: LateChunkOptions,
        chunking: Chunking,
        columns: Columns,
        reproducible: bool,  # noqa: FBT001  # Ray hands it over
        dead_letters: str | Path | None,
    ) -> None:
        self._columns = columns
        self._embedder = DocumentEmbedder(
            shared_engine(options), chunking, reproducible=reproducible
        )
        self._letters = None if dead_letters is None else Path(dead_letters)
        if self._letters is not None:
            self._letters.mkdir(parents=True, exist_ok=True)

    def __call__(self, batch: Any) -> Iterator[Any]:
        """The chunk rows of a table of documents."""
        present = [name for name in self._columns.names if name in batch.column_names]
        documents = [
            read_document(record, self._columns, "a row of the dataset")
            for record in batch.select(present).to_pylist()
        ]
        failures: list[Failure] = []
        rows: list[DocumentRows] = []
        n_rows = 0
        # Alone as well: one at a time, so that no more rows wait than are handed on.
        groups = [[each] for each in documents] if self._embedder.reproducible else [documents]
        for group in groups:
            for outcome in self._embedder.embed(group):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                    continue
                rows.append(outcome)
                n_rows += len(outcome)
            if n_rows >= _ROWS_AT_ONCE:
                yield to_table(rows, self._embedder.dimensions)
                rows, n_rows = [], 0
        self._report(failures)
        yield to_table(rows, self._embedder.dimensions)

    def _report(self, failures: list[Failure]) -> None:
        """A file for each batch, named by what it holds: a batch that Ray repeats replaces it."""
        if not failures:
            return
        if self._letters is None:
            first = failures[0]
            raise InputError(
                f"document {first.document_id!r} failed ({first.error}: {first.reason}); with "
                "dead_letters=FOLDER such documents are listed there and the run goes on",
                parent_id=first.document_id,
            )
        letters = sorted(map(format_letter, failures))
        name = digest(*(line.decode() for line in letters))
        replace_file(self._letters / f"dead-letters-{name}.jsonl", b"".join(letters))
