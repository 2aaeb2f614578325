"""The modules after pooling of a model that runs elsewhere, applied here to vectors of chunks."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from latechunk_integrations.encoders.model.published import PublishedFiles
from latechunk_integrations.encoders.model.vector_contract import HeadContract
from latechunk_integrations.errors import ContractError

_INPUT = "sentence_embedding"
_EPSILON = 1e-5  # of torch's layer norm
_LEAST_LENGTH = 1e-12  # of torch's normalize

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written so that neither end overflows.
    small: NDArray[np.float64] = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


# As torch names them; sentence-transformers stores the class of the activation function.
_ACTIVATIONS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "SiLU": lambda x: x * _sigmoid(x),
    "Sigmoid": _sigmoid,
}

_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


class Head(ABC):
    """A module after pooling; computes in float64."""

    name: str
    """The class of the module in sentence-transformers."""
    in_features: int | None = None
    """Width of what it reads; None: any."""
    out_features: int | None = None
    """Width of what it gives; None: that of what it reads."""
    weights: Mapping[str, NDArray[np.float64]]

    @abstractmethod
    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows of shape ``(n, in_features)`` to ``(n, out_features)``."""

    def contract(self, width: int) -> HeadContract:
        """What it reads and gives, once the width in front of it is known.

        Raises:
            ContractError: It reads vectors of another width.
        """
        if self.in_features not in (None, width):
            raise ContractError(
                f"the {self.name} module of this model reads vectors of "
                f"{self.in_features} numbers, and what is in front of it gives {width}: its files "
                "do not belong to the model of the server"
            )
        return HeadContract(self.name, width, self.out_features or width)


class DenseHead(Head):
    """A linear layer, an activation function, and perhaps a residual."""

    name = "Dense"

    def __init__(self, settings: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
        activation = str(settings.get("activation_function") or "torch.nn.modules.Tanh")
        name = activation.rpartition(".")[2]
        if not activation.startswith("torch.nn.") or name not in _ACTIVATIONS:
            raise ContractError(f"a Dense module with the activation function {activation}")
        outputs = settings.get("module_output_name") or _INPUT
        if {settings.get("module_input_name", _INPUT), outputs} != {_INPUT}:
            raise ContractError("a Dense module that reads or gives something else than the vector")
        n_in, n_out = int(settings["in_features"]), int(settings["out_features"])
        self.in_features, self.out_features = n_in, n_out
        shapes: dict[str, tuple[int, ...]] = {"linear.weight": (n_out, n_in)}
        if settings.get("bias", True):
            shapes["linear.bias"] = (n_out,)
        self._is_residual = bool(settings.get("use_residual", False))
        if self._is_residual and n_in != n_out:
            shapes["residual.weight"] = shapes["linear.weight"]
        self._activation = _ACTIVATIONS[name]
        self.weights = _check_weights(weights, shapes)

    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Head.apply`."""
        linear = rows @ self.weights["linear.weight"].T + self.weights.get("linear.bias", 0.0)
        vectors: NDArray[np.float64] = self._activation(linear)
        if self._is_residual:
            other = self.weights.get("residual.weight")
            vectors = vectors + (rows if other is None else rows @ other.T)
        return vectors


class LayerNormHead(Head):
    """A layer norm with weights."""

    name = "LayerNorm"

    def __init__(self, settings: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
        width = int(settings["dimension"])
        self.in_features = self.out_features = width
        shape = (width,)
        self.weights = _check_weights(weights, {"norm.weight": shape, "norm.bias": shape})

    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Head.apply`."""
        centred = rows - rows.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        normal: NDArray[np.float64] = centred / np.sqrt(variance + _EPSILON)
        normal *= self.weights["norm.weight"]
        return normal + self.weights["norm.bias"]


class UnitHead(Head):
    """Unit length."""

    name = "Normalize"
    weights: Mapping[str, NDArray[np.float64]] = {}

    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Head.apply`."""
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: NDArray[np.float64] = rows / np.maximum(lengths, _LEAST_LENGTH)
        return unit


def read_heads(files: PublishedFiles) -> tuple[Head, ...]:
    """The modules after ``Pooling`` in a model's ``modules.json``, with their weights.

    Args:
        files: The model's files: ``config.json`` and ``model.safetensors`` in the folder of each
            module that has weights.

    Raises:
        ContractError: There is one that cannot be applied here, or its files cannot be read.
    """
    kinds = [str(module.get("type")).rpartition(".")[2] for module in files.modules]
    at = kinds.index("Pooling") + 1 if "Pooling" in kinds else len(kinds)
    found: list[Head] = []
    for kind, module in zip(kinds[at:], files.modules[at:], strict=True):
        folder = str(module.get("path", ""))
        if kind == "Normalize":
            found.append(UnitHead())
        elif kind in ("Dense", "LayerNorm"):
            found.append(_read_weighted(files, kind, folder))
        elif kind != "Dropout":
            raise _explain_refusal(files, f"a module {kind}")
    return tuple(found)


def apply_heads(heads: Sequence[Head], means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pooled vectors through the heads, in order.

    Args:
        heads: The heads.
        means: Float32, shape ``(n, token_dim)``.

    Returns:
        Float32, shape ``(n, dimensions)``; the same array where there are no heads.
    """
    if not heads:
        return means
    rows = means.astype(np.float64)
    for head in heads:
        rows = head.apply(rows)
    return rows.astype(np.float32)


def hash_heads(heads: Sequence[Head]) -> str:
    """Hash of all weights, for fingerprints."""
    digest = hashlib.sha256()
    for head in heads:
        for name, values in sorted(head.weights.items()):
            digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()


def _read_weighted(files: PublishedFiles, kind: str, folder: str) -> Head:
    settings, path = files.json("config.json", folder), files.path("model.safetensors", folder)
    # Without a folder of its own, these would be the transformer's files.
    if not folder or not isinstance(settings, dict) or path is None:
        raise ContractError(
            f"{files.model!r} names a {kind} module in modules.json, and {folder}/config.json or "
            f"{folder}/model.safetensors cannot be read: put both beside the tokenizer"
        )
    build = DenseHead if kind == "Dense" else LayerNormHead
    try:
        return build(settings, _read_weights(path))
    except ContractError as error:
        raise _explain_refusal(files, str(error)) from error
    except (KeyError, TypeError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise ContractError(
            f"{folder} of {files.model!r} holds no {kind} module ({error})"
        ) from error


def _explain_refusal(files: PublishedFiles, what: str) -> ContractError:
    return ContractError(
        f"{files.model!r} has {what}, which nothing here applies to chunks, and a server gives "
        "token embeddings only; load this model with encoder='local'"
    )


def _read_weights(path: Path) -> dict[str, NDArray[Any]]:
    found = {}
    content: list[Any] = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]  # it has no types
    for name, tensor in content:
        kind, data = tensor["dtype"], bytes(tensor["data"])
        if kind == "BF16":  # the upper half of a float32
            flat = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(data, _FORMATS[kind])
        found[name] = flat.reshape(tensor["shape"])
    return found


def _check_weights(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float64]]:
    """The weights that a module has, if they have these shapes."""
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ValueError(f"{name} has the shape {weights[name].shape} instead of {shape}")
    return {name: weights[name].astype(np.float64) for name in shapes}
