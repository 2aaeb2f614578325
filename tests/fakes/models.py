"""A tiny model as a server holds it: its own tokenizer and weights, nothing of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer


class ServedModel:
    """A sentence-transformers folder, run one text at a time in float32.

    Args:
        folder: The model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
        self.model = model.float().eval()
        backend = self.model.tokenizer.backend_tokenizer
        self.tokenizer: Tokenizer = Tokenizer.from_str(backend.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.max_tokens = int(self.model.max_seq_length or 0)

    def ids(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    @torch.inference_mode()
    def hidden(self, ids: list[int]) -> torch.Tensor:
        """Last hidden state of one row, shape ``(n_tokens, dim)``."""
        features: dict[str, Any] = {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones((1, len(ids)), dtype=torch.int64),
        }
        state: torch.Tensor = self.model[0](features)["token_embeddings"][0]
        return state

    @torch.inference_mode()
    def pooled(self, ids: list[int]) -> torch.Tensor:
        """What the model's modules make of one row, shape ``(dim,)``."""
        features: dict[str, Any] = {
            "token_embeddings": self.hidden(ids)[None],
            "attention_mask": torch.ones((1, len(ids)), dtype=torch.int64),
        }
        for module in list(self.model)[1:]:
            if type(module).__name__ != "Normalize":  # servers do that as they are asked
                features = module(features)
        vector: torch.Tensor = features["sentence_embedding"][0]
        return vector
