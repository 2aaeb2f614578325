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

from latechunk_integrations.encoders.adapters import (
    adapter_names,
    check_adapters,
    load_adapter,
    twin_for_queries,
)
from latechunk_integrations.encoders.base import TokenizedText
from latechunk_integrations.encoders.contract import (
    ModelContract,
    check_dimensions,
    own_pooling,
    read_contract,
    resolve_pooling,
    warn_once,
)
from latechunk_integrations.encoders.families import find_card
from latechunk_integrations.encoders.published import (
    PublishedFiles,
    check_safetensors,
    refuse_remote_code,
)
from latechunk_integrations.encoders.tokenization import OffsetTokenizer
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
        query_model: The model that queries go through; None: the same.
        adapters: Names of the model's task adapters.

    Raises:
        ContractError: The model's modules cannot be late-chunked.
        OffsetsError: The tokenizer has no offset mapping.
        OptionError: An option does not fit the model.
        WindowBudgetError: Prompt and special tokens take more than half of a window.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        options: LateChunkOptions,
        *,
        identity: str,
        query_model: SentenceTransformer | None = None,
        adapters: tuple[str, ...] = (),
    ) -> None:
        self.model = model.eval()
        self._query_model = self.model if query_model is None else query_model.eval()
        self.options = options
        wanted = _wanted_adapters(options)
        check_adapters(wanted, adapters, options.model)
        self.contract: ModelContract = read_contract(
            model, find_card(options.model), adapters=adapters, **wanted
        )
        self.pooling = resolve_pooling(options.pooling, self.contract, options.model)
        # A chunk alone is pooled as the model does it, like `encode_documents` and every query.
        self.standalone_pooling = own_pooling(self.contract) or self.pooling
        self.prompt_pooled = self.contract.prompt_pooled
        self.device = model.device
        self.dtype = model.dtype
        _report_silence(self.contract, options)
        self._tokenizer = OffsetTokenizer(model.tokenizer)
        self.lead, self.tail = self._tokenizer.lead, self._tokenizer.tail
        pad_id = getattr(model.tokenizer, "pad_token_id", None)
        self.pad_id = int(pad_id) if pad_id is not None else 0
        self.document_prompt = _own(options.document_prompt, self.contract.document_prompt)
        self.query_prompt = _own(options.query_prompt, self.contract.query_prompt)
        self.max_tokens = self._window_length()
        # Plain texts go through the model as it is, whatever the windows are.
        self.plain_tokens = self.contract.max_seq_length
        if self.plain_tokens is not None:
            model.max_seq_length = self._query_model.max_seq_length = self.plain_tokens
        check_dimensions(options.dimensions, self.contract)
        self.dimensions = options.dimensions or self.contract.dimensions
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
            MissingExtraError: An adapter is wanted and PEFT is not installed.
            ModelLoadError: The model cannot be found or read.
            OptionError: An adapter is wanted that the model does not have.
            RemoteCodeError: It needs ``trust_remote_code=True``.
        """
        files = PublishedFiles(options.model, options.revision)
        if not options.trust_remote_code:
            refuse_remote_code(files)
        check_safetensors(files)
        adapters = adapter_names(files)
        check_adapters(_wanted_adapters(options), adapters, options.model)
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
        _check_weights(options, model, files)
        # Some modules are loaded in float32 whatever was asked for.
        model = model.to(dtype=dtype)
        return cls(
            model,
            options,
            identity=_identity(options.model, model),
            query_model=_with_adapters(model, files, options),
            adapters=adapters,
        )

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
        """Token embeddings of a right-padded batch, shape ``(n_rows, row_length, dim)``.

        The mask comes from the lengths: a padding id may well stand in the text.
        """
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids).to(self.device, non_blocking=True),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(
                self.device, non_blocking=True
            ),
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
        return self._cut(vectors)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors as the model's ``encode_query`` gives them, ``(n, dimensions)``."""
        return self._encode(self._query_model.encode_query, texts, self.query_prompt)

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
                truncate_dim=self.contract.dimensions,
                convert_to_tensor=True,
            )
        return self._cut(vectors.float().cpu().numpy())

    def _cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Matryoshka truncation as the model was trained for it."""
        if self.dimensions == vectors.shape[1]:
            return vectors
        if self.contract.truncation_layer_norm:
            rows = torch.from_numpy(vectors)
            vectors = torch.nn.functional.layer_norm(rows, rows.shape[1:]).numpy()
        return vectors[:, : self.dimensions]

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


def _own(asked: str | None, own: str) -> str:
    return own if asked is None else asked


def _wanted_adapters(options: LateChunkOptions) -> dict[str, str | None]:
    return {
        "document_adapter": options.document_adapter,
        "query_adapter": options.query_adapter,
    }


def _with_adapters(
    model: SentenceTransformer, files: PublishedFiles, options: LateChunkOptions
) -> SentenceTransformer | None:
    """Load the wanted adapters; the model for queries where it is another one."""
    documents, queries = options.document_adapter, options.query_adapter
    twin = twin_for_queries(model) if documents != queries else None
    for tree, name in ((model, documents), (twin, queries)):
        if tree is not None and name is not None:
            load_adapter(tree, files, name)
            tree.to(dtype=model.dtype)
    return twin


def _report_silence(contract: ModelContract, options: LateChunkOptions) -> None:
    """Say what is done, or left, because the model's files and the options are silent."""
    if contract.adapters and not any(_wanted_adapters(options).values()):
        warn_once(
            options.model,
            f"{options.model!r} has task adapters ({', '.join(contract.adapters)}) and none is "
            "used; choose document_adapter and query_adapter",
        )
    cut = options.dimensions is not None and options.dimensions < contract.dimensions
    if cut and contract.truncation_layer_norm and not contract.matryoshka:
        warn_once(
            options.model,
            f"{options.model!r} is cut to {options.dimensions} dimensions behind a layer norm, as "
            "nomic-embed-text-v1.5 asks for it: the files of this model do not say",
        )


def _check_weights(
    options: LateChunkOptions, model: SentenceTransformer, files: PublishedFiles
) -> None:
    """Refuse a model whose files lack weights: transformers puts random ones in their place."""
    transformer = model.transformers_model
    loaded = {} if transformer is None else dict(transformer.named_parameters())
    # The mark of transformers; the pooler is not read here.
    marks = {name: getattr(p, "_is_hf_initialized", False) for name, p in loaded.items()}
    lacking = [name for name, mark in marks.items() if not mark and "pooler" not in name]
    if not lacking or not any(marks.values()):
        return
    code = files.config.get("auto_map")
    hint = f"; it may need its own code, {code}, under trust_remote_code=True" if code else ""
    raise ModelLoadError(
        f"the files of {options.model!r} do not hold all weights of its architecture "
        f"({', '.join(lacking[:3])}, {len(lacking)} in all){hint}"
    )


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _resolve_dtype(asked: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in; ``auto`` takes bfloat16 only where hardware has it."""
    if asked != "auto":
        dtype: torch.dtype = getattr(torch, asked)
        return dtype
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


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
