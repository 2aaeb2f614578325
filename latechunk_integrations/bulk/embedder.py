"""Documents to chunk rows in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from latechunk_integrations.bulk.chunking import Chunking, spans_of
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure, digest
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import (
    LateChunkError,
    MissingExtraError,
    ModelError,
    OptionError,
    RequestRefusedError,
    ServerError,
)
from latechunk_integrations.schema import ChunkVectors, Parent

__all__ = ["DocumentEmbedder", "Outcome"]

Outcome: TypeAlias = DocumentRows | Failure
"""What became of a document."""

# What no other document would survive either.
_FATAL = (MissingExtraError, ModelError, OptionError, ServerError)


def _is_fatal(error: Exception) -> bool:
    """A server may refuse one document; what else it does wrong, it does to all."""
    return isinstance(error, _FATAL) and not isinstance(error, RequestRefusedError)


class DocumentEmbedder:
    """Splits and embeds documents; one that fails leaves the others alone.

    Args:
        engine: What embeds.
        chunking: What splits.
        reproducible: Embed each document by itself. Which texts share a forward pass moves the
            last bits of a vector; alone, a document's rows depend on nothing but the document,
            the model, the options and the number of threads.

    Raises:
        OptionError: There is no such splitter.
        MissingExtraError: The splitter's package is not installed.
    """

    def __init__(
        self, engine: LateChunkEngine, chunking: Chunking, *, reproducible: bool = True
    ) -> None:
        self._engine = engine
        self._split = chunking.build(engine)
        self.reproducible = reproducible
        self.dimensions = engine.dimensions
        self.key = digest(engine.fingerprint, chunking.fingerprint)

    def embed(self, documents: Sequence[CorpusDocument | Failure]) -> list[Outcome]:
        """The rows of each document, or why there are none; in order.

        What has failed before stays as it is.

        Raises:
            ModelError: The model cannot be used at all.
            OptionError: An option is impossible for every document.
            ServerError: A model server does not answer, or not as it should.
        """
        outcomes: dict[int, Outcome] = {}
        tasks: list[_Task] = []
        for at, document in enumerate(documents):
            prepared = document if isinstance(document, Failure) else self._prepare(at, document)
            if isinstance(prepared, Failure):
                outcomes[at] = prepared
            else:
                tasks.append(prepared)
        for group in [[task] for task in tasks] if self.reproducible else [tasks]:
            self._embed_group(group, outcomes)
        return [outcomes[at] for at in range(len(documents))]

    def run(self, batches: Iterable[Sequence[CorpusDocument | Failure]]) -> Iterator[list[Outcome]]:
        """`embed` for each batch, in order."""
        return map(self.embed, batches)

    def close(self) -> None:
        """Nothing to release."""

    def _prepare(self, at: int, document: CorpusDocument) -> _Task | Failure:
        try:
            # First without chunks: what is no text is nothing for a splitter.
            Parent(document.text, header=document.header, id=document.id)
            spans = spans_of(self._split, document.text, document.id)
            parent = Parent(document.text, spans, header=document.header, id=document.id)
        except Exception as error:  # a splitter is anybody's code
            if _is_fatal(error):
                raise
            return Failure.of(document.id, error, document.version(self.key))
        return _Task(at, document, parent)

    def _embed_group(self, group: list[_Task], outcomes: dict[int, Outcome]) -> None:
        """Embed documents together; when one fails, the others go on without it."""
        left = deque(group)
        while left:
            try:
                for result in self._engine.embed_iter([task.parent for task in left]):
                    task = left.popleft()
                    outcomes[task.at] = self._make_rows(task, result)
            except LateChunkError as error:  # noqa: PERF203  # the others go on
                if _is_fatal(error):
                    raise
                named = [task for task in left if task.parent.id == error.parent_id]
                if not named and len(left) > 1:
                    for task in left:
                        self._embed_group([task], outcomes)
                    return
                task = (named or left)[0]
                version = task.document.version(self.key)
                outcomes[task.at] = Failure.of(task.document.id, error, version)
                left.remove(task)

    def _make_rows(self, task: _Task, result: ChunkVectors) -> DocumentRows:
        document, parent = task.document, task.parent
        version = document.version(self.key)
        if result.skipped:
            return DocumentRows(document.id, version, parent.fingerprint, skipped=True)
        return DocumentRows(
            document.id,
            version,
            parent.fingerprint,
            parent.spans.array,
            tuple(parent.chunk_text(row) for row in range(len(parent.spans))),
            result.vectors,
            result.modes,
        )


class _Task(NamedTuple):
    """A document that can be embedded, and its place in the batch."""

    at: int
    document: CorpusDocument
    parent: Parent
