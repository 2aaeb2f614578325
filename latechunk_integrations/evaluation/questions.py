"""Questions for documents that have none: proposed by a language model, or from the texts alone.

Each comes with a quote that answers it, and only where the quote is in the text and the question
does not copy it. The file is what `GoldenSet.from_quotes` reads.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latechunk_integrations.core.outline import find_headings
from latechunk_integrations.errors import GoldenSetError, InputTypeError
from latechunk_integrations.evaluation.dataset import GoldenDocument
from latechunk_integrations.evaluation.labels import FROM_TEXT, ORIGIN, find_places
from latechunk_integrations.evaluation.quote_rows import question_rows
from latechunk_integrations.evaluation.similarity import sentence_spans

logger = logging.getLogger(__name__)

_FIELDS = ("query", "document", "quote", "start", ORIGIN)
_PASSAGE_CHARS = 3_000
_FEWEST_WORDS = 6
_QUOTE_WORDS = 40
_KEYWORDS = 3
_NAMES = 2
# Shorter words carry little meaning.
_LONG_WORD = 4
# A run of so many words that question and quote share is copied.
_COPIED_WORDS = 6
# Of the question's longer words, this share in the quote means that it says nothing of its own.
_COPIED_SHARE = 0.8
_WORD = re.compile(r"\w+")
_DEFINITION = re.compile(r'["“]([^"”\n]{2,60})["”]\s+(?:means|is|refers to|stands for)\b')

_PROMPT = """\
Below is a passage of the document "{title}". Write {number} questions that a reader would ask \
without having seen it, and that the passage answers. Name what the question is about, so that it \
makes sense by itself. Do not repeat the passage's wording. For each, copy the words of the \
passage that answer it, exactly, at most two sentences.

Answer with a JSON list and nothing else: [{{"question": "...", "quote": "..."}}]

Passage:
{passage}"""


@dataclass(frozen=True)
class Proposal:
    """A question and what answers it.

    Args:
        query: The question.
        document: The document's id.
        quote: Words of the document.
        start: Where they begin, in code points.
        origin: ``"model"``, or `FROM_TEXT`.
    """

    query: str
    document: str
    quote: str
    start: int
    origin: str = "model"


def propose(
    documents: Sequence[GoldenDocument],
    model: Any,
    *,
    number: int = 100,
    seed: int = 0,
    done: Iterable[Proposal] = (),
) -> Iterator[Proposal]:
    """Questions that a language model asks of passages, checked.

    Args:
        documents: The documents.
        model: A LlamaIndex ``LLM``, a LangChain chat model, or a function from a prompt to text.
        number: How many are wanted in all.
        seed: Of the choice of passages.
        done: What there is already; it counts, and its passages are not asked again.

    Yields:
        Questions with quotes that are in the text. Passages whose answer cannot be read are
        passed over and logged.

    Raises:
        InputTypeError: The model is not one of these.
    """
    ask = ask_model(model)
    known = list(done)
    left = number - len(known)
    passages = _choose_passages(documents, seed)
    per_passage = max(1, math.ceil(number / max(1, len(passages))))
    for document, start, end in passages:
        if left <= 0:
            return
        if any(each.document == document.doc_id and start <= each.start < end for each in known):
            continue
        prompt = _PROMPT.format(
            title=document.title or document.doc_id,
            number=min(3, per_passage),
            passage=document.text[start:end],
        )
        for proposal in _read_answer(ask(prompt), document, start, end):
            yield proposal
            left -= 1
            if left <= 0:
                return


def propose_from_text(
    documents: Sequence[GoldenDocument], *, number: int = 100, seed: int = 0
) -> list[Proposal]:
    """Questions made of titles, headings, definitions and rare words, without a language model.

    They are searches for known places, and easier than what people ask. They say which way of
    chunking finds a place again, not how good an answer is.

    Args:
        documents: The documents.
        number: How many are wanted at most.
        seed: Of the choice.
    """
    spread = _count_sentences(documents)
    found: list[list[Proposal]] = []
    for document in documents:
        made = [*_ask_definitions(document), *_ask_sentences(document, spread)]
        unique = {each.start: each for each in reversed(made)}
        kept = list(unique.values())
        random.Random(f"{seed} {document.doc_id}").shuffle(kept)  # noqa: S311  # no secret
        found.append(kept)
    rounds = [each for group in _take_turns(found) for each in group]
    return rounds[:number]


def ask_model(model: Any) -> Callable[[str], str]:
    """A model as a function from a prompt to text.

    Raises:
        InputTypeError: It is no LlamaIndex ``LLM``, no LangChain chat model and no function.
    """
    if hasattr(model, "complete"):
        return lambda prompt: str(model.complete(prompt).text)
    if hasattr(model, "invoke"):
        return lambda prompt: _text_of(model.invoke(prompt))
    if callable(model):
        return lambda prompt: str(model(prompt))
    raise InputTypeError(
        "the model must be a LlamaIndex LLM, a LangChain chat model or a function from a prompt to "
        f"text, not {type(model).__name__}"
    )


def is_copied(question: str, quote: str) -> bool:
    """Whether a question repeats its quote: a long run of words, or nearly all of its words."""
    asked, said = _split_words(question), _split_words(quote)
    runs = {tuple(said[n : n + _COPIED_WORDS]) for n in range(len(said) - _COPIED_WORDS + 1)}
    if any(
        tuple(asked[n : n + _COPIED_WORDS]) in runs for n in range(len(asked) - _COPIED_WORDS + 1)
    ):
        return True
    own = [word for word in asked if len(word) >= _LONG_WORD]
    return bool(own) and sum(word in said for word in own) / len(own) > _COPIED_SHARE


def append_questions(path: str | Path, proposals: Iterable[Proposal]) -> int:
    """Write questions after those that a file has, one by one, so that a stopped run goes on.

    Args:
        path: A file whose name ends in ``.csv`` or ``.jsonl``.
        proposals: The questions.

    Returns:
        How many were written.

    Raises:
        GoldenSetError: The name ends otherwise.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise GoldenSetError(f"questions are written to a .csv or .jsonl file, not {target.name}")
    is_new = not target.is_file() or not target.stat().st_size
    written = 0
    with target.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _FIELDS)
        if kind == ".csv" and is_new:
            writer.writeheader()
        for proposal in proposals:
            if kind == ".csv":
                writer.writerow(asdict(proposal))
            else:
                file.write(json.dumps(asdict(proposal), ensure_ascii=False) + "\n")
            file.flush()
            written += 1
    return written


def read_done(path: str | Path) -> list[Proposal]:
    """What a stopped run wrote; nothing where there is no file."""
    target = Path(path)
    if not target.is_file() or not target.stat().st_size:
        return []
    return [
        Proposal(
            *(row.text("query"), row.text("document"), row.text("quote")),
            *(row.integer("start"), row.text(ORIGIN)),
        )
        for row in question_rows(target)
    ]


def _text_of(answer: Any) -> str:
    """The text of a LangChain message, whose content may be a list of parts."""
    content = getattr(answer, "content", answer)
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else part.get("text", "") for part in content]
        return "".join(parts)
    return str(content)


def _choose_passages(
    documents: Sequence[GoldenDocument], seed: int
) -> list[tuple[GoldenDocument, int, int]]:
    """Runs of whole sentences, shuffled, of all documents in turn."""
    groups = []
    for document in documents:
        passages, start, end = [], 0, 0
        for sentence in sentence_spans(document.text):
            if end > start and sentence.end - start > _PASSAGE_CHARS:
                passages.append((document, start, end))
                start = sentence.start
            end = sentence.end
        passages.append((document, start, end))
        random.Random(f"{seed} {document.doc_id}").shuffle(passages)  # noqa: S311  # no secret
        groups.append(passages)
    return [each for group in _take_turns(groups) for each in group]


def _read_answer(answer: str, document: GoldenDocument, start: int, end: int) -> Iterator[Proposal]:
    """The questions of an answer whose quotes are in the passage."""
    try:
        listed = json.loads(answer[answer.index("[") : answer.rindex("]") + 1])
        pairs = [(str(each["question"]).strip(), str(each["quote"]).strip()) for each in listed]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        logger.warning("the model's answer about %r cannot be read: %s", document.doc_id, error)
        return
    for question, quote in pairs:
        places = find_places(document.text[start:end], quote)
        if question and places and not is_copied(question, quote):
            place = places[0]
            text = document.text[start + place.start : start + place.end]
            yield Proposal(question, document.doc_id, text, start + place.start)


def _ask_definitions(document: GoldenDocument) -> Iterator[Proposal]:
    for sentence in sentence_spans(document.text):
        text = document.text[sentence.start : sentence.end]
        if found := _DEFINITION.search(text):
            about = f" in {document.title}" if document.title else ""
            query = f"What is meant by {found[1]}{about}?"
            yield Proposal(query, document.doc_id, text, sentence.start, FROM_TEXT)


def _ask_sentences(document: GoldenDocument, spread: Counter[str]) -> Iterator[Proposal]:
    """What the title names, and some rare words of each sentence, rarest first.

    People name the subject in a word or two, and never quote a title.
    """
    headings = find_headings(document.text)
    names = _find_names(document.title, spread)
    for sentence in sentence_spans(document.text):
        text = document.text[sentence.start : sentence.end]
        words = _split_words(text)
        is_heading = any(h.start < sentence.end and h.end > sentence.start for h in headings)
        if is_heading or not _FEWEST_WORDS <= len(words) <= _QUOTE_WORDS:
            continue
        known = set(_split_words(document.title))
        own = {word for word in words if len(word) >= _LONG_WORD and word not in known}
        rare = sorted(own, key=lambda word: (spread[word], word))
        # Not the rarest, which would find the sentence by itself.
        chosen = rare[1 : 1 + _KEYWORDS] if len(rare) > _KEYWORDS else rare
        if len(chosen) == _KEYWORDS:
            query = " ".join([*chosen, *names])
            yield Proposal(query, document.doc_id, text, sentence.start, FROM_TEXT)


def _find_names(title: str, spread: Counter[str]) -> list[str]:
    """The words of a title that are names, else its rarest word."""
    words = [word for word in _WORD.findall(title) if len(word) >= _LONG_WORD]
    rare = sorted(words, key=lambda word: spread[word.lower()])
    named = [word for word in rare if word[0].isupper() or word[0].isdigit()]
    return (named or rare)[:_NAMES]


def _count_sentences(documents: Sequence[GoldenDocument]) -> Counter[str]:
    """In how many sentences each word is."""
    counts: Counter[str] = Counter()
    for document in documents:
        for span in sentence_spans(document.text):
            counts.update(set(_split_words(document.text[span.start : span.end])))
    return counts


def _take_turns(groups: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
    """The first of each group, the second of each, and so on."""
    for n in range(max((len(group) for group in groups), default=0)):
        yield [group[n] for group in groups if n < len(group)]


def _split_words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
