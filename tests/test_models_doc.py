"""The table in docs/models.md says of each model what the tests write and read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latechunk_integrations.encoders.model.families import find_card
from tests.architectures import LAYOUTS

_PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
_BORDER = re.compile(r"(?<!\\)\|")
_COLUMNS = 7
_ROWS = {
    cells[0]: cells
    for line in _PAGE.splitlines()
    if len(cells := [cell.strip() for cell in _BORDER.split(line)[1:-1]]) == _COLUMNS
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_tested_model_has_a_row_that_is_true(name: str) -> None:
    layout = LAYOUTS[name]
    _, architecture, _, pooling, prompts, remote_code, tested = _ROWS[name]
    assert architecture.endswith("causal") == layout.causal
    assert pooling.startswith(layout.trained_pooling.removesuffix("token"))
    assert (remote_code, tested) == ("no", "tiny model")
    if layout.loras:
        assert prompts == "with the retrieval LoRAs (card)"
        return
    documents, _, queries = prompts.removesuffix(" (card)").partition(" / ")
    for prompt, shown in zip(layout.asked, (documents, queries or documents), strict=True):
        if shown == "none":
            assert prompt == ""
        else:
            # A long prompt is shortened by an ellipsis.
            begin, _, end = shown.strip("`").replace("\\|", "|").partition("…")
            text = prompt.replace("\n", "\\n")
            assert text == begin or (end and text.startswith(begin) and text.endswith(end))
    card = find_card(name)
    assert prompts.endswith("(card)") == (card is not None and card.document_prompt is not None)
