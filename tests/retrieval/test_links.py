"""Links: each factor by hand, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import ModelLoadError, OptionError
from latechunk_integrations.retrieval.links import (
    Link,
    LinkRanker,
    LinkRankingOptions,
    cross_encoder_scorer,
    embedding_scorer,
    normalize_url,
    rank_links,
)
from tests.tiny_models import wordpiece_tokenizer

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
_ONLY = {"frequency": 0.0, "host": 0.0, "path": 0.0, "freshness": 0.0, "relevance": 0.0}


def by_length(_: str, texts: Sequence[str]) -> list[float]:
    """A scorer that likes long texts."""
    return [float(len(text)) for text in texts]


def scores(factor: str, links: list[Link], **others: object) -> dict[str, float]:
    options = LinkRankingOptions(**{**_ONLY, factor: 1.0, "top_k_per_host": None, **others})  # type: ignore[arg-type]  # mixed values
    ranked = rank_links("q", links, scorer=by_length, options=options, now=NOW)
    return {one.link.url: one.score for one in ranked}


def test_frequency_counts_one_page_under_all_its_spellings() -> None:
    links = [Link("https://A.org/x#top"), Link("https://a.org/x/", n_seen=2), Link("https://b.org")]
    found = scores("frequency", links)
    assert found == pytest.approx(
        {"https://a.org/x": 1.0, "https://b.org": math.log(2) / math.log(4)}
    )


def test_hosts_and_paths_that_many_candidates_share_count_more() -> None:
    links = [Link("https://a.org/docs/1"), Link("https://a.org/docs/2"), Link("https://b.org/x")]
    assert scores("host", links) == {
        "https://a.org/docs/1": 1.0,
        "https://a.org/docs/2": 1.0,
        "https://b.org/x": 0.5,
    }
    paths = scores("path", links, path_decay=0.5)
    shared = (2 / 3 + 0.5 * 2 / 3 + 0.25 * 1 / 3) / 1.75
    assert paths["https://a.org/docs/1"] == pytest.approx(shared)
    assert paths["https://b.org/x"] == pytest.approx(1 / 3)


def test_freshness_halves_with_age_and_heeds_confidence() -> None:
    links = [
        Link("https://a.org", last_modified=NOW),
        Link("https://b.org", last_modified=NOW - timedelta(days=10), date_confidence=0.5),
        Link("https://c.org"),
        Link("https://d.org", last_modified=(NOW + timedelta(days=3)).replace(tzinfo=None)),
    ]
    assert list(scores("freshness", links, half_life_days=10.0).values()) == pytest.approx(
        [1.0, 1.0, 0.25, 0.0]
    )


def test_relevance_is_stretched_over_the_candidates() -> None:
    links = [
        Link("https://a.org", "long text"),
        Link("https://b.org", "mid!!"),
        Link("https://c.org", "t"),
    ]
    assert scores("relevance", links) == {
        "https://a.org": 1.0,
        "https://b.org": 0.5,
        "https://c.org": 0.0,
    }


def test_a_few_of_each_host_are_kept_and_blocked_hosts_are_not() -> None:
    links = [Link(f"https://a.org/{n}", "x" * n) for n in range(1, 6)]
    links += [Link("https://www.ads.com/1"), Link("https://b.org/1", "x")]
    options = LinkRankingOptions(top_k_per_host=2, top_k=3, blocked_hosts=("ads.com",))
    kept = rank_links("q", links, scorer=by_length, options=options, now=NOW)
    assert [one.link.url for one in kept] == [
        "https://a.org/5",
        "https://a.org/4",
        "https://b.org/1",
    ]


def test_what_is_no_web_address_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    links = [Link("mailto:x@a.org"), Link("https://[broken"), Link(""), Link("http://a.org:80/x")]
    kept = rank_links("q", links, scorer=by_length, now=NOW)
    assert [one.link.url for one in kept] == ["http://a.org/x"]
    assert "3 of 4 links" in caplog.text
    assert normalize_url("https://a.org/x?utm_id=n&id=7&GCLID=1#f") == "https://a.org/x?id=7"
    assert normalize_url("http://[2001:DB8::1]:8080/x") == "http://[2001:db8::1]:8080/x"
    assert normalize_url("HTTP://A.org:8080/b/?q=1#f") == "http://a.org:8080/b?q=1"


def test_the_scorer_is_asked_once_and_not_at_all_without_a_weight() -> None:
    asked: list[int] = []

    def scorer(question: str, texts: Sequence[str]) -> list[float]:
        asked.append(len(texts))
        return by_length(question, texts)

    links = [Link("https://a.org"), Link("https://b.org")]
    rank_links("q", links, scorer=scorer, now=NOW)
    rank_links("q", links, scorer=scorer, options=LinkRankingOptions(relevance=0), now=NOW)
    assert asked == [2]


@pytest.mark.parametrize(
    "date", [NOW, "2026-01-01T00:00:00Z", "2026-01-01", "Thu, 01 Jan 2026 00:00:00 GMT"]
)
def test_metadata_are_read_as_pages_give_them(date: object) -> None:
    metadata = {"href": "https://a.org", "n_seen": "4", "last_modified": date}
    (ranked,) = LinkRanker(url_key="href", scorer=by_length).rank("q", [("text", metadata)])
    assert (ranked.link.url, ranked.link.text, ranked.link.n_seen) == ("https://a.org", "text", 4)
    assert ranked.link.last_modified is not None
    assert ranked.link.last_modified.replace(tzinfo=timezone.utc) == NOW


def test_metadata_that_cannot_be_read_are_ignored_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = {"url": "https://a.org", "n_seen": "?", "last_modified": "lately", "date_confidence": []}
    empty = {"url": "https://b.org", "last_modified": "", "n_seen": None}
    ranked = LinkRanker(scorer=by_length).rank("q", [("", bad), ("", empty)])
    links = [one.link for one in ranked]
    assert links == [Link("https://a.org", date_confidence=0.0), Link("https://b.org")]
    assert "'lately'" in caplog.text


def test_wrong_options_and_scorers_are_refused() -> None:
    with pytest.raises(OptionError):
        LinkRankingOptions(path_decay=0)
    with pytest.raises(OptionError):
        LinkRankingOptions(top_k=0)
    with pytest.raises(OptionError, match="blocked_hosts"):
        LinkRankingOptions(blocked_hosts="ads.com")  # type: ignore[arg-type]  # what users do
    with pytest.raises(OptionError, match="no finite number"):
        rank_links("q", [Link("https://a.org")], scorer=lambda *_: [math.nan])
    with pytest.raises(OptionError, match="1 values for 2 texts"):
        rank_links("q", [Link("https://a.org"), Link("https://b.org")], scorer=lambda *_: [1.0])


def test_a_cross_encoder_or_an_engine_gives_the_relevance(
    tmp_path: Path, tiny_engine: LateChunkEngine
) -> None:
    tokenizer = wordpiece_tokenizer()
    tokenizer.model_max_length = 64
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["Berlin is the capital", "every part"]
    own = CrossEncoder(str(tmp_path), device="cpu").predict([("q", text) for text in texts])
    found = cross_encoder_scorer(str(tmp_path), device="cpu")("q", texts)
    assert found == pytest.approx([float(value) for value in own], abs=1e-6)
    cosines = tiny_engine.embed_texts(texts) @ tiny_engine.embed_query("q")
    assert embedding_scorer(tiny_engine)("q", texts) == pytest.approx(cosines.tolist(), abs=1e-6)


def test_a_cross_encoder_that_is_not_there_says_how_to_go_on(tmp_path: Path) -> None:
    scorer = cross_encoder_scorer(str(tmp_path / "nothing"))
    with pytest.raises(ModelLoadError, match="embedding_scorer"):
        scorer("question", ["text"])
