"""Layout units and the focus, against the oracle and at both ends of the dial."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.errors import WindowBudgetError
from latechunk_integrations.testing.units_oracle import UnitsOracle
from tests import strategies
from tests.tiny_models import FAMILIES, Family

TEXT = (
    "Berlin is the capital of Germany. Its 3.85 million inhabitants make it the most populous "
    "city of the Union. The city is also one of its states. "
)
SENTENCES = [(0, 33), (34, 110), (111, 147)]


class Loaded:
    """A tiny model loaded once, with engines and an oracle over it."""

    def __init__(self, path: Path, family: Family) -> None:
        engine = LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu")
        assert isinstance(engine.encoder, LocalEncoder)
        self.model = engine.encoder.model
        self.path = path
        eager = SentenceTransformer(str(path), device="cpu").double().transformers_model
        assert eager is not None
        eager.set_attn_implementation("eager")
        self.oracle = UnitsOracle(
            eager,
            self.model.tokenizer,
            max_tokens=64,
            first_position=2 if family == "unigram" else 0,
            sliding=8 if family == "byte_bpe" else None,
        )

    def engine(self, **options: Any) -> LateChunkEngine:
        checked = LateChunkOptions(model=str(self.path), dtype="float32", **options)
        return LateChunkEngine(LocalEncoder(self.model, checked, identity="tiny"), checked)


@pytest.fixture(scope="module")
def loaded(tiny_model_paths: dict[str, Path]) -> dict[str, Loaded]:
    return {family: Loaded(tiny_model_paths[family], family) for family in FAMILIES}


def headers_of(spans: list[tuple[int, int]], draw: Any) -> list[str]:
    return [draw(strategies.headers) for _ in spans]


@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    phases=[Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_every_unit_vector_is_the_oracles(
    loaded: dict[str, Loaded], family: Family, data: st.DataObject
) -> None:
    """Any spans, any text, headers of their own, prompt, focus, batch mates."""
    window = data.draw(st.sampled_from([32, 48, 64, 100, 256]))
    focus = data.draw(st.sampled_from([0.0, 1.0, 3.0, math.inf]))
    step = data.draw(st.sampled_from([0.0, 0.5])) if math.isfinite(focus) else 0.0
    options: dict[str, Any] = {
        "max_tokens": window,
        "document_prompt": data.draw(strategies.prompts),
        "focus": focus,
        "header_focus": "auto" if math.isinf(focus) else max(0.0, focus - step),
        "header_pooling": data.draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        "pool_edges": data.draw(st.booleans()),
        "overlap_tokens": 4,
        "preamble_tokens": 0,
    }
    parents = []
    for _ in range(2):
        text = data.draw(strategies.texts(max_pieces=30))
        spans = data.draw(strategies.spans_of(text))
        parents.append(Parent(text, spans, headers=headers_of(spans, data.draw)))
    try:
        engine = loaded[family].engine(
            **options, batch_tokens=data.draw(st.sampled_from([1, 100, 2_000]))
        )
    except WindowBudgetError:
        assume(False)  # the prompt fills a small window: tested elsewhere
    oracle = replace(
        loaded[family].oracle,
        max_tokens=window,
        prompt=options["document_prompt"],
        focus=focus,
        header_focus=0.0 if math.isinf(focus) else float(options["header_focus"]),
        header_pooling=options["header_pooling"],
        pool_edges=options["pool_edges"],
        overlap=4,
        preamble=0,
    )
    for parent, result in zip(parents, engine.embed(parents), strict=True):
        spans = [(int(start), int(end)) for start, end in parent.spans.array]
        assert parent.headers is not None
        wanted = oracle.unit_vectors(parent.text, spans, parent.headers)
        np.testing.assert_allclose(result.vectors, wanted, atol=1e-5)
