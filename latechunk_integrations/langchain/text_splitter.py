"""`LateChunkTextSplitter`: any splitter, with chunks that know their parent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter, TextSplitter

from latechunk_integrations import errors, marks
from latechunk_integrations.chunking_options import ChunkingOptions, is_config, joining_key
from latechunk_integrations.engine import LateChunkEngine, shared_engine
from latechunk_integrations.langchain.attach import make_documents
from latechunk_integrations.langchain.chunk_text import ChunkText, with_text
from latechunk_integrations.langchain.cutting import (
    Cut,
    CutChunk,
    HeaderChoice,
    Splitter,
    cut_chunks,
    cut_sections,
    join_sections,
)
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent
from latechunk_integrations.splitting import configured_splitter
from latechunk_integrations.stats import EngineStats

ParentBy: TypeAlias = "str | Callable[[Document], Hashable] | None"
"""Which source documents are one parent: those equal under a metadata key, or a function."""

_INDEX_KEY = "start_index"  # LangChain's own: the position in the source document
_SCALARS = frozenset({str, int, float, bool, type(None)})


class LateChunkTextSplitter(TextSplitter):
    """Splits with any splitter and tells the embeddings where each chunk is.

    The parent of a chunk is the whole document. With ``parent_by`` several documents are one
    parent, such as the pages of a file; each keeps its metadata. Where a splitter gives
    documents, as those for Markdown and HTML headers do, each of them is a section, whose
    headings are its chunks' header; without ``parent_by`` a section is a parent of its own.
    Cutting a chunk of another `LateChunkTextSplitter` keeps the parent of that chunk.

    Chunks have in their metadata ``start_index``, the position in their source document, and
    what names their parent and their place in it: ``late_parent``, ``late_start``, ``late_end``.
    ``late_engine`` and ``late_mode`` are empty until the chunk was embedded.

    Args:
        embeddings: What will embed the chunks.
        splitter: A LangChain text splitter, or a function from a text to its chunks;
            default: ``RecursiveCharacterTextSplitter()``.
        section_splitter: Cuts documents into sections first; `splitter` then cuts each section.
        header: What a chunk attends to beside its text. ``"auto"``: title and heading path,
            found in metadata and text; a metadata key: its value as the title, and the heading
            path; a function of the document; None: nothing.
        parent_by: Which documents are one parent: a metadata key such as ``"source"``, or a
            function. A document without the key is a parent of its own.
        add_mode: Embed parents when they are split, so that ``late_engine`` and ``late_mode``
            are known at once. The vectors are kept until a store asks for them.
    """

    def __init__(
        self,
        *,
        embeddings: LateChunkEmbeddings,
        splitter: Splitter | None = None,
        section_splitter: Splitter | None = None,
        header: HeaderChoice = "auto",
        parent_by: ParentBy = None,
        add_mode: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(embeddings, LateChunkEmbeddings):
            raise errors.InputTypeError(
                f"embeddings must be LateChunkEmbeddings, not {type(embeddings).__name__}"
            )
        for name, choice in (("header", header), ("parent_by", parent_by)):
            if not (choice is None or isinstance(choice, str) or callable(choice)):
                raise errors.InputTypeError(
                    f"{name} must be a metadata key or function: {choice!r}"
                )
        self._embeddings = embeddings
        self._splitter = RecursiveCharacterTextSplitter() if splitter is None else splitter
        self._section_splitter = section_splitter
        self._header = header
        self._parent_by = parent_by
        self._add_mode = add_mode
        self._stats = EngineStats()
        self._last_nested: tuple[Parent, Parent | None, list[list[CutChunk]]] | None = None

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any]) -> LateChunkTextSplitter:
        """What a YAML file or a mapping says of engine and chunking; see `ChunkingOptions`.

        Raises:
            OptionError: The file cannot be read, or an option is wrong.
        """
        return cls(**_read_fields(source))

    @property
    def stats(self) -> dict[str, int]:
        """``missing``: chunks that are not in their document, so that no parent is known."""
        return {"missing": 0, **self._stats.to_dict()}

    def split_text(self, text: str) -> list[str]:
        """The chunks of one parent."""
        return [document.page_content for document in self.create_documents([text])]

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """Chunks as documents; see the class for their metadata.

        Raises:
            ChunkNotFoundError: ``strict`` and a chunk is not in its document.
            InputTypeError: There is no list of texts, or not a dict for each.
        """
        return self.split_documents(make_documents(texts, metadatas))

    def split_documents(self, documents: Iterable[Document]) -> list[Document]:
        """The chunks of all documents, in their order; see `create_documents`."""
        sources = list(map(copy.copy, documents))  # one may have been given twice
        groups: dict[Hashable, list[Document]] = {}
        for number, source in enumerate(sources):
            key = self._key(source)
            groups.setdefault((key, number if key is None else -1), []).append(source)
        chunks: dict[int, list[Document]] = {id(source): [] for source in sources}
        for group in groups.values():
            for parent, pieces in self._cut(group):
                for piece, chunk in zip(pieces, self._chunks(parent, pieces), strict=True):
                    chunks[id(piece.source)].append(chunk)
        for source in sources:
            if source.id is not None and len(chunks[id(source)]) == 1:
                chunks[id(source)][0].id = source.id  # a document that is a chunk already
        return [chunk for source in sources for chunk in chunks[id(source)]]

    def lazy_split_documents(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The chunks of each parent as it comes, for a corpus that does not fit into memory.

        Raises:
            IncompleteParentError: Documents of one parent do not follow each other.
        """
        for group in self._runs(documents):
            yield from self.split_documents(group)

    def parents(self, documents: Iterable[Document]) -> Iterator[Parent]:
        """The parents of these documents' chunks, for `attach` elsewhere."""
        for group in self._runs(documents):
            yield from (parent for parent, _ in self._cut(group) if parent is not None)

    def _runs(self, sources: Iterable[Document]) -> Iterator[list[Document]]:
        """Documents of one parent that follow each other."""
        seen: set[Hashable] = set()
        for key, group in groupby(sources, self._key):
            if key is None:
                yield from ([source] for source in group)
                continue
            if key in seen:
                raise errors.IncompleteParentError(
                    f"documents of {key!r} do not follow each other, so that their parent cannot "
                    "be known before the last of them: sort them, or use split_documents"
                )
            seen.add(key)
            yield list(group)

    def _key(self, source: Document) -> Hashable:
        """What documents of one parent share; None: this one is a parent of its own."""
        if self._parent_by is None or self._is_nested(source):
            return None
        shown = Document(str(source.page_content), metadata=source.metadata)  # it may be changed
        key = joining_key(self._parent_by, shown, source.metadata)
        if not isinstance(key, Hashable):
            raise errors.InputTypeError(f"parent_by= must return something hashable, not {key!r}")
        return key

    def _is_nested(self, source: Document) -> bool:
        text = source.page_content
        return self._section_splitter is None and isinstance(text, ChunkText) and text.is_verbatim

    def _cut(self, sources: Sequence[Document]) -> Iterator[Cut]:
        if self._is_nested(sources[0]):
            yield self._cut_nested(sources[0])
            return
        sections = [
            section
            for source in sources
            for section in cut_sections(source, self._splitter, self._section_splitter)
        ]
        key = self._key(sources[0])
        own = sources[0].id or "" if key is None else key
        name = str(sources[0].metadata.get("source") or own)
        joined = sections and key is not None
        for group in [sections] if joined else [[section] for section in sections]:
            parent, pieces = join_sections(group, self._header, name)
            self._report_missing(pieces, name)
            yield parent, pieces

    def _cut_nested(self, source: Document) -> Cut:
        """Of a chunk's chunks the parent is that of all chunks, which are cut likewise."""
        text: Any = source.page_content  # a ChunkText: see _is_nested
        root: Parent = text.parent
        last = self._last_nested
        if last is None or last[0].fingerprint != root.fingerprint:
            self._last_nested = last = root, *cut_chunks(root, self._splitter)
        _, parent, cut = last
        shift = marks.read_bound(source.metadata.get(_INDEX_KEY))
        if shift < 0:
            shift = int(root.spans.starts[text.row])
        pieces = [
            piece._replace(source=source, start=int(piece.start) + shift) for piece in cut[text.row]
        ]
        self._report_missing(pieces, root.id)
        return parent, pieces

    def _chunks(self, parent: Parent | None, pieces: Sequence[CutChunk]) -> Iterator[Document]:
        bounds = [] if parent is None else parent.spans.array.tolist()
        stamps = ("", ("",) * len(bounds))
        if parent is not None:
            self._embeddings.hold([parent])
            if self._add_mode:
                (result,) = self._embeddings.embed_parents([parent])
                stamps = self._embeddings.engine.fingerprint, result.modes
        for piece in pieces:
            metadata = _copied(piece.source.metadata) | piece.headings
            text = piece.text
            if parent is None or piece.row is None:
                yield Document(page_content=text, metadata=metadata)
                continue
            metadata[_INDEX_KEY] = piece.start
            metadata[marks.PARENT_KEY] = parent.fingerprint
            metadata[marks.START_KEY], metadata[marks.END_KEY] = bounds[piece.row]
            metadata[marks.ENGINE_KEY], metadata[marks.MODE_KEY] = stamps[0], stamps[1][piece.row]
            chunk = Document(page_content=text, metadata=metadata)
            yield with_text(chunk, ChunkText(text, parent, piece.row, chunk.metadata))

    def _report_missing(self, pieces: Sequence[CutChunk], name: str) -> None:
        n_missing = sum(piece.row is None for piece in pieces)
        found = f"{n_missing} of {len(pieces)} chunks are not in their document {name!r}"
        reason = f"{found}: the splitter rewrote them"
        if n_missing and self._embeddings.strict:
            raise errors.ChunkNotFoundError(reason, parent_id=name)
        if n_missing:
            self._stats.report("missing", f"{reason}; they will be embedded standalone", n_missing)


class LateChunkPair(NamedTuple):
    """A splitter and the embeddings that know its chunks."""

    splitter: LateChunkTextSplitter
    embeddings: LateChunkEmbeddings


def late_chunking(
    model: str | Path | LateChunkEngine,
    splitter: Splitter | None = None,
    *,
    section_splitter: Splitter | None = None,
    header: HeaderChoice = "auto",
    parent_by: ParentBy = None,
    add_mode: bool = False,
    **options: Any,
) -> LateChunkPair:
    """A splitter and embeddings that belong together.

    Args:
        model: A hub name, a local path or a loaded engine; or a YAML file, which holds all options,
            splitter, header and ``parent_by`` too: none of these can be given beside it.
        splitter: See `LateChunkTextSplitter`, as for the next four.
        section_splitter: Cuts documents into sections first.
        header: What a chunk attends to beside its text.
        parent_by: Which documents are one parent.
        add_mode: Embed when splitting, so that metadata say how.
        **options: Of `LateChunkEmbeddings`, and so of `LateChunkOptions`.

    Raises:
        OptionError: An option is unknown, impossible, or given beside a file.
    """
    if is_config(model):
        if options or splitter is not None or header != "auto" or parent_by is not None:
            raise errors.OptionError(f"options beside the file {model}: write them into it")
        fields = _read_fields(str(model))
    else:
        if given := {"model_name", "engine"} & options.keys():
            raise errors.OptionError(f"a model beside the first argument: leave out {given.pop()}=")
        options["engine" if isinstance(model, LateChunkEngine) else "model_name"] = model
        fields = {"splitter": splitter, "header": header, "parent_by": parent_by}
        fields["embeddings"] = LateChunkEmbeddings(**options)
    made = LateChunkTextSplitter(**fields, section_splitter=section_splitter, add_mode=add_mode)
    return LateChunkPair(made, fields["embeddings"])


def _read_fields(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of embeddings, splitter, header and ``parent_by``."""
    chosen = ChunkingOptions.from_config(source)
    engine = shared_engine(LateChunkOptions.from_config(source))
    return {
        "embeddings": LateChunkEmbeddings(engine=engine),
        "splitter": configured_splitter(chosen, engine.encoder),
        "header": chosen.header,
        "parent_by": chosen.parent_by,
    }


def _copied(metadata: dict[Any, Any]) -> dict[Any, Any]:
    """A deep copy without the marks of an earlier split."""
    own = marks.without_marks(metadata)
    return own if _SCALARS.issuperset(map(type, own.values())) else copy.deepcopy(own)
