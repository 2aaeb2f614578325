"""Long texts, tokenized piece by piece, are tokenized as if whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, BertTokenizerLegacy

from latechunk_integrations.encoders.model import tokenization
from latechunk_integrations.encoders.model.tokenization import OffsetTokenizer
from latechunk_integrations.errors import OffsetsError

_TEXTS = {
    "prose": "The supplier delivers 東京 parts,\r\n in 30 days: café 🎉 don't stop.  \n\n" * 2_000,
    "without spaces": "abcdefgh" * 13_000,
    "one letter": "a" * 100_000,
    "spaces": "word      " * 13_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["wordpiece", "byte_bpe", "unigram"])
@pytest.mark.parametrize("name", sorted(_TEXTS))
@pytest.mark.parametrize("prompt", ["", "passage: "])
def test_pieces_add_up_to_the_whole(
    tiny_model_paths: dict[str, Path], family: str, name: str, prompt: str
) -> None:
    tokenizer = OffsetTokenizer(AutoTokenizer.from_pretrained(tiny_model_paths[family]))
    text = _TEXTS[name]
    (whole,) = tokenizer.tokenize([text], prompt)
    pieces = list(tokenizer.tokenize_pieces(text, prompt))
    np.testing.assert_array_equal(np.concatenate([p.ids for p in pieces]), whole.ids)
    np.testing.assert_array_equal(np.concatenate([p.offsets for p in pieces]), whole.offsets)
    np.testing.assert_array_equal(np.concatenate([p.prompt for p in pieces]), whole.prompt)
    if name == "prose":
        assert len(pieces) > 2


@pytest.mark.parametrize("length", [300, 511, 1024])
def test_unigram_pieces_are_joined_between_words(
    monkeypatch: pytest.MonkeyPatch, tiny_model_paths: dict[str, Path], length: int
) -> None:
    """Unigram weighs words as a whole: a seam inside of one can divide it otherwise."""
    monkeypatch.setattr(tokenization, "_PIECE_CHARS", 4 * length)
    monkeypatch.setattr(tokenization, "_SEAM_CHARS", length)
    tokenizer = OffsetTokenizer(AutoTokenizer.from_pretrained(tiny_model_paths["unigram"]))
    text = "".join(f"{'abcde'[n % 5] * (n % 40 + 1)}{' ' * (n % 3 == 0)}" for n in range(2_000))
    (whole,) = tokenizer.tokenize([text], "")
    pieces = list(tokenizer.tokenize_pieces(text, ""))
    np.testing.assert_array_equal(np.concatenate([p.ids for p in pieces]), whole.ids)
    np.testing.assert_array_equal(np.concatenate([p.offsets for p in pieces]), whole.offsets)
    assert len(pieces) > 1


def test_a_slow_tokenizer_is_refused_with_a_way_out(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    with pytest.raises(OffsetsError, match=r"tokenizer\.json"):
        OffsetTokenizer(BertTokenizerLegacy(str(vocabulary)))  # type: ignore[no-untyped-call]  # transformers has no types here
