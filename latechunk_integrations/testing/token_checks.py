"""Checks of encoders that give tokens and their embeddings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import TokenBatch, TokenEncoder, TokenizedText
from latechunk_integrations.schema import PoolingMode
from latechunk_integrations.testing.rules import Checker, relative_difference

WORDS = "one supplier delivers every part within thirty days"
TEXTS = (
    WORDS,
    "Größe, naïve façade and Ångström: 東京タワー, 한국어, emoji 🎉🚀 and words again",
    "  Two spaces before.\n\nA second paragraph;\r\nits last line has a tab\tin it. ",
    "a",
)
_PROMPT = "query: "
_LONG_CHARS = 40_000
# Where a mark in front has the range of the first character, as SentencePiece's.
_SHARED_CHARS = 1


def check_tokens(check: Checker, encoder: TokenEncoder) -> None:
    """Rules ``members``, ``offsets``, ``order``, ``prompt`` and ``pieces``."""
    _check_sizes(check, encoder)
    found = encoder.tokenize(list(TEXTS), "")
    check.require(
        holds=len(found) == len(TEXTS), rule="order", found=f"{len(found)} of {len(TEXTS)} texts"
    )
    for text, tokens in zip(TEXTS, found, strict=True):
        _check_offsets(check, text, tokens)
    _check_words(check, found[0])
    for text, tokens in zip(
        reversed(TEXTS), encoder.tokenize(list(reversed(TEXTS)), ""), strict=True
    ):
        _check_equal(check, "order", "texts the other way round", tokens, found[TEXTS.index(text)])
    for text, tokens in zip(TEXTS, found, strict=True):
        _check_equal(check, "order", "a text by itself", encoder.tokenize([text], "")[0], tokens)
    _check_prompt(check, encoder)
    _check_pieces(check, encoder)
    header = np.asarray(encoder.tokenize_header(""))
    check.require(holds=header.shape == (0,), rule="members", found="an empty header has tokens")


def check_forward(check: Checker, encoder: TokenEncoder) -> None:
    """Rules ``width``, ``numbers``, ``determinism``, ``order`` and ``padding``."""
    rows = [row_of(encoder, text) for text in TEXTS]
    first = embed_rows(encoder, rows)
    for row, found in zip(rows, first, strict=True):
        check.vectors("token embeddings", found, (len(row), encoder.token_dim))
    _check_same(check, "determinism", "the same batch again", embed_rows(encoder, rows), first)
    alone = [embed_rows(encoder, [row])[0] for row in rows]
    _check_places(check, first, alone)
    backwards = embed_rows(encoder, rows[::-1])[::-1]
    _check_same(check, "order", "the rows of a batch the other way round", backwards, first)
    strangers = embed_rows(encoder, rows, filler=int(rows[0][len(encoder.lead)]))
    _check_same(check, "padding", "other ids after the rows' ends", strangers, first)
    _check_same(check, "padding", "each row by itself", alone, first)
    if encoder.takes_units:
        _check_units(check, encoder)
    _check_finish(check, encoder)


def row_of(encoder: TokenEncoder, text: str, prompt: str = "") -> NDArray[np.int64]:
    """The ids of a whole text as one window, with special tokens, cut to the window's length."""
    (tokens,) = encoder.tokenize([text], prompt)
    room = encoder.max_tokens - len(encoder.tail)
    front = np.concatenate([encoder.lead, tokens.prompt, tokens.ids])[:room]
    return np.concatenate([front, encoder.tail]).astype(np.int64)


def embed_rows(
    encoder: TokenEncoder, rows: Sequence[NDArray[np.int64]], *, filler: int | None = None
) -> list[NDArray[Any]]:
    """Token embeddings of rows in one batch, each ``(n_tokens, token_dim)``.

    Args:
        encoder: The encoder.
        rows: Token ids of each row.
        filler: What comes after the rows' ends; None: the encoder's own padding.
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    padding = encoder.pad_id if filler is None else filler
    ids = np.full((len(rows), int(lengths.max())), padding, np.int64)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = row
    return _embed_batch(encoder, TokenBatch(ids, lengths))


def _embed_batch(encoder: TokenEncoder, batch: TokenBatch) -> list[NDArray[Any]]:
    given: Any = encoder.forward(batch)
    array = given if isinstance(given, np.ndarray) else given.detach().float().cpu().numpy()
    if array.shape[0] == len(batch.lengths):
        return [part[:length] for part, length in zip(array, batch.lengths, strict=True)]
    return np.split(array.reshape(-1, array.shape[-1]), np.cumsum(batch.lengths)[:-1])


def _check_sizes(check: Checker, encoder: TokenEncoder) -> None:
    for name in ("max_tokens", "token_dim", "batch_tokens"):
        value = getattr(encoder, name)
        check.require(
            holds=isinstance(value, int) and value > 0, rule="members", found=f"{name} is {value!r}"
        )
    for name in ("pooling", "standalone_pooling"):
        value = getattr(encoder, name)
        check.require(
            holds=value in get_args(PoolingMode), rule="members", found=f"{name} is {value!r}"
        )
    for name in ("lead", "tail"):
        value = np.asarray(getattr(encoder, name))
        check.require(
            holds=value.ndim == 1 and value.dtype.kind in "iu",
            rule="members",
            found=f"{name} is no row of token ids",
        )


def _check_offsets(check: Checker, text: str, tokens: TokenizedText) -> None:
    offsets, n_tokens = np.asarray(tokens.offsets), len(tokens.ids)
    check.require(
        holds=offsets.shape == (n_tokens, 2),
        rule="offsets",
        found=f"{n_tokens} tokens of {text!r} have offsets of shape {offsets.shape}",
    )
    starts, ends = offsets[:, 0], offsets[:, 1]
    check.require(
        holds=bool((starts >= 0).all() and (ends >= starts).all() and (ends <= len(text)).all()),
        rule="offsets",
        found=f"a range reaches outside of the {len(text)} code points of {text!r}; bytes?",
    )
    check.require(
        holds=bool((np.diff(starts) >= 0).all() and (np.diff(ends) >= 0).all()),
        rule="offsets",
        found=f"the ranges in {text!r} are not in the order of the text",
    )
    covered = np.zeros(len(text), bool)
    for start, end in offsets.tolist():
        covered[start:end] = True
    lost = [at for at, letter in enumerate(text) if letter.isalnum() and not covered[at]]
    check.require(
        holds=not lost,
        rule="offsets",
        found=f"no token has the {text[lost[0]]!r} at {lost[0]} of {text!r}" if lost else "",
    )


def _check_words(check: Checker, tokens: TokenizedText) -> None:
    """Each word of a plain sentence has a token that begins, and one that ends, with it."""
    offsets = np.asarray(tokens.offsets)
    starts, ends = set(offsets[:, 0].tolist()), set(offsets[:, 1].tolist())
    for word in re.finditer(r"\S+", WORDS):
        # A space in front may belong to the first token.
        is_there = starts & {word.start(), word.start() - 1} and word.end() in ends
        check.require(
            holds=bool(is_there),
            rule="offsets",
            found=f"no tokens begin and end with the word {word[0]!r} at [{word.start()}, "
            f"{word.end()}) of {WORDS!r}",
        )
    overlap = (offsets[:-1, 1] - offsets[1:, 0]).max(initial=0)
    check.require(
        holds=overlap <= _SHARED_CHARS,
        rule="offsets",
        found=f"ranges of neighbouring tokens in {WORDS!r} share {overlap} characters",
    )


def _check_prompt(check: Checker, encoder: TokenEncoder) -> None:
    for text in TEXTS[:2]:
        (behind,) = encoder.tokenize([text], _PROMPT)
        (whole,) = encoder.tokenize([_PROMPT + text], "")
        check.require(
            holds=np.array_equal(np.concatenate([behind.prompt, behind.ids]), whole.ids),
            rule="prompt",
            found=f"{text!r} after {_PROMPT!r} has other tokens than both as one string",
        )
        moved = np.asarray(whole.offsets)[len(behind.prompt) :] - len(_PROMPT)
        check.require(
            holds=np.array_equal(np.maximum(moved, 0), behind.offsets),
            rule="prompt",
            found=f"the offsets of {text!r} after {_PROMPT!r} do not count from the text's start",
        )


def _check_pieces(check: Checker, encoder: TokenEncoder) -> None:
    text = " ".join([*TEXTS[:2]] * (_LONG_CHARS // len(" ".join(TEXTS[:2])) + 1))
    (whole,) = encoder.tokenize([text], _PROMPT)
    pieces = list(encoder.tokenize_pieces(text, _PROMPT))
    joined = TokenizedText(
        np.concatenate([piece.prompt for piece in pieces]),
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.offsets for piece in pieces]),
    )
    _check_equal(check, "pieces", f"a text of {len(text)} characters", joined, whole)


def _check_places(
    check: Checker, batch: Sequence[NDArray[Any]], alone: Sequence[NDArray[Any]]
) -> None:
    """No row of a batch has the embeddings of another row."""
    for row, found in enumerate(batch):
        for other, wanted in enumerate(alone):
            n_shared = min(len(found), len(wanted))
            near = relative_difference(found[:n_shared], wanted[:n_shared]) <= check.tolerance
            check.require(
                holds=row == other or not near,
                rule="order",
                found=f"row {row} of a batch has the embeddings of row {other}",
            )


def _check_units(check: Checker, encoder: TokenEncoder) -> None:
    """With infinite focus each unit of a window is what it is alone; with none, a plain row."""
    parts = [row_of(encoder, text) for text in (TEXTS[-1], WORDS)]
    n_all = sum(map(len, parts))
    if n_all > encoder.max_tokens:
        return
    ids = np.stack([np.concatenate(parts), np.concatenate(parts[::-1])])
    sizes = [[len(one) for one in parts], [len(one) for one in parts[::-1]]]
    batch = TokenBatch(
        ids,
        np.array([n_all, n_all], np.int64),
        positions=np.stack([np.concatenate([np.arange(n) for n in row]) for row in sizes]),
        units=np.stack([np.repeat(np.arange(2), row) for row in sizes]).astype(np.int32),
        is_header=np.zeros(ids.shape, np.bool_),
        focus=np.full(2, np.inf, np.float32),
        header_focus=np.full(2, np.inf, np.float32),
    )
    alone = embed_rows(encoder, parts)
    found = _embed_batch(encoder, batch)
    for row, order in zip(found, (alone, alone[::-1]), strict=True):
        check.same("units", "two units with infinite focus", row, np.concatenate(order))
    nothing = np.zeros(2, np.float32)
    plain = replace(batch, positions=None, focus=nothing, header_focus=nothing)
    wanted = embed_rows(encoder, list(ids))
    _check_same(check, "units", "a focus of 0", _embed_batch(encoder, plain), wanted)


def _check_finish(check: Checker, encoder: TokenEncoder) -> None:
    means = np.random.default_rng(0).normal(size=(5, encoder.token_dim)).astype(np.float32)
    found = encoder.finish(means.copy())
    check.vectors("finish", found, (5, encoder.dimensions))
    backwards = encoder.finish(means[::-1].copy())[::-1]
    check.same("order", "finish, rows the other way round", backwards, found)
    alone = np.concatenate([encoder.finish(row[None].copy()) for row in means])
    check.same("padding", "finish, each row by itself", alone, found)


def _check_equal(
    check: Checker, rule: str, what: str, found: TokenizedText, wanted: TokenizedText
) -> None:
    same = all(
        np.array_equal(getattr(found, name), getattr(wanted, name))
        for name in ("prompt", "ids", "offsets")
    )
    check.require(holds=same, rule=rule, found=f"{what}: other tokens")


def _check_same(
    check: Checker,
    rule: str,
    what: str,
    found: Sequence[NDArray[Any]],
    wanted: Sequence[NDArray[Any]],
) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        check.same(rule, what, ours, theirs)
