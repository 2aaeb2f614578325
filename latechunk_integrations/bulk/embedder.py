"""Documents to chunk rows in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import NamedTuple, TypeAlias

from latechunk_integrations.bulk.chunking import Chunking, spans_of
from latechunk_integrations.bulk.device_health import MOST_FAILURES_IN_A_ROW, DeviceHealth, is_fatal
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure, digest
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import LateChunkError
from latechunk_integrations.schema import CharSpans, ChunkVectors, Parent

Outcome: TypeAlias = DocumentRows | Failure
"""What became of a document."""


class DocumentEmbedder:
    """Splits and embeds documents; one that fails leaves the others alone.

    Args:
        engine: What embeds.
        chunking: What splits.
        reproducible: Embed each document by itself. Which texts share a forward pass moves the
            last bits of a vector; alone, a document's rows depend on nothing but the document,
            the model, the options and the number of threads, until memory runs out: then the
            batches of this process stay smaller. A window cache gives the bits of the run that
            filled it.
        most_failures_in_a_row: Documents in a row that the model or its server may fail over.

    Raises:
        OptionError: There is no such splitter.
        MissingExtraError: The splitter's package is not installed.
    """

    def __init__(
        self,
        engine: LateChunkEngine,
        chunking: Chunking,
        *,
        reproducible: bool = True,
        most_failures_in_a_row: int = MOST_FAILURES_IN_A_ROW,
    ) -> None:
        self._engine = engine
        self._health = DeviceHealth(most_failures_in_a_row)
        self._before = engine.stats
        self._split = chunking.build(engine)
        self.reproducible = reproducible
        self.dimensions = engine.dimensions
        self.engine = engine.fingerprint
        self.key = digest(self.engine, chunking.fingerprint)

    @property
    def counts(self) -> Counter[str]:
        """What the engine's `stats` count since this was built."""
        return Counter(self._engine.stats) - Counter(self._before)

    def embed(self, documents: Sequence[CorpusDocument | Failure]) -> list[Outcome]:
        """The rows of each document, or why there are none; in order.

        What has failed before stays as it is.

        Raises:
            ModelError: The model cannot be used at all.
            OptionError: An option is impossible for every document.
            AuthenticationError: A model server refuses the key.
            SickDeviceError: The model, or its server, failed over many documents in a row.
        """
        (outcomes,) = self.run([documents])
        return outcomes

    def run(self, batches: Iterable[Sequence[CorpusDocument | Failure]]) -> Iterator[list[Outcome]]:
        """`embed` for each batch, in order.

        Documents of the next batches are drawn while those before are embedded. When they cannot
        be drawn, that is raised once all that were are done.
        """
        stopped: list[Exception] = []
        ours, theirs = tee(self._prepare_batches(batches, stopped))
        results = self._engine.embed_iter(
            (each.parent for batch in theirs for each in batch if isinstance(each, _Task)),
            on_error="yield",
            together=not self.reproducible,
        )
        for batch in ours:
            yield [
                each if isinstance(each, Failure) else self._make_outcome(each, next(results))
                for each in batch
            ]
        if stopped:
            raise stopped[0]

    def close(self) -> None:
        """Close the engine; see `LateChunkEngine.close`."""
        self._engine.close()

    def split(self, document: CorpusDocument) -> CharSpans | Failure:
        """The spans of a document's chunks, or why it has none; nothing is embedded."""
        prepared = self._prepare(document)
        return prepared if isinstance(prepared, Failure) else prepared.parent.spans

    def _prepare_batches(
        self, batches: Iterable[Sequence[CorpusDocument | Failure]], stopped: list[Exception]
    ) -> Iterator[list[_Task | Failure]]:
        try:
            for batch in batches:
                yield [each if isinstance(each, Failure) else self._prepare(each) for each in batch]
        except Exception as error:  # noqa: BLE001  # raised again at the end
            stopped.append(error)

    def _prepare(self, document: CorpusDocument) -> _Task | Failure:
        try:
            # First without chunks: what is no text is nothing for a splitter.
            Parent(document.text, header=document.header, id=document.id)
            spans = spans_of(self._split, document.text, document.id)
            parent = Parent(document.text, spans, header=document.header, id=document.id)
        except Exception as error:  # a splitter is anybody's code
            if is_fatal(error):
                raise
            version = document.version(self.key)
            return Failure.of(document.id, error, version, file=document.file)
        return _Task(document, parent)

    def _make_outcome(self, task: _Task, result: ChunkVectors | LateChunkError) -> Outcome:
        if isinstance(result, LateChunkError):
            return self._make_failure(task.document, result)
        self._health.note_success()
        return self._make_rows(task, result)

    def _make_failure(self, document: CorpusDocument, error: LateChunkError) -> Failure:
        retry = self._health.note_failure(document.id, error)
        version = document.version(self.key)
        return Failure.of(document.id, error, version, file=document.file, retry=retry)

    def _make_rows(self, task: _Task, result: ChunkVectors) -> DocumentRows:
        document, parent = task.document, task.parent
        version = document.version(self.key)
        if result.skipped:
            return DocumentRows(
                document.id, version, parent.fingerprint, skipped=True, file=document.file
            )
        return DocumentRows(
            document.id,
            version,
            parent.fingerprint,
            parent.spans.array,
            tuple(parent.chunk_text(row) for row in range(len(parent.spans))),
            result.vectors,
            result.modes,
            engine=self.engine,
            file=document.file,
            pages=document.find_pages(parent.spans.array),
        )


class _Task(NamedTuple):
    """A document that can be embedded."""

    document: CorpusDocument
    parent: Parent
