"""sentence-transformers and transformers models on this machine."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from latechunk_integrations.core.blending import check_vectors
from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.encoders.base import TokenBatch, TokenizedText, TokenizedTexts
from latechunk_integrations.encoders.local.focus_attention import (
    FocusBias,
    takes_focus,
    use_focus,
    with_focus,
)
from latechunk_integrations.encoders.local.loaded_contract import check_modules, read_contract
from latechunk_integrations.encoders.local.loading import load_model, wanted_loras
from latechunk_integrations.encoders.local.lora import check_loras
from latechunk_integrations.encoders.local.probe import check_own_vector, once, probe_transformer
from latechunk_integrations.encoders.local.unit_focus import UnitFocus
from latechunk_integrations.encoders.local.unpadded import (
    allow_unpadded,
    flat_features,
    position_ids,
    takes_unpadded,
)
from latechunk_integrations.encoders.model.contract import (
    ModelContract,
    check_dimensions,
    own_pooling,
    resolve_pooling,
    warn_once,
)
from latechunk_integrations.encoders.model.families import find_card
from latechunk_integrations.encoders.model.prompts import (
    choose_document_prompt,
    own_prompts,
    warn_of_unused,
)
from latechunk_integrations.encoders.model.tokenization import OffsetTokenizer
from latechunk_integrations.encoders.model.vector_contract import cut_vectors
from latechunk_integrations.errors import OptionError
from latechunk_integrations.options import LateChunkOptions

# About 2,000 tokens were the fastest on a CPU; an accelerator wants more in flight: as many
# values whatever the width, since a small model waits for its launches.
_BATCH_TOKENS = {"cpu": 2_048, "mps": 8_192}
_BATCH_VALUES = 32_768 * 768


class LocalEncoder:
    """A model of this machine as a `TokenEncoder` and a `QueryEncoder`.

    Args:
        model: The loaded model; it is switched to evaluation mode.
        options: What the engine was asked for.
        identity: What names the weights in the fingerprint.
        query_model: The model that queries go through; None: the same.
        loras: Names of the model's LoRAs.

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
        loras: tuple[str, ...] = (),
    ) -> None:
        self.model = model.eval()
        self.query_model = self.model if query_model is None else query_model.eval()
        self.options = options
        self.contract = self._read_contract(identity, loras)
        self.takes_units = _choose_attention(model, options)
        in_units = self.takes_units and options.layout != "text"
        self.pooling = resolve_pooling(
            options.pooling, self.contract, options.model, in_units=in_units
        )
        # A chunk alone is pooled as the model does it, like `encode_documents` and every query.
        self.standalone_pooling = own_pooling(self.contract) or self.pooling
        self.prompt_pooled = self.contract.prompt_pooled
        self._device = model.device
        self.device = str(self._device)
        self._dtype: torch.dtype = model.dtype or torch.float32
        self.dtype = str(model.dtype).removeprefix("torch.")
        _report_silence(self.contract, options)
        self._tokenizer = OffsetTokenizer(model.tokenizer)
        self.lead, self.tail = self._tokenizer.lead, self._tokenizer.tail
        pad_id = getattr(model.tokenizer, "pad_token_id", None)
        self.pad_id = int(pad_id) if pad_id is not None else 0
        self.document_prompt, self.title_slot = choose_document_prompt(
            options.document_prompt, self.contract.title_template or self.contract.document_prompt
        )
        asked = options.query_prompt
        self.query_prompt = self.contract.query_prompt if asked is None else asked
        self.max_tokens = self._window_length()
        # Plain texts go through the model as it is, whatever the windows are.
        self.plain_tokens = self.contract.max_seq_length
        if self.plain_tokens is not None:
            model.max_seq_length = self.query_model.max_seq_length = self.plain_tokens
        check_dimensions(options.dimensions, self.contract)
        self._split_modules()
        self.dimensions = options.dimensions or self.contract.dimensions
        self.batch_tokens = options.batch_tokens or _BATCH_TOKENS.get(
            self._device.type, max(8_192, _BATCH_VALUES // self.token_dim)
        )
        self._lock = threading.Lock()
        contract = json.dumps(self.contract.to_dict(), sort_keys=True)
        # Not the option: what "auto" means differs from one machine to the next.
        self.fingerprint = _hash_parts([identity, contract, str(model.dtype)])
        self._prove_contract()

    @classmethod
    def load(cls, options: LateChunkOptions) -> LocalEncoder:
        """Load the model that the options name; see `load_model` for the errors."""
        loaded = load_model(options)
        return cls(
            loaded.model,
            options,
            identity=loaded.identity,
            query_model=loaded.query_model,
            loras=loaded.loras,
        )

    def close(self) -> None:
        """Nothing to let go of."""

    def _split_modules(self) -> None:
        """What runs for each token, and what runs for each pooled vector."""
        modules = list(self.model)
        at, pooling = next(
            (i, module) for i, module in enumerate(modules) if isinstance(module, Pooling)
        )
        self.token_dim = pooling.get_embedding_dimension()
        # Not the contract's: a model may be published to be cut, after a layer norm perhaps.
        heads = self.contract.heads
        self._full_width = heads[-1].out_features if heads else self.token_dim
        self._body = modules[:at]
        # Heads see float32 sums, whatever the forward pass computes in.
        self._heads = [copy.deepcopy(module).float() for module in modules[at + 1 :]]

    def _read_contract(self, identity: str, loras: tuple[str, ...]) -> ModelContract:
        model, name, wanted = self.model, self.options.model, wanted_loras(self.options)
        check_loras(wanted, loras, name)
        check_modules(model)
        transformer: Any = model[0]
        running = (str(model.dtype), str(model.device), *map(str, wanted.values()))
        key = (identity, transformer.config.to_json_string(), *running)
        probe = once(key, lambda: probe_transformer(model, name))
        card = find_card(name)
        asked = self.options.query_prompt_name
        prompts = own_prompts(model.prompts, card, query_prompt_name=asked, **wanted)
        return read_contract(model, probe, card, prompts, loras)

    def _prove_contract(self) -> None:
        if own_pooling(self.contract) is None:
            return
        choices = (self.document_prompt, str(self.dimensions), str(self.device))
        once(
            (self.fingerprint, *choices),
            lambda: check_own_vector(self, self.contract.pooling_mode, self.options.model),
        )

    def tokenize(self, texts: Sequence[str], prompt: str | Sequence[str]) -> TokenizedTexts:
        """See `OffsetTokenizer.tokenize`."""
        return self._tokenizer.tokenize(texts, prompt)

    def tokenize_pieces(self, text: str, prompt: str) -> Iterator[TokenizedText]:
        """See `OffsetTokenizer.tokenize_pieces`."""
        return self._tokenizer.tokenize_pieces(text, prompt)

    def tokenize_header(self, header: str) -> NDArray[np.int32]:
        """Token ids of a header, set off from the text that follows."""
        return self._tokenizer.tokenize_header(header)

    @torch.inference_mode()
    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Token embeddings of a right-padded batch; see `TokenEncoder.forward`.

        The mask comes from the lengths: a padding id may well be in the text. Of a batch
        without padding transformers drops it, which leaves attention its faster path.
        """
        transformer: Any = self._body[0]
        if takes_unpadded(transformer):
            focus = None if batch.units is None else UnitFocus.of(batch, self._device)
            if batch.units is None or focus is not None:
                return self._run_body(flat_features(transformer, batch, self._device, focus))
        ids, lengths = batch.ids, batch.lengths
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        features: dict[str, Any] = {
            "input_ids": to_device(ids, self._device),
            "attention_mask": to_device(mask, self._device),
        }
        if batch.positions is not None:
            positions = position_ids(transformer.model, ids, batch.positions)
            features["position_ids"] = to_device(positions, self._device)
        if batch.units is None:
            return self._run_body(features)
        with with_focus(FocusBias(batch, self._device, self._dtype)):
            return self._run_body(features)

    def _run_body(self, features: dict[str, Any]) -> torch.Tensor:
        for module in self._body:
            features = module(features)
        embeddings: torch.Tensor = features["token_embeddings"]
        return embeddings

    @torch.inference_mode()
    def finish(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """Heads and truncation, in the order of the model's modules."""
        vectors = means
        if self._heads:
            features = {"sentence_embedding": torch.from_numpy(means).to(self._device)}
            for head in self._heads:
                features = head(features)
            vectors = features["sentence_embedding"].float().cpu().numpy()
        return cut_vectors(vectors, self.dimensions, self.contract)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors as the model's ``encode_query`` gives them, ``(n, dimensions)``."""
        return self._encode(self.query_model.encode_query, texts, self.query_prompt)

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
                truncate_dim=self._full_width,
                convert_to_tensor=True,
            )
        found = cut_vectors(vectors.float().cpu().numpy(), self.dimensions, self.contract)
        check_vectors(found, "the texts", self.dtype)
        return found

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
        self._tokenizer.check_window(length, self.document_prompt)
        return length


def _choose_attention(model: SentenceTransformer, options: LateChunkOptions) -> bool:
    """Ready a model for focus and for batches without padding; whether it takes units."""
    takes_units = takes_focus(model[0])
    if takes_units:
        use_focus(model[0])
    focused = options.layout != "text" or options.focus != 0
    allow_unpadded(model, with_focus=takes_units and focused)
    return takes_units


def _report_silence(contract: ModelContract, options: LateChunkOptions) -> None:
    """Say what is done, or left, because the model's files and the options are silent."""
    if contract.loras and not any(wanted_loras(options).values()):
        warn_once(
            options.model,
            f"{options.model!r} has LoRAs ({', '.join(contract.loras)}) and none is "
            "used; choose document_lora and query_lora",
        )
    warn_of_unused(
        options.model, contract.query_prompt, contract.prompt_names, options.query_prompt
    )
    nomic = contract.architecture == "nomic_bert" and contract.prompt_source == "none"
    if nomic and None in (options.document_prompt, options.query_prompt):
        warn_once(
            options.model,
            f"the files of {options.model!r} name no prompts, and nomic models are trained with "
            "them: pass document_prompt='search_document: ' and query_prompt='search_query: ' "
            "(or what it was trained with; '' for none), or call its folder as the original",
        )
    normal = any(head.name == "Normalize" for head in contract.heads)
    if contract.similarity == "dot" and options.normalize and not normal:
        warn_once(
            options.model,
            f"{options.model!r} was trained for the dot product, which the length of its vectors "
            "is part of; normalize=False keeps it",
        )
    cut = options.dimensions is not None and options.dimensions < contract.dimensions
    if cut and contract.truncation_layer_norm and not contract.matryoshka:
        warn_once(
            options.model,
            f"{options.model!r} is cut to {options.dimensions} dimensions after a layer norm, as "
            "nomic-embed-text-v1.5 asks for it: the files of this model do not say",
        )


def _hash_parts(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
