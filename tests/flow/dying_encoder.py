"""Encoders for tests of worker processes: no torch, so that a worker starts in a second."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations import LateChunkOptions
from latechunk_integrations.encoders.base import TokenBatch, TokenizedTexts
from tests.evaluation.word_encoder import WordEncoder


class DyingEncoder(WordEncoder):
    """Does what a text says: ``(die)``, ``(die unless FILE)``, ``(fail)``, ``(log)``, ``(wait)``.

    The file is made before it dies.
    """

    def forward(self, batch: TokenBatch) -> NDArray[np.float32]:
        return self.embed_tokens(batch)

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        for text in texts:
            for order in re.findall(r"\((\w+)(?: unless (\S+))?\)", text):
                self._obey(*order)
        return super().tokenize(texts, prompt)

    def _obey(self, order: str, file: str) -> None:
        if order == "die" and not (file and Path(file).exists()):
            if file:
                Path(file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == "fail":
            raise LookupError("as the text says")
        elif order == "log":
            logging.getLogger("latechunk_integrations.words").info("logged")
        elif order == "wait":
            time.sleep(600)


class OtherEverywhere(DyingEncoder):
    """Another model in each process."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> OtherEverywhere:
        encoder = cls()
        encoder.fingerprint = str(os.getpid())
        return encoder
