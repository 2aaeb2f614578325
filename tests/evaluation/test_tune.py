"""Tuning says which chunking is better, and is not fooled by chance."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.configurations import BASELINE
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, GoldSpan, Query
from latechunk_integrations.evaluation.paste import write_config
from latechunk_integrations.evaluation.results import TuneResult
from latechunk_integrations.evaluation.tune import Choices, tune
from tests.evaluation.word_encoder import lines, word_engine

pytestmark = pytest.mark.slow  # each measures many candidates

CHOICES = Choices(chunk_sizes=(None,))
_N_DOCUMENTS = 30


def _set(name: str, texts: list[tuple[str, str]], queries: list[tuple[int, str, str]]) -> GoldenSet:
    """From (title, text) pairs and (number of the document, question, gold line)."""
    documents = tuple(GoldenDocument(f"d{n}", text, title) for n, (title, text) in enumerate(texts))
    spans = []
    for n, (at, _, gold) in enumerate(queries):
        start = texts[at][1].index(gold)
        spans.append(GoldSpan(f"q{n}", f"d{at}", start, start + len(gold)))
    asked = tuple(Query(f"q{n}", f"d{at}", text) for n, (at, text, _) in enumerate(queries))
    return GoldenSet(name, documents, asked, tuple(spans))


def leaning() -> GoldenSet:
    """Every document tells the same facts of its own subject, which only the first line names."""
    facts = ["it is tall", "it is red", "it was built by hand", "it opens at noon"]
    texts = [("", "\n".join([f"about subject{n}", *facts])) for n in range(_N_DOCUMENTS)]
    queries = [(n, f"subject{n} {fact}", fact) for n in range(_N_DOCUMENTS) for fact in facts]
    return _set("leaning", texts, queries)


def standing_alone() -> GoldenSet:
    """Each line says all that is asked; another document is full of the same words, apart."""
    texts, queries = [], []
    for n in range(_N_DOCUMENTS):
        topic = [f"topic{n}", f"word{n}"]
        gold = f"{topic[0]} {topic[1]}"
        noise = [f"other{n} thing{k} matter{n * 7 + k}" for k in range(6)]
        texts.append(("", "\n".join([*noise, gold])))
        scattered = [f"{word} also" for word in topic * 3]
        texts.append(("", "\n".join(scattered)))
        queries += [(2 * n, f"{gold} {ask}", gold) for ask in ("now", "then", "where", "why")]
    return _set("alone", texts, queries)


def alike() -> GoldenSet:
    """Queries that have nothing to do with their chunks: no way of chunking can be better."""
    rng = random.Random(5)
    texts = [
        ("", "\n".join(f"text{rng.random()} word{rng.random()}" for _ in range(5)))
        for _ in range(_N_DOCUMENTS)
    ]
    queries = [
        (n, f"ask{rng.random()}", rng.choice(text.split("\n")))
        for n, (_, text) in enumerate(texts)
        for _ in range(4)
    ]
    return _set("alike", texts, queries)


def _tune(golden: GoldenSet, choices: Choices = CHOICES, context: float = 3.0) -> TuneResult:
    return tune(word_engine(context), golden, choices, splitter=lines)


def test_late_chunking_is_chosen_where_chunks_lean_on_their_document() -> None:
    result = _tune(leaning())
    assert result.verdict.startswith("Late chunking is the better choice")
    assert result.chosen.configuration.context_weight > 0


def test_early_chunking_is_chosen_where_chunks_stand_on_their_own() -> None:
    result = _tune(standing_alone(), Choices())
    assert result.choosing.chunk_sizes == (None,)  # the splitter has no size
    assert result.verdict.startswith("Early chunking is the better choice for these queries; keep")
    assert result.chosen.configuration.context_weight == 0


@pytest.mark.parametrize("seed", range(5))
def test_early_chunking_is_chosen_where_the_difference_is_chance(seed: int) -> None:
    result = tune(word_engine(3.0), alike(), CHOICES, splitter=lines, seed=seed)
    assert result.verdict.startswith("Early chunking is the better choice")
    assert result.chosen.name == BASELINE


def test_what_was_chosen_on_is_not_what_is_reported() -> None:
    golden = leaning()
    result = _tune(golden)
    halves = [
        {query.query_id for query in half.results[0].queries}
        for half in (result.choosing, result.held_out)
    ]
    assert not halves[0] & halves[1]
    assert halves[0] | halves[1] == {query.query_id for query in golden.queries}
    assert 2 <= len(result.held_out.results) <= 3
    again = _tune(golden)
    assert (again.chosen.name, again.verdict) == (result.chosen.name, result.verdict)


def test_of_candidates_that_do_equally_well_the_cheapest_is_chosen() -> None:
    result = _tune(leaning(), replace(CHOICES, context_weights=(0.5, 1.0)))
    assert result.chosen.configuration.context_weight == 1.0  # one pass instead of two
    held = {r.name: r for r in result.held_out.results}
    cost = held[result.chosen.name].costs.encoder_tokens
    assert cost <= min(
        r.costs.encoder_tokens for r in result.choosing.results if r.configuration.context_weight
    )


def test_titles_are_tried_where_there_are_some() -> None:
    golden = leaning()
    titled = tuple(
        replace(d, title=f"subject{n}", text=d.text.replace(f"about subject{n}", "the beginning"))
        for n, d in enumerate(golden.documents)
    )
    spans = tuple(
        replace(
            span,
            start=(start := titled[int(span.doc_id[1:])].text.index(_gold_text(golden, span))),
            end=start + span.end - span.start,
        )
        for span in golden.spans
    )
    result = _tune(replace(golden, documents=titled, spans=spans))
    assert result.chosen.configuration.header == "auto"
    assert not any(r.configuration.header == "auto" for r in _tune(golden).choosing.results)


def _gold_text(golden: GoldenSet, span: GoldSpan) -> str:
    return golden.documents[int(span.doc_id[1:])].text[span.start : span.end]


def test_the_written_options_are_read_back_by_the_engine(
    tiny_engine: LateChunkEngine, tmp_path: Path
) -> None:
    result = tune(tiny_engine, leaning(), Choices(chunk_sizes=(None,)), splitter=lines)
    for chosen in result.choosing.results:
        path = tmp_path / "latechunk.yaml"
        write_config(chosen, tiny_engine.options.to_dict(), path, result.verdict)
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {result.verdict.splitlines()[0]}")
        read = LateChunkOptions.from_config(path)
        weight = chosen.configuration.context_weight
        assert read.context_weight == weight
        if weight:
            assert read == replace(tiny_engine.options, **chosen.configuration.options())
        assert yaml.safe_load(text)["engine"]["model"] == tiny_engine.options.model
        assert LateChunkEngine.from_config(path).options == read
        cut = ChunkingOptions.from_config(path)
        assert cut.splitter == "tests.evaluation.word_encoder:lines"
        header = {"none": None, "auto": "auto"}
        assert cut.header == header[chosen.configuration.header]


def test_too_few_queries_are_refused_and_few_are_said() -> None:
    golden = leaning()
    few = golden.subset([query.query_id for query in golden.queries[:39]])
    with pytest.raises(GoldenSetError, match="39 queries are too few"):
        _tune(few)
    assert any("60 queries decide" in note for note in _tune(golden).notes)


def test_an_answer_outside_of_all_chunks_is_said_of_either_half() -> None:
    texts = [("", f"heading{n}\nabout subject{n}\nit is tall") for n in range(40)]
    asked = [(n, f"subject{n} tall", "it is tall") for n in range(40)]
    golden = _set("headed", texts, [*asked, (0, "which heading", "heading0")])
    of_held_out = set()
    for seed in range(6):
        result = tune(
            word_engine(), golden, CHOICES, splitter=lambda text: lines(text)[1:], seed=seed
        )
        (note,) = (note for note in result.notes if "gold span that no chunk overlaps" in note)
        held_out = note.startswith("held-out half: ")
        of_held_out.add(held_out)
        half = result.held_out if held_out else result.choosing
        assert "q40" in {query.query_id for query in half.results[0].queries}
    assert of_held_out == {True, False}


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(OptionError, match="context weight above 0"):
        _tune(leaning(), Choices(chunk_sizes=(None,), context_weights=()))


def test_what_the_user_has_now_is_the_opponent_of_both_halves() -> None:
    golden = leaning()
    titled = replace(golden, documents=tuple(replace(d, title="A") for d in golden.documents))
    result = tune(
        word_engine(3.0), titled, CHOICES, splitter=lines, opponent="early, title prepended"
    )
    for half in (result.choosing, result.held_out):
        assert half.opponent.name == "early, title prepended"
    assert "what you have now (‘early, title prepended’)" in result.verdict
