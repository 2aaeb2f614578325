"""How many tokens a text has at least and at most, without its tokenizer."""

from __future__ import annotations

import numpy as np

# Characters that one token may hold in running text. Vocabularies of multilingual models put
# about 4.5 Latin letters into a token, and 1.5 Chinese characters.
_MOST_LETTERS = 7
_FEWEST_LETTERS = 3
_MOST_WIDE = 4
_FEWEST_OTHER_LETTERS = 1.5
# A character that no vocabulary knows becomes one token for each of its UTF-8 bytes.
_RARE_TOKENS = 3

_FIRST_WIDE = 0x2E80  # ideographs, kana, hangul
_FIRST_RARE = 0x10000  # emoji and historic scripts


def estimate_tokens(text: str) -> tuple[int, int]:
    """Bounds that the usual subword tokenizers keep on usual text.

    No bound holds for every tokenizer and text: 20 random letters may be 15 tokens. Whoever
    sends a text by these counts must be ready to be told that it is too long.

    Args:
        text: Any text; runs of white space count as nothing.

    Returns:
        The fewest and the most tokens; both 0 for white space.
    """
    n_words = len(text.split())
    if not n_words:
        return 0, 0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    n_spaces = int(((codes == ord(" ")) | ((codes >= 9) & (codes <= 13))).sum())  # noqa: PLR2004  # tab to carriage return
    is_letter = ((codes | 0x20) >= ord("a")) & ((codes | 0x20) <= ord("z"))
    n_letters = int(is_letter.sum())
    n_rare = int((codes >= _FIRST_RARE).sum())
    n_wide = int((codes >= _FIRST_WIDE).sum()) - n_rare
    n_foreign = int((codes >= 0x80).sum()) - n_wide - n_rare  # noqa: PLR2004  # beyond ASCII
    n_signs = len(codes) - n_spaces - n_letters - n_foreign - n_wide - n_rare
    narrow = n_letters + n_foreign + n_signs
    least = narrow / _MOST_LETTERS + (n_wide + n_rare) / _MOST_WIDE
    most = (
        n_letters / _FEWEST_LETTERS
        + n_foreign / _FEWEST_OTHER_LETTERS
        + n_signs
        + n_wide
        + n_rare * _RARE_TOKENS
    )
    return max(1, int(least)), max(n_words, int(np.ceil(most)))
