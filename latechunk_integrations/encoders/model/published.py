"""A model's published files, read before anything of the model is imported."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, hf_hub_download

from latechunk_integrations.encoders.model.families import find_native
from latechunk_integrations.encoders.model.nomic_layout import foreign_settings
from latechunk_integrations.errors import ModelLoadError, RemoteCodeError

# Architectures of transformers that were ported from the very code that `auto_map` still names, and
# compared with it. Of any other, code of its own may do another thing: gte-Qwen2-instruct reads in
# both directions, and its tokenizer ends each text with a token that qwen2's own leaves out.
_PROVED_EQUAL = ("eurobert", "gte", "jina_embeddings_v3", "nomic_bert")
_OWN_MODULES = "sentence_transformers."
# Whose a model without an owner is, to sentence-transformers.
_DEFAULT_OWNER = "sentence-transformers"
_SAFE = ("model.safetensors", "model.safetensors.index.json")
# Pickles, and what must lie beside them to be read instead.
_PICKLES = {
    "pytorch_model.bin": _SAFE,
    "pytorch_model.bin.index.json": _SAFE,
    "adapter_model.bin": ("adapter_model.safetensors",),
}


@dataclass(frozen=True)
class PublishedFiles:
    """The files of a local folder or of a hub repository.

    Args:
        model: Hub name or local path.
        revision: Branch, tag or commit of a hub model.
    """

    model: str
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the model is a folder of this machine."""
        return Path(self.model).is_dir()

    @cached_property
    def repository(self) -> str:
        """The name that sentence-transformers looks up: its own owner comes before a bare one."""
        bare = not self.is_local and "/" not in self.model
        return f"{_DEFAULT_OWNER}/{self.model}" if bare else self.model

    @property
    def cache_folder(self) -> str | None:
        """The folder that sentence-transformers keeps hub models in; None: the hub's own."""
        return os.getenv("SENTENCE_TRANSFORMERS_HOME")

    @cached_property
    def names(self) -> frozenset[str]:
        """Its files, folders in front of them; empty if they cannot be listed."""
        if self.is_local:
            return _files_below(Path(self.model))
        try:
            return frozenset(HfApi().list_repo_files(self.repository, revision=self.revision))
        # Without network: what an earlier download has left. Loading says what is wrong.
        except Exception:  # noqa: BLE001
            config = self.path("config.json")
            return frozenset() if config is None else _files_below(config.parent)

    def path(self, name: str, subfolder: str = "") -> Path | None:
        """Where a file lies on this machine; None if the model has none or cannot be reached."""
        below = PurePosixPath(subfolder, name)
        # What a model's own files name must lie within its folder.
        if below.is_absolute() or ".." in below.parts:
            return None
        if self.is_local:
            found = Path(self.model, below)
            return found if found.exists() else None
        try:
            return Path(
                hf_hub_download(
                    self.repository,
                    below.as_posix(),
                    revision=self.revision,
                    cache_dir=self.cache_folder,
                )
            )
        # What keeps it from being read, from no network to no permission, comes up again with
        # its own message when the model is loaded.
        except Exception:  # noqa: BLE001
            return None

    def json(self, name: str, subfolder: str = "") -> Any:
        """The content of a JSON file; None if there is none that can be read."""
        path = self.path(name, subfolder)
        if path is None:
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``, empty if there is none."""
        return as_mapping(self.json("config.json", self.transformer_folder))

    @cached_property
    def modules(self) -> list[dict[str, Any]]:
        """``modules.json``, empty if there is none."""
        content = self.json("modules.json")
        return [as_mapping(entry) for entry in content] if isinstance(content, list) else []

    @property
    def own_classes(self) -> tuple[str, ...]:
        """The classes that ``config.json`` names of the model's own code."""
        auto_map = as_mapping(self.config.get("auto_map"))
        # Other entries, such as those of classifiers, are never looked up here.
        named = [name for name in auto_map if name in ("AutoConfig", "AutoModel")]
        return tuple(str(auto_map[name]) for name in named)

    @property
    def transformer_folder(self) -> str:
        """The folder of the first module, below the model's own."""
        return str(self.modules[0].get("path", "")) if self.modules else ""


def refuse_remote_code(files: PublishedFiles) -> None:
    """Refuse a model that does not work without code of its own.

    Raises:
        RemoteCodeError: It would run code; the message names it and how to pin it.
    """
    found = own_parts(files)
    if not _runs_without_its_code(files.config):
        found = [*(("config.json", name) for name in files.own_classes), *found]
    if found:
        raise remote_code_error(files, found)


def own_parts(files: PublishedFiles) -> list[tuple[str, str]]:
    """Code of its own beside the transformer: tokenizer, modules, activation functions.

    Returns:
        Pairs of the file that names code and what it names.
    """
    return [*_custom_tokenizer(files), *_custom_modules(files)]


def remote_code_error(files: PublishedFiles, found: list[tuple[str, str]]) -> RemoteCodeError:
    """The error that says what would run, and how to pin it."""
    lines = "; ".join(f"{source} names {reference}" for source, reference in found)
    others = sorted({ref.partition("--")[0] for _, ref in found if "--" in ref})
    pin = "pass trust_remote_code=True together with revision=<commit>"
    if others:
        pin += (
            f". revision= does not pin the code that is in {', '.join(others)}: copy it into "
            "a local folder of the model and drop the part up to '--' in its auto_map"
        )
    native = find_native(files.model)
    elsewhere = f"; or take {native!r}, which is the same model and needs none" if native else ""
    kind = files.config.get("model_type")
    in_place = any(source in ("config.json", "tokenizer_config.json") for source, _ in found)
    beside = (
        f" (transformers' own {kind!r} is not known to do the same; those that are: "
        f"{', '.join(_PROVED_EQUAL)})"
        if in_place and _is_native(files.config) and kind not in _PROVED_EQUAL
        else ""
    )
    return RemoteCodeError(
        f"{files.model!r} runs code of its own, which is not allowed to run: {lines}{beside}. Read "
        f"that code, then {pin}{elsewhere}"
    )


def check_safetensors(files: PublishedFiles) -> None:
    """Refuse weights that are there only as pickles, which can run code when they are read.

    Raises:
        ModelLoadError: A folder of the model holds a pickle and no safetensors.
    """
    folders = {"", *(str(entry.get("path", "")) for entry in files.modules)}
    for folder, (pickle, safe) in itertools.product(sorted(folders), _PICKLES.items()):
        # Of a hub model, transformers looks for the safetensors that the hub's converter wrote.
        if safe is _SAFE and not folder and not files.is_local:
            continue
        front = f"{folder}/" if folder else ""
        if front + pickle in files.names and not any(front + name in files.names for name in safe):
            raise ModelLoadError(
                f"the model {files.model!r} has its weights only as a pickle, {front}{pickle}, and "
                "a pickle can run code when it is read. Use a revision with safetensors. Or, where "
                "you trust the file, make them: load it with sentence-transformers and call "
                "save_pretrained"
            )


def _custom_tokenizer(files: PublishedFiles) -> Iterator[tuple[str, str]]:
    """A tokenizer that transformers has no counterpart for, or whose counterpart may differ."""
    import transformers  # noqa: PLC0415  # slow to import; who only plans a call needs none

    tokenizer = as_mapping(files.json("tokenizer_config.json", files.transformer_folder))
    classes = as_mapping(tokenizer.get("auto_map")).get("AutoTokenizer")
    known = hasattr(transformers, str(tokenizer.get("tokenizer_class")))
    if classes and not (known and files.config.get("model_type") in _PROVED_EQUAL):
        # A pair of a slow and a fast class, either of which may be missing.
        pair = classes if isinstance(classes, list) else [classes]
        yield "tokenizer_config.json", " and ".join(str(name) for name in pair if name)


def _runs_without_its_code(config: dict[str, Any]) -> bool:
    """Whether the architecture of transformers may replace what ``auto_map`` names."""
    return _is_native(config) and config["model_type"] in _PROVED_EQUAL


def _is_native(config: dict[str, Any]) -> bool:
    """Whether transformers has the architecture, and not only the name of its config."""
    import transformers  # noqa: PLC0415  # as above

    architectures = config.get("architectures") or []
    known = config.get("model_type") in transformers.CONFIG_MAPPING and all(
        hasattr(transformers, str(name)) for name in architectures
    )
    return known and not foreign_settings(config)


def _custom_modules(files: PublishedFiles) -> Iterator[tuple[str, str]]:
    """Classes of ``modules.json`` and of its modules that are not sentence-transformers'."""
    for entry in files.modules:
        kind = str(entry.get("type", ""))
        if not kind.startswith(_OWN_MODULES):
            yield "modules.json", f"the class {kind}"
        elif kind.endswith(".Dense"):
            folder = str(entry.get("path", ""))
            function = as_mapping(files.json("config.json", folder)).get("activation_function")
            # sentence-transformers would put Tanh in its place.
            if function and not str(function).startswith("torch."):
                yield f"{folder}/config.json", f"the activation function {function}"


def _files_below(folder: Path) -> frozenset[str]:
    found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    return frozenset(path.relative_to(folder).as_posix() for path in found if path.is_file())


def as_mapping(value: Any) -> dict[str, Any]:
    """What a JSON file holds, if it is a mapping; else an empty one."""
    return value if isinstance(value, dict) else {}
