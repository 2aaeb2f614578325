"""Rows of questions and quotes to labels: which places of a document answer which question.

A quote that occurs several times labels every one of these places as an alternative, unless a
column says which is meant: ``start``, or ``context``, the text around it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latechunk_integrations.core.spans import LocatedBy, locate
from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.quote_rows import Row
from latechunk_integrations.schema import Span

STATUS = "status"
"""The column that says what a review decided about a row."""

REJECTED = "rejected"
"""What it says of rows that are left out."""

ORIGIN = "origin"
"""The column that says who made a question."""

FROM_TEXT = "text"
"""What it says of questions that were made of the texts alone."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "query_id", "question_id"),
    "query": ("query", "question", "user_input"),
    "document": ("document", "doc_id", "document_id", "file", "file_name", "source"),
    "quote": ("quote", "answer", "answer_text"),
    "context": ("context", "contexts", "reference_contexts"),
    "start": ("start", "answer_start"),
    "title": ("title", "document_title"),
}
"""What a column means, and the names under which it is found; the first that a row has counts."""

# Signs that copying changes, each for one character, so that positions stay.
_LOOKALIKES = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e"), '"'),
    **dict.fromkeys(map(ord, "\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " "),
}
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class Label:
    """What one row says.

    Args:
        where: File and line.
        query_id: The row's own id; ``""``: it has none.
        query: The question.
        doc_id: The document with the answer.
        places: Where the quote occurs, one after the other; any of them may be meant.
        partial: Only a part of the quote occurs.
    """

    where: str
    query_id: str
    query: str
    doc_id: str
    places: tuple[Span, ...]
    partial: bool = False


class LabelReader:
    """Turns rows into labels.

    Args:
        texts: Document id to text.
        columns: Names of columns by what they mean, where they are called otherwise than in
            `COLUMNS`.

    Raises:
        OptionError: A column is named for a meaning that there is not.
    """

    def __init__(self, texts: Mapping[str, str], columns: Mapping[str, str] | None = None) -> None:
        self._texts = {doc_id: text.translate(_LOOKALIKES) for doc_id, text in texts.items()}
        self._names = column_names(columns)

    def read(self, row: Row) -> list[Label] | str:
        """The labels of a row, one for each of its quotes, or why it has none.

        Raises:
            GoldenSetError: A column is missing, or a value is not what it must be.
        """
        query = row.text(self._key(row, "query"))
        quote = self._value(row, "quote")
        contexts = _list_texts(row, self._key(row, "context"))
        if not contexts and not quote:
            row.text(self._key(row, "quote"))  # says that it is missing
        wanted = [] if quote is None else [str(quote).strip()]
        doc_id = self._value(row, "document")
        if doc_id is not None:
            doc_id = row.known(self._key(row, "document"), self._texts)
        labels = []
        for context in contexts or [""]:
            found = self._find(row, doc_id, context.strip(), wanted[0] if wanted else "")
            if isinstance(found, str):
                return found
            home, places, partial = found
            given = self._value(row, "id")
            query_id = "" if given is None else str(given)
            labels.append(Label(row.where, query_id, query, home, places, partial))
        return labels

    def _find(
        self, row: Row, doc_id: str | None, context: str, quote: str
    ) -> tuple[str, tuple[Span, ...], bool] | str:
        """Document and places of a quote inside a context, each optional."""
        homes = list(self._texts) if doc_id is None else [doc_id]
        sought = context or quote
        found = {home: at for home in homes if (at := find_places(self._texts[home], sought))}
        if not found and doc_id is not None:
            part = _find_part(self._texts[doc_id], sought)
            return (doc_id, (part,), True) if part else self._missing(sought, "its document")
        if not found:
            return self._missing(sought, "any document")
        if len(found) > 1:
            return (
                f"the text {_shorten(sought)} occurs in {len(found)} documents; name one in a "
                "column 'document'; left out"
            )
        ((home, places),) = found.items()
        text = self._texts[home]
        start = self._value(row, "start")
        offset = None if start is None else row.integer(self._key(row, "start"))
        if context and quote:
            inside = [
                Span(around.start + place.start, around.start + place.end)
                for around in places
                for place in find_places(text[around.start : around.end], quote)
            ]
            # An answer in other words than the context's: the context is what answers.
            base, places = places[0].start, inside or places
        else:
            base = 0
        # Counted from the beginning of the context, as SQuAD has it, or of the document.
        exact = [place for place in places if offset in (place.start - base, place.start)]
        places = exact or places
        return home, tuple(places), False

    @staticmethod
    def _missing(sought: str, where: str) -> str:
        return f"the quote {_shorten(sought)} does not occur in {where}; left out"

    def _key(self, row: Row, meaning: str) -> str:
        return find_column(row.values, self._names[meaning])

    def _value(self, row: Row, meaning: str) -> Any:
        value = row.values.get(self._key(row, meaning))
        return None if value is None or not str(value).strip() else value


def column_names(columns: Mapping[str, str] | None) -> dict[str, tuple[str, ...]]:
    """The names under which each column is sought.

    Raises:
        OptionError: A column is named for a meaning that there is not.
    """
    given = dict(columns or {})
    if unknown := sorted(set(given) - set(COLUMNS)):
        raise OptionError(f"no column means {unknown}; columns are {', '.join(COLUMNS)}")
    return {
        meaning: (given[meaning],) if meaning in given else names
        for meaning, names in COLUMNS.items()
    }


def find_column(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of the names that a row has; the first name where it has none."""
    return next((name for name in names if name in values), names[0])


def find_places(text: str, quote: str) -> list[Span]:
    """Every place of a quote, whatever its white space, typographic signs and dashes.

    Places inside of longer words count only where there are no others.
    """
    words = [re.escape(word) for word in quote.translate(_LOOKALIKES).split()]
    if not words:
        return []
    pattern = r"\s+".join(words)
    found = [Span(m.start(), m.end()) for m in re.finditer(pattern, text.translate(_LOOKALIKES))]
    return [place for place in found if not _cuts_word(text, place)] or found


def _cuts_word(text: str, place: Span) -> bool:
    return any(
        0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()
        for at in (place.start, place.end)
    )


def _find_part(text: str, quote: str) -> Span | None:
    located = locate(text, [quote.translate(_LOOKALIKES)])
    if located.missing or located.how[0] is not LocatedBy.PARTIAL:
        return None
    start, end = (int(bound) for bound in located.spans[0])
    return Span(start, end)


def _list_texts(row: Row, key: str) -> list[str]:
    """One text or several; tables write a list as Python or JSON does."""
    value = row.values.get(key)
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            value = [value]
    texts = [value] if isinstance(value, str) else list(value or [])
    if not all(isinstance(text, str) for text in texts):
        raise GoldenSetError(f"{row.where}: {key!r} must hold texts, not {value!r}")
    return [text for text in texts if text.strip()]


def _shorten(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
