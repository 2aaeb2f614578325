"""Links worth reading: candidates of a crawl, ranked for one question."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from latechunk_integrations.errors import MissingExtraError, ModelLoadError, OptionError

__all__ = [
    "Link",
    "LinkRanker",
    "LinkRankingOptions",
    "RankedLink",
    "Scorer",
    "cross_encoder_scorer",
    "embedding_scorer",
    "freshness",
    "normalize_url",
    "rank_links",
]

logger = logging.getLogger(__name__)

Scorer: TypeAlias = Callable[[str, Sequence[str]], Sequence[float]]
"""Relevance of each text to a question; any scale, higher is better."""

_T = TypeVar("_T")

_WEB = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Parameters that say where a visitor came from, not what is shown.
_TRACKING = re.compile(r"(utm_\w+|gclid|dclid|fbclid|msclkid|mc_cid|mc_eid)(=|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A candidate.

    Args:
        url: Where it leads.
        text: What is known of it: anchor text, title, search snippet.
        n_seen: How often it was met.
        last_modified: When its page was last changed, if that is known.
        date_confidence: How far that date is to be trusted, 0 to 1.
    """

    url: str
    text: str = ""
    n_seen: int = 1
    last_modified: datetime | None = None
    date_confidence: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LinkRankingOptions:
    """Weights of the factors, each of which lies between 0 and 1, and what is kept.

    Args:
        frequency: Weight of how often a link was met.
        host: Weight of how many candidates its host has.
        path: Weight of how many candidates share the beginnings of its path.
        freshness: Weight of its last change.
        relevance: Weight of its text's relevance to the question.
        path_decay: What a path segment counts, compared with the one before it.
        half_life_days: Days after which freshness has halved.
        top_k: Links kept in all; ``None``: all.
        top_k_per_host: Links kept of one host, for diversity; ``None``: all.
        blocked_hosts: Hosts left out, their subdomains too.

    Raises:
        OptionError: A value is outside its range.
    """

    frequency: float = 0.5
    host: float = 0.2
    path: float = 0.4
    freshness: float = 0.3
    relevance: float = 1.0
    path_decay: float = 0.8
    half_life_days: float = 365.0
    top_k: int | None = None
    top_k_per_host: int | None = 3
    blocked_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("frequency", "host", "path", "freshness", "relevance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"the weight {name} must be at least 0")
        hosts: object = self.blocked_hosts
        if isinstance(hosts, str):  # its letters would be taken for hosts
            raise OptionError(f"blocked_hosts wants several names: ({hosts!r},) for one")
        if not 0 < self.path_decay <= 1 or not self.half_life_days > 0:
            raise OptionError("path_decay must be in (0, 1], half_life_days above 0")
        for name in ("top_k", "top_k_per_host"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} must be at least 1 or None, not {value!r}")


@dataclass(frozen=True)
class RankedLink:
    """A link, its score and the factors that make it up.

    Args:
        index: Which of the candidates it is; of several with one URL the first.
        link: The candidate, its URL normalised, ``n_seen`` added up over equal URLs.
        score: Weighted mean of the factors, 0 to 1.
        factors: Each factor by name, 0 to 1.
    """

    index: int
    link: Link
    score: float
    factors: dict[str, float]


def rank_links(
    question: str,
    links: Sequence[Link],
    *,
    scorer: Scorer | None = None,
    options: LinkRankingOptions | None = None,
    now: datetime | None = None,
) -> list[RankedLink]:
    """Rank the candidates of a crawl, best first.

    Args:
        question: What is looked for.
        links: Candidates. What is no web address is left out and logged.
        scorer: Relevance of texts; ``None``: `cross_encoder_scorer` with its default model.
        options: Weights and limits; ``None``: the defaults.
        now: The present, for freshness; ``None``: the clock's.

    Returns:
        What is kept, at most ``top_k_per_host`` links of one host.

    Raises:
        OptionError: The scorer gave another number of values, or one that is not finite.
        ModelLoadError: The cross-encoder cannot be loaded.
        MissingExtraError: It needs the extra ``local``.
    """
    chosen = options or LinkRankingOptions()
    indices = _merge(links, chosen.blocked_hosts)
    if not indices:
        return []
    merged = list(indices)
    present = now or datetime.now(timezone.utc)
    columns = {
        "frequency": _score_frequencies(merged),
        "host": _score_hosts(merged),
        "path": _score_paths(merged, chosen.path_decay),
        "freshness": [freshness(link, present, chosen.half_life_days) for link in merged],
        "relevance": [0.0] * len(merged),
    }
    if chosen.relevance:  # a cross-encoder is not loaded for nothing
        columns["relevance"] = _score_relevances(question, merged, scorer)
    weights = {name: getattr(chosen, name) for name in columns}
    total = sum(weights.values()) or 1.0
    ranked = []
    for row, (link, index) in enumerate(indices.items()):
        factors = {name: column[row] for name, column in columns.items()}
        score = sum(weights[name] * value for name, value in factors.items()) / total
        ranked.append(RankedLink(index, link, score, factors))
    ranked.sort(key=lambda one: (-one.score, one.link.url))
    return list(_diversify(ranked, chosen))


def normalize_url(url: str) -> str | None:
    """One spelling for one page, to compare addresses with; fetch the address as it was met.

    Host in lower case; no user, fragment, default port, trailing slash or tracking parameter
    (``utm_source``, ``gclid``, ...). The rest of the query, the scheme and ``www.`` stay: what
    they mean is the site's own business.

    Returns:
        The URL, or None if it is no web address.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme.lower() not in _WEB or not parts.hostname:
        return None
    scheme = parts.scheme.lower()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    at = "" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}"
    query = "&".join(part for part in parts.query.split("&") if not _TRACKING.match(part))
    return urlunsplit((scheme, host + at, parts.path.rstrip("/"), query, ""))


class LinkRanker(BaseModel):
    """Ranks a framework's documents that are links, best first, a few for each host.

    Args:
        scorer: Relevance of texts to the query; ``None``: a cross-encoder.
        options: Weights and limits.
        url_key: Metadata key of the URL. Beside it are read, where known, ``n_seen``,
            ``last_modified`` (a datetime, ISO 8601 or the date of an HTTP header) and
            ``date_confidence``. What cannot be read is ignored and logged.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    scorer: Scorer | None = None
    options: LinkRankingOptions = Field(default_factory=LinkRankingOptions)
    url_key: str = "url"

    def rank(
        self, question: str, documents: Iterable[tuple[str, Mapping[str, Any]]]
    ) -> list[RankedLink]:
        """Text and metadata of each document, ranked; see `rank_links`."""
        links = [
            Link(
                str(metadata.get(self.url_key, "")),
                text,
                _read(metadata, "n_seen", int, missing=1, unreadable=1),
                _read(metadata, "last_modified", _read_date, missing=None, unreadable=None),
                _read(metadata, "date_confidence", float, missing=1.0, unreadable=0.0),
            )
            for text, metadata in documents
        ]
        return rank_links(question, links, scorer=self.scorer, options=self.options)


def _read(
    metadata: Mapping[str, Any],
    key: str,
    convert: Callable[[Any], _T],
    *,
    missing: _T,
    unreadable: _T,
) -> _T:
    value = metadata.get(key)
    if value is None or value == "":
        return missing
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        logger.warning("%s=%r of a link cannot be read and is ignored", key, value)
        return unreadable


def _read_date(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise TypeError(value)
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return parsedate_to_datetime(value)


def freshness(link: Link, now: datetime, half_life_days: float) -> float:
    """``confidence * 2 ** (-age / half life)``, 0 without a date; a future date counts as now."""
    if link.last_modified is None:
        return 0.0
    modified = link.last_modified
    if modified.tzinfo is None:
        modified = modified.replace(tzinfo=timezone.utc)
    age_days = max(0.0, (now - modified) / timedelta(days=1))
    confidence = min(1.0, max(0.0, link.date_confidence))
    return float(confidence * 2.0 ** (-age_days / half_life_days))


def cross_encoder_scorer(
    model: str = "cross-encoder/ms-marco-MiniLM-L6-v2", *, device: str | None = None
) -> Scorer:
    """Relevance by a cross-encoder of sentence-transformers, loaded on first use.

    Args:
        model: A hub name or a local path. Its repository's own code is not run.
        device: Where it runs; ``None``: the best device present.

    Raises:
        ModelLoadError: From the scorer, when the model cannot be loaded.
    """

    def score(question: str, texts: Sequence[str]) -> list[float]:
        encoder, lock = _cross_encoder(model, device)
        pairs = [(question, text) for text in texts]
        with lock:  # its tokenizer cannot be used by two threads at once
            return [float(value) for value in encoder.predict(pairs, show_progress_bar=False)]

    return score


def embedding_scorer(engine: Any) -> Scorer:
    """Relevance by the cosine of an engine's query and passage vectors.

    Args:
        engine: A `LateChunkEngine`.
    """

    def score(question: str, texts: Sequence[str]) -> list[float]:
        similarities = engine.embed_texts(list(texts)) @ engine.embed_query(question)
        return [float(value) for value in similarities]

    return score


@lru_cache(maxsize=2)
def _cross_encoder(model: str, device: str | None) -> tuple[Any, threading.Lock]:
    try:
        from sentence_transformers import CrossEncoder  # noqa: PLC0415  # only the default scorer
    except ImportError as error:
        raise MissingExtraError(str(error.name), extra="local") from error
    try:
        encoder = CrossEncoder(
            model, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except Exception as error:
        raise ModelLoadError(
            f"cannot load the cross-encoder {model!r}: give cross_encoder_scorer a local folder "
            f"with safetensors weights, or use embedding_scorer(engine). ({error})"
        ) from error
    return encoder, threading.Lock()


def _merge(links: Sequence[Link], blocked: Sequence[str]) -> dict[Link, int]:
    """One link for each page and where it stood first; no blocked hosts, web addresses only."""
    merged: dict[str, Link] = {}
    first: dict[str, int] = {}
    broken = 0
    for index, link in enumerate(links):
        url = normalize_url(link.url)
        if url is None:
            broken += 1
        elif _is_blocked(_get_host(url), blocked):
            continue
        elif url in merged:
            merged[url] = replace(merged[url], n_seen=merged[url].n_seen + link.n_seen)
        else:
            merged[url] = replace(link, url=url)
            first[url] = index
    if broken:
        logger.warning("%d of %d links are no web addresses and are left out", broken, len(links))
    return {link: first[url] for url, link in merged.items()}


def _is_blocked(host: str, blocked: Sequence[str]) -> bool:
    return any(host == one.lower() or host.endswith("." + one.lower()) for one in blocked)


def _get_host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _score_frequencies(links: Sequence[Link]) -> list[float]:
    """``log(1 + n) / log(1 + largest n)``."""
    most = max(link.n_seen for link in links)
    return [math.log1p(max(0, link.n_seen)) / math.log1p(max(1, most)) for link in links]


def _score_hosts(links: Sequence[Link]) -> list[float]:
    """Candidates of the host, divided by those of the most frequent host."""
    counts = Counter(_get_host(link.url) for link in links)
    most = max(counts.values())
    return [counts[_get_host(link.url)] / most for link in links]


def _score_paths(links: Sequence[Link], decay: float) -> list[float]:
    """Mean share of candidates with the same beginning, segment d weighing ``decay ** d``."""
    prefixes = [_list_prefixes(link.url) for link in links]
    counts = Counter(prefix for one in prefixes for prefix in one)
    shares = []
    for one in prefixes:
        weights = [decay**depth for depth in range(len(one))]
        shared = sum(w * counts[p] / len(links) for w, p in zip(weights, one, strict=True))
        shares.append(shared / sum(weights))
    return shares


def _list_prefixes(url: str) -> list[str]:
    """The host, then the host with one path segment more each time."""
    parts = urlsplit(url)
    segments = [segment for segment in parts.path.split("/") if segment]
    return ["/".join([parts.netloc, *segments[:depth]]) for depth in range(len(segments) + 1)]


def _score_relevances(question: str, links: Sequence[Link], scorer: Scorer | None) -> list[float]:
    """The scorer's values, stretched to 0 to 1 over the candidates."""
    texts = [link.text or link.url for link in links]
    values = list((scorer or cross_encoder_scorer())(question, texts))
    if len(values) != len(links):
        raise OptionError(f"the scorer gave {len(values)} values for {len(links)} texts")
    if not all(math.isfinite(value) for value in values):
        raise OptionError("the scorer gave a value that is no finite number")
    low, high = min(values), max(values)
    if high == low:
        return [1.0] * len(values)
    return [(value - low) / (high - low) for value in values]


def _diversify(ranked: Sequence[RankedLink], options: LinkRankingOptions) -> Iterator[RankedLink]:
    kept: Counter[str] = Counter()
    n_kept = 0
    for one in ranked:
        host = _get_host(one.link.url)
        if options.top_k_per_host is not None and kept[host] >= options.top_k_per_host:
            continue
        if options.top_k is not None and n_kept >= options.top_k:
            return
        kept[host] += 1
        n_kept += 1
        yield one
