"""sentence-transformers and transformers models on this machine."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.encoders.base import TokenizedText
from latechunk_integrations.encoders.contract import (
    ModelContract,
    read_contract,
    resolve_pooling,
)
from latechunk_integrations.encoders.precision import bfloat16_is_fast
from latechunk_integrations.encoders.tokenization import OffsetTokenizer
from latechunk_integrations.encoders.unpadded import (
    allow_unpadded,
    flat_features,
    takes_unpadded,
)
from latechunk_integrations.errors import (
    ModelLoadError,
    OptionError,
    RemoteCodeError,
    WindowBudgetError,
)
from latechunk_integrations.options import LateChunkOptions

__all__ = ["LocalEncoder"]

logger = logging.getLogger(__name__)

# About 2,000 tokens were the fastest on a CPU; an accelerator wants more in flight.
_BATCH_TOKENS = {"cpu": 2_048, "mps": 8_192}
_BATCH_TOKENS_ACCELERATOR = 32_768
_HEADER_SEPARATOR = "\n\n"
_HEADER_CACHE = 1_024
# Weight files are hashed at both ends only: reading gigabytes would outlast the loading.
_HASHED_END_BYTES = 1 << 20


class LocalEncoder:
    """A model of this machine as a `TokenEncoder` and a `QueryEncoder`.

    Args:
        model: The loaded model; it is switched to evaluation mode.
        options: What the engine was asked for.
        identity: What names the weights in the fingerprint.

    Raises:
        ContractError: The model's modules cannot be late-chunked.
        OffsetsError: The tokenizer has no offset mapping.
        OptionError: An option does not fit the model.
        WindowBudgetError: Prompt and special tokens take more than half of a window.
    """

    def __init__(
        self, model: SentenceTransformer, options: LateChunkOptions, *, identity: str
    ) -> None:
        self.model = model.eval()
        self.options = options
        self.contract: ModelContract = read_contract(model)
        self.pooling = resolve_pooling(options.pooling, self.contract)
        self.prompt_pooled = self.contract.prompt_pooled
        self.device = model.device
        allow_unpadded(model)
        self._tokenizer = OffsetTokenizer(model.tokenizer)
        self.lead, self.tail = self._tokenizer.lead, self._tokenizer.tail
        pad_id = getattr(model.tokenizer, "pad_token_id", None)
        self.pad_id = int(pad_id) if pad_id is not None else 0
        self.document_prompt = _own(options.document_prompt, self.contract.document_prompt)
        self.query_prompt = _own(options.query_prompt, self.contract.query_prompt)
        self.max_tokens = self._window_length()
        # Plain texts go through the model as it is, whatever the windows are.
        self.plain_tokens = self.contract.max_seq_length
        self.dimensions = self._vector_width()
        self.batch_tokens = options.batch_tokens or _BATCH_TOKENS.get(
            self.device.type, _BATCH_TOKENS_ACCELERATOR
        )
        modules = list(model)
        at, pooling = next(
            (i, module) for i, module in enumerate(modules) if isinstance(module, Pooling)
        )
        self.token_dim = pooling.get_embedding_dimension()
        self._body = modules[:at]
        # Heads see float32 sums, whatever the forward pass computes in.
        self._heads = [copy.deepcopy(module).float() for module in modules[at + 1 :]]
        self._headers: dict[str, NDArray[np.int32]] = {}
        self._lock = threading.Lock()
        self.fingerprint = _digest([identity, json.dumps(self.contract.to_dict(), sort_keys=True)])

    @classmethod
    def load(cls, options: LateChunkOptions) -> LocalEncoder:
        """Load the model that the options name.

        Raises:
            ModelLoadError: The model cannot be found or read.
            RemoteCodeError: It needs ``trust_remote_code=True``.
        """
        device = torch.device(options.device or _best_device())
        dtype = _resolve_dtype(options.dtype, device)
        try:
            model = SentenceTransformer(
                options.model,
                device=str(device),
                revision=options.revision,
                trust_remote_code=options.trust_remote_code,
                model_kwargs={"dtype": dtype, "use_safetensors": True},
            )
        except Exception as error:
            raise _load_error(options, error) from error
        # Some modules are loaded in float32 whatever was asked for.
        return cls(model.to(dtype=dtype), options, identity=_identity(options.model, model))

    def tokenize(self, texts: Sequence[str], prompt: str) -> list[TokenizedText]:
        """See `OffsetTokenizer.tokenize`."""
        return self._tokenizer.tokenize(texts, prompt)

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """See `OffsetTokenizer.tokenize_pieces`."""
        return self._tokenizer.tokenize_pieces(text, prompt)

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        """Token ids of a header, set off from the text that follows."""
        if not header or header.isspace():
            return np.zeros(0, np.int32)
        with self._lock:
            ids = self._headers.get(header)
        if ids is None:
            ids = self._tokenizer.tokenize([header.strip() + _HEADER_SEPARATOR], "")[0].ids
            with self._lock:
                if len(self._headers) >= _HEADER_CACHE:
                    self._headers.clear()
                self._headers[header] = ids
        return ids

    @torch.inference_mode()
    def forward(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> torch.Tensor:
        """Token embeddings of a right-padded batch; see `TokenEncoder.forward`.

        The mask comes from the lengths: a padding id may well stand in the text. Of a batch
        without padding transformers drops it, which leaves attention its faster path.
        """
        features: dict[str, Any]
        if takes_unpadded(self._body[0]):
            features = flat_features(self._body[0], ids, lengths, self.device)
        else:
            mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
            features = {
                "input_ids": to_device(ids, self.device),
                "attention_mask": to_device(mask, self.device),
            }
        for module in self._body:
            features = module(features)
        embeddings: torch.Tensor = features["token_embeddings"]
        return embeddings

    @torch.inference_mode()
    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """Heads and truncation, in the order of the model's modules."""
        vectors = means
        if self._heads:
            features = {"sentence_embedding": torch.from_numpy(means).to(self.device)}
            for head in self._heads:
                features = head(features)
            vectors = features["sentence_embedding"].float().cpu().numpy()
        return vectors[:, : self.dimensions]

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors as the model's ``encode_query`` gives them, ``(n, dimensions)``."""
        return self._encode(self.model.encode_query, texts, self.query_prompt)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Passage vectors as the model's ``encode_document`` gives them, ``(n, dimensions)``."""
        return self._encode(self.model.encode_document, texts, self.document_prompt)

    def _encode(self, encode: Any, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        # One caller at a time: the model's tokenizer keeps its truncation as state.
        with self._lock:
            vectors = encode(
                list(texts),
                prompt=prompt,
                show_progress_bar=False,
                truncate_dim=self.options.dimensions,
                convert_to_tensor=True,
            )
        result: NDArray[np.float32] = vectors.float().cpu().numpy()
        return result

    def _window_length(self) -> int:
        contract, asked = self.contract, self.options.max_tokens
        length = asked or contract.max_seq_length or contract.max_positions
        if length is None:
            raise OptionError("the model declares no window length; set max_tokens")
        if contract.max_positions is not None and length > contract.max_positions:
            if asked:
                raise OptionError(
                    f"max_tokens={asked} is more than the {contract.max_positions} positions of "
                    f"the model"
                )
            length = contract.max_positions
        specials = len(self.lead) + len(self.tail)
        prompt = self._tokenizer.tokenize([self.document_prompt or " "], "")[0]
        n_prompt = len(prompt.ids) if self.document_prompt else 0
        if specials + n_prompt > length // 2:
            raise WindowBudgetError(
                f"{specials} special and {n_prompt} prompt tokens take more than half of a window "
                f"of {length} tokens; raise max_tokens or shorten document_prompt",
                max_tokens=length,
                special_tokens=specials,
                prompt_tokens=n_prompt,
            )
        return length

    def _vector_width(self) -> int:
        asked = self.options.dimensions
        if asked is not None and asked > self.contract.dimensions:
            raise OptionError(
                f"dimensions={asked} is more than the {self.contract.dimensions} of the model"
            )
        return asked or self.contract.dimensions


def _own(asked: str | None, own: str) -> str:
    return own if asked is None else asked


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _resolve_dtype(asked: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in; ``auto`` takes bfloat16 only where hardware has it."""
    if asked != "auto":
        dtype: torch.dtype = getattr(torch, asked)
        return dtype
    return torch.bfloat16 if bfloat16_is_fast(device) else torch.float32


def _load_error(options: LateChunkOptions, error: Exception) -> Exception:
    text = str(error)
    if "trust_remote_code" in text and not options.trust_remote_code:
        return RemoteCodeError(
            f"{options.model!r} runs code from its own repository. Read that code, then pass "
            f"trust_remote_code=True together with revision=<commit>, so that it cannot change "
            f"behind you. ({text})"
        )
    local = Path(options.model).exists()
    hint = (
        "check that the folder holds a complete model with safetensors weights"
        if local
        else "without network, point model= at a local folder that holds it "
        "(`hf download NAME --local-dir FOLDER` on a machine that has network)"
    )
    return ModelLoadError(f"cannot load the model {options.model!r}: {hint}. ({text})")


def _identity(name: str, model: SentenceTransformer) -> str:
    """What names the weights: the commit of a hub model, the content of a local folder."""
    folder = Path(name)
    if not folder.is_dir():
        commit = getattr(model[0].config, "_commit_hash", None)
        return f"{name}@{commit}"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".json", ".safetensors", ".txt", ".model"} or not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HASHED_END_BYTES))
            file.seek(max(0, size - _HASHED_END_BYTES))
            digest.update(file.read(_HASHED_END_BYTES))
    return digest.hexdigest()


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
