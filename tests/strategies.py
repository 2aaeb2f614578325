"""What hypothesis draws: texts that tokenizers find hard, spans, and options."""

from __future__ import annotations

from hypothesis import strategies as st

_PIECES = (
    *("The supplier delivers", "every part", "within thirty days", "Section 1.3", "3.85", "x"),
    *("café", "cafe\u0301", "naïve", "ﬁne ½", "Ångström", "ÄÖÜß", "\u0301", "\u200b"),
    *("日本語", "東京タワー", "한국어", "🎉", "👩\u200d👩\u200d👧", "🇩🇪", "don't", "(all)"),
    *("query: ", "supercalifragilistic", "the the the"),
)
_GAPS = (" ", " ", " ", "", "  ", "\n", "\r\n", "\n\n", "\t", "\u00a0", ". ", ", ")


@st.composite
def texts(draw: st.DrawFn, max_pieces: int = 40) -> str:
    """A text with unicode, emoji, CRLF, combining marks and repeats; never white space only."""
    parts = draw(
        st.lists(
            st.tuples(st.sampled_from(_PIECES), st.sampled_from(_GAPS)),
            min_size=1,
            max_size=max_pieces,
        )
    )
    start = draw(st.sampled_from(("", " ", "\n", "a")))
    return start + "".join(piece + gap for piece, gap in parts) + draw(st.sampled_from("b. \n"))


@st.composite
def spans_of(draw: st.DrawFn, text: str) -> list[tuple[int, int]]:
    """Spans in any order: overlapping, nested, repeated, with gaps."""
    bounds = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
    drawn = draw(st.lists(bounds.filter(lambda pair: pair[0] != pair[1]), max_size=6))
    spans = [(min(pair), max(pair)) for pair in drawn]
    if draw(st.booleans()):
        spans.append((0, len(text)))
    return spans or [(0, len(text))]


headers = st.sampled_from(["", "", "Title", "Handbook > Part 2 > 1.3 東京", "long header " * 30])
prompts = st.sampled_from(["", "query: ", "search_document: "])
windows = st.sampled_from([24, 32, 48, 64, 100, 256, 512])
overlaps = st.one_of(st.none(), st.integers(0, 40))
