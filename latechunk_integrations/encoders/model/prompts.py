"""A model's prompts: the documents', the queries', and the slot that a title goes into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from latechunk_integrations.encoders.model.contract import warn_once
from latechunk_integrations.encoders.model.families import ModelCard
from latechunk_integrations.errors import OptionError

# `encode_document` looks for these names, in this order.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_QUERY_PROMPTS = ("query",)

StatedPrompts: TypeAlias = Mapping[str, str | None]
"""The prompts that a model's files state, by their names."""

_PLACEHOLDER = "{title}"
# As EmbeddingGemma was trained: the word "none" where there is no title.
_GEMMA_SLOT = re.compile(r"(title: )(?:none|\{title\})( \| text: ?)", re.IGNORECASE)
_GEMMA_EMPTY = "none"


@dataclass(frozen=True)
class TitleSlot:
    """The place of a title in a document prompt.

    Args:
        template: The prompt, with ``{title}`` where the title goes.
        empty: What the model was trained to read there without a title.
    """

    template: str
    empty: str

    def fill(self, title: str) -> str:
        """The prompt of a document with this title; ``""``: with none."""
        return self.template.replace(_PLACEHOLDER, title or self.empty)

    @property
    def before(self) -> str:
        """What comes in front of the title."""
        return self.template[: self.template.index(_PLACEHOLDER)]


@dataclass(frozen=True)
class ModelPrompts:
    """The prompts of a model.

    Args:
        document: Prefix of passages, a title's slot filled as for none.
        query: Prefix of queries.
        source: Where they are stated: ``files``, ``model card`` (`families`), ``none``.
        names: Names of all prompts in the files that are not empty, sorted.
        slot: The title's place in the document prompt; None: it has none.
    """

    document: str
    query: str
    source: str
    names: tuple[str, ...]
    slot: TitleSlot | None


def _find_title_slot(prompt: str) -> TitleSlot | None:
    """The slot that a document prompt keeps for a title; None: it has none.

    Args:
        prompt: Such as ``"title: {title} | text: "``, or with ``none`` in the slot's place.
    """
    if _GEMMA_SLOT.fullmatch(prompt):
        return TitleSlot(_GEMMA_SLOT.sub(rf"\g<1>{_PLACEHOLDER}\g<2>", prompt), _GEMMA_EMPTY)
    return TitleSlot(prompt, "") if _PLACEHOLDER in prompt else None


def own_prompts(
    files: StatedPrompts,
    card: ModelCard | None,
    *,
    document_lora: str | None = None,
    query_lora: str | None = None,
    query_prompt_name: str | None = None,
) -> ModelPrompts:
    """Prompts of documents and of queries, and where they are stated.

    Args:
        files: What the model's files state.
        card: What its card says where they are silent.
        document_lora: The LoRA that documents go through; prompts may belong to it.
        query_lora: The one that queries go through.
        query_prompt_name: Name of the prompt that is to be the queries'; None: the model's own.

    Raises:
        OptionError: The files state no prompt of that name.
    """
    names = tuple(sorted(name for name, prompt in files.items() if prompt))
    if query_prompt_name is not None and query_prompt_name not in files:
        stated = ", ".join(map(repr, names)) or "none; give the text itself as query_prompt"
        raise OptionError(
            f"query_prompt_name={query_prompt_name!r}: the prompts of this model are {stated}"
        )
    documents = _find_stated(files, (*_lora_prompts(document_lora), *_DOCUMENT_PROMPTS))
    queries = _find_stated(files, (*_lora_prompts(query_lora), *_QUERY_PROMPTS))
    source = "files" if documents or queries else "none"
    if card is not None and source == "none":
        documents, queries = _card_prompts(files, card, document_lora, query_lora)
        source = "model card" if documents or queries else "none"
    if query_prompt_name is not None:
        queries, source = files[query_prompt_name] or "", "files"
    slot = _find_title_slot(documents)
    return ModelPrompts(slot.fill("") if slot else documents, queries, source, names, slot)


def choose_document_prompt(asked: str | None, own: str) -> tuple[str, TitleSlot | None]:
    """The document prompt in use, and its slot for a title; None: it has none.

    Args:
        asked: What the option says; a ``{title}`` in it is a slot. None: the model's own.
        own: The model's own, with ``{title}`` where it has a slot.
    """
    prompt = own if asked is None else asked
    slot = _find_title_slot(prompt)
    return (slot.fill("") if slot else prompt), slot


def warn_of_unused(model: str, query_prompt: str, names: tuple[str, ...], asked: object) -> None:
    """Say once which prompts a model's files state by names that nothing looks for.

    Args:
        model: How to name the model.
        query_prompt: The prompt of queries that was found.
        names: Names of all prompts that the files state.
        asked: What the options say of it; None: nothing.
    """
    others = [name for name in names if name not in _DOCUMENT_PROMPTS]
    if query_prompt or asked is not None or not others:
        return
    warn_once(
        model,
        f"the files of {model!r} name the prompts {', '.join(map(repr, others))} and none is "
        "called 'query', so that queries go without: choose one with query_prompt_name=, or say "
        "query_prompt='' for none",
    )


def _card_prompts(
    files: StatedPrompts, card: ModelCard, document_lora: str | None, query_lora: str | None
) -> tuple[str, str]:
    by_lora = dict(card.lora_prompts)
    documents = by_lora.get(document_lora or "", card.document_prompt or "")
    queries = by_lora.get(query_lora or "", card.query_prompt)
    # The files may hold the very prompt by a name of their own.
    return documents, files.get(card.query_prompt_name) or queries


def _lora_prompts(lora: str | None) -> tuple[str, ...]:
    """Names under which a LoRA's prompt may be stated (``retrieval.query`` in jina's files)."""
    return (lora, lora.replace("_", ".")) if lora else ()


def _find_stated(files: StatedPrompts, names: tuple[str, ...]) -> str:
    # sentence-transformers itself puts an empty "document" beside a "passage" that is not, and
    # for the sake of it `encode_document` never takes the default prompt, nor `encode_query`.
    stated = (files.get(name) for name in names)
    return next((str(prompt) for prompt in stated if prompt), "")
