"""docs/extending.md tells the truth: its encoder conforms, and its table has every rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.testing import check_encoder
from latechunk_integrations.testing.rules import RULES

_TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def test_the_encoder_of_the_page_conforms_and_works(tiny_model_path: Path) -> None:
    (code,) = re.findall(
        r"<!-- runs: tests/testing/test_docs.py -->\n```python\n(.*?)```", _TEXT, re.DOTALL
    )
    scope: dict[str, Any] = {}
    exec(compile(code, "extending.md", "exec"), scope)  # noqa: S102  # our own page
    options = LateChunkOptions(model=str(tiny_model_path))
    encoder = scope["PlainEncoder"].load(options)
    check_encoder(encoder)
    parent = Parent("Berlin is a city. It is proud of the café.", [(0, 17), (18, 42)], "Title")
    local = LateChunkEngine.from_pretrained(
        options.model, dtype="float32", device="cpu", layout="text", focus=0
    )
    np.testing.assert_allclose(
        LateChunkEngine(encoder, options).embed([parent])[0].vectors,
        local.embed([parent])[0].vectors,
        atol=1e-5,
    )


def test_the_table_has_every_rule() -> None:
    rows = dict(re.findall(r"^\| ([\w ]+) \| (.+) \|$", _TEXT, re.MULTILINE))
    assert {name: rows.get(name) for name in RULES} == RULES
