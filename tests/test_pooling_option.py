"""The option `pooling` in layout units: the model's own mode, unless another is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, Parent
from tests.tiny_models import save_tiny_model

TEXT = "Berlin is the capital of Germany."


@pytest.mark.rule(4)
@pytest.mark.parametrize("own", ["cls", "mean", "lasttoken"])
def test_units_pool_as_the_model_was_trained(tmp_path: Path, own: str) -> None:
    folder = save_tiny_model(tmp_path, "wordpiece", pooling=own)
    engine = LateChunkEngine.from_pretrained(str(folder), dtype="float32", device="cpu")
    expected = SentenceTransformer(str(folder), device="cpu").encode_document([TEXT])[0]
    ((vector,),) = [result.vectors for result in engine.embed([Parent(TEXT)])]
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.rule(4)
@pytest.mark.parametrize(("asked", "same_as"), [("mean", "mean"), ("last", "lasttoken")])
def test_units_pool_as_asked(tmp_path: Path, asked: str, same_as: str) -> None:
    folder = save_tiny_model(tmp_path / "cls", "wordpiece", pooling="cls")
    engine = LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", pooling=asked
    )
    model = SentenceTransformer(str(folder), device="cpu")
    vars(model[1])["pooling_mode"] = same_as  # of its Pooling module
    expected = model.encode_document([TEXT])[0]
    ((vector,),) = [result.vectors for result in engine.embed([Parent(TEXT)])]
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
