"""Where a stored record keeps its chunk: by hand, or as each framework writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from latechunk_integrations import marks
from latechunk_integrations.errors import OptionError

Framework: TypeAlias = Literal["langchain", "llama-index"]
"""Whose vector store class wrote the collection."""


@dataclass(frozen=True, kw_only=True)
class ChunkFields:
    """Names of fields. A dot leads into a mapping, or into a text that holds JSON.

    Args:
        id: The chunk's id, where the store does not say what it is (a table's column).
        text: The chunk's text.
        source: What the chunks of one parent have in common, such as a document's id.
        file: The name of the file that the chunk was cut from; it takes the place of ``source``
            where files are read.
        start: Where the chunk begins in its parent, in code points.
        end: One past its end; only compared with the length of the text.
        order: Its place among the chunks of its parent, a number.
        next: The id of the chunk that follows.
        header: Its header, such as a title.
        marks: The mapping that metadata are in; ``""``: the record itself.
        node: LlamaIndex's JSON of the node, which holds the metadata once more.
    """

    id: str = ""
    text: str = "text"
    source: str = "source"
    file: str = ""
    start: str = ""
    end: str = ""
    order: str = ""
    next: str = ""
    header: str = ""
    marks: str = ""
    node: str = ""

    def under(self, prefix: str, **changes: str) -> ChunkFields:
        """The same names below another mapping, but for those that are given."""
        below = {
            field.name: prefix + ("." if value else "") + value
            for field in fields(self)
            if (value := getattr(self, field.name)) or field.name == "marks"
        }
        return replace(self, **(below | changes))


_BY_HAND = ChunkFields(start="start", end="end")
_LANGCHAIN = ChunkFields(source="source", file="source", start="start_index")
_LLAMA_INDEX = ChunkFields(
    source="ref_doc_id",
    file="file_path",
    start="_node_content.start_char_idx",
    next="_node_content.relationships.3.node_id",
    node="_node_content",
)

# What a record looks like is said in the module of each collection.
_PRESETS: Mapping[tuple[str, str], ChunkFields] = {
    ("qdrant", ""): _BY_HAND,
    ("milvus", ""): _BY_HAND,
    ("pgvector", ""): _BY_HAND,
    ("chroma", ""): _BY_HAND.under("metadata", text="document"),
    ("qdrant", "langchain"): _LANGCHAIN.under("metadata", text="page_content"),
    ("milvus", "langchain"): _LANGCHAIN,
    ("pgvector", "langchain"): _LANGCHAIN.under("cmetadata", text="document"),
    ("chroma", "langchain"): _LANGCHAIN.under("metadata", text="document"),
    ("qdrant", "llama-index"): replace(_LLAMA_INDEX, text="_node_content.text"),
    ("milvus", "llama-index"): _LLAMA_INDEX,
    ("pgvector", "llama-index"): _LLAMA_INDEX.under("metadata_", text="text", id="node_id"),
    ("chroma", "llama-index"): _LLAMA_INDEX.under("metadata", text="document"),
}


def find_fields(
    kind: str, framework: Framework | None = None, changes: Mapping[str, str] | None = None
) -> ChunkFields:
    """The fields of a collection.

    Args:
        kind: The store.
        framework: Whose class wrote it; None: written by hand.
        changes: Names that differ from what is usual there, by the fields of `ChunkFields`.

    Raises:
        OptionError: There is no such store or framework, or no such field.
    """
    preset = _PRESETS.get((kind, framework or ""))
    if preset is None:
        known = sorted({f"{store} {name}".strip() for store, name in _PRESETS})
        raise OptionError(f"{kind!r} of {framework!r} cannot be migrated; known: {known}")
    names = [field.name for field in fields(ChunkFields)]
    for name in changes or {}:
        if name not in names:
            raise OptionError(f"a chunk has no field {name!r}; it has {', '.join(names)}")
    return replace(preset, **(changes or {}))


def read_field(record: Mapping[str, Any], path: str) -> Any:
    """The value at a path; None where there is none.

    A name that holds dots itself is found as it is.
    """
    value: Any = record
    rest = path
    while rest:
        if isinstance(value, str):
            value = read_json(value)
        if not isinstance(value, Mapping):
            return None
        if rest in value:
            return value[rest]
        name, _, rest = rest.partition(".")
        value = value.get(name)
    return value if path else None


def mark_record(
    record: Mapping[str, Any], chunk_fields: ChunkFields, made: Mapping[str, Any]
) -> dict[str, Any]:
    """A copy of a record whose metadata say how its late vector was made.

    Args:
        record: As the store gave it.
        chunk_fields: Where it keeps things.
        made: The marks, by the keys of `latechunk_integrations.marks`; others are taken off.
    """
    marked = _with_marks(record, chunk_fields.marks, made)
    return _with_node(marked, chunk_fields.node, made) if chunk_fields.node else marked


def _with_marks(record: Mapping[str, Any], path: str, made: Mapping[str, Any]) -> dict[str, Any]:
    if path:
        name, _, rest = path.partition(".")
        inner = record.get(name)
        if isinstance(inner, str):  # JSON in a column of text
            marked = _with_marks(read_json(inner) or {}, rest, made)
            return {**record, name: json.dumps(marked, ensure_ascii=False)}
        return {**record, name: _with_marks(inner or {}, rest, made)}
    kept = {key: value for key, value in record.items() if key not in marks.VECTOR_KEYS}
    return {**kept, **made}


def _with_node(record: Mapping[str, Any], path: str, made: Mapping[str, Any]) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    if rest:
        return {**record, name: _with_node(record.get(name) or {}, rest, made)}
    node = read_json(record.get(name, ""))
    if not isinstance(node, dict):
        return dict(record)
    node["metadata"] = _with_marks(node.get("metadata") or {}, "", made)
    for hidden in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        known = node.setdefault(hidden, [])
        known.extend(key for key in marks.VECTOR_KEYS if key not in known)
    return {**record, name: json.dumps(node, ensure_ascii=False)}


def read_json(text: Any) -> Any:
    """What a text of JSON holds; None: it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
