"""The user's questions, asked of the old and the late vectors through the store's own search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from latechunk_integrations.bulk.migration.collections.opening import open_collection
from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.parent_stream import ParentStream
from latechunk_integrations.bulk.migration.rebuilding import RebuiltParent
from latechunk_integrations.bulk.migration.stored_chunks import StoredCollection
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import OptionError, WriterError
from latechunk_integrations.options import LateChunkOptions


@dataclass(frozen=True)
class StoreQuestion:
    """A question, and what answers it.

    Args:
        query: The question.
        quote: A passage that answers it; the chunks that it touches are relevant.
        document: The end of its source's name; ``""``: any.
        keys: Ids of relevant chunks, instead of a quote.
    """

    query: str
    quote: str = ""
    document: str = ""
    keys: tuple[str, ...] = ()


@dataclass
class AskedQuestion:
    """A question, and the ids that the store gave, the best first.

    Args:
        query: The question.
        relevant: Ids of the relevant chunks; none: no parent holds the quote.
        old: By the old vectors.
        late: By the late ones.
    """

    query: str
    relevant: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


def ask_both(
    collection: str,
    questions: Sequence[StoreQuestion],
    options: LateChunkOptions,
    settings: MigrationSettings | None = None,
    *,
    old_options: LateChunkOptions | None = None,
    limit: int = 10,
) -> list[AskedQuestion]:
    """Ask a migrated collection each question twice.

    Args:
        collection: As for `migrate`; it is migrated and not switched.
        questions: The questions.
        options: Of the engine of the late vectors.
        settings: As for `migrate`.
        old_options: Of the model of the old vectors; None: the same.
        limit: Ids to ask for.

    Raises:
        OptionError: The old vectors are of another width than their model gives.
        WriterError: There are no late vectors.
    """
    settings = settings or MigrationSettings()
    engine, old_engine = shared_engine(options), shared_engine(old_options or options)
    with closing(open_collection(collection, settings)) as opened:
        if old_engine.dimensions != opened.dimensions():
            raise OptionError(
                f"the old vectors have {opened.dimensions()} numbers, {old_engine.options.model!r} "
                f"gives {old_engine.dimensions}: name the model that they were made with "
                "(--old-model)"
            )
        if not opened.count_late():
            raise WriterError(f"there are no vectors in {opened.place_of_late}: migrate first")
        asked = _with_answers(opened, collection, questions, settings)
        queries = [question.query for question in questions]
        late, old = engine.embed_queries(queries), old_engine.embed_queries(queries)
        for number, question in enumerate(asked):
            question.old = [str(key) for key in opened.search(old[number], limit, late=False)]
            question.late = [str(key) for key in opened.search(late[number], limit, late=True)]
    return asked


def _with_answers(
    opened: StoredCollection,
    collection: str,
    questions: Sequence[StoreQuestion],
    settings: MigrationSettings,
) -> list[AskedQuestion]:
    asked = [AskedQuestion(question.query, list(question.keys)) for question in questions]
    open_ = [
        (found, question, _pattern(question.quote))
        for found, question in zip(asked, questions, strict=True)
        if not question.keys
    ]
    if open_:
        for rebuilt in ParentStream(opened, collection, settings).run():
            for found, question, pattern in open_:
                if rebuilt.source.endswith(question.document):
                    found.relevant += _find_touched(rebuilt, pattern)
    return asked


def _pattern(quote: str) -> re.Pattern[str]:
    """Finds a quote whatever its white space."""
    if not quote.strip():
        raise OptionError("a question needs a quote that answers it, or ids of chunks")
    return re.compile(r"\s+".join(map(re.escape, quote.split())))


def _find_touched(rebuilt: RebuiltParent, pattern: re.Pattern[str]) -> list[str]:
    """Ids of the chunks that hold a part of the quote."""
    places = [match.span() for match in pattern.finditer(rebuilt.text)]
    return [
        str(each.chunk.key)
        for each in rebuilt.placed
        if any(each.start < end and start < each.end for start, end in places)
    ]
