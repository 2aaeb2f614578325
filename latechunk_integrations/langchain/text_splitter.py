"""`LateChunkTextSplitter`: any splitter, with chunks that know their parent."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter, TextSplitter

from latechunk_integrations.core.spans import locate
from latechunk_integrations.errors import ChunkNotFoundError, InputTypeError
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.schema import Parent

__all__ = ["LateChunkTextSplitter"]

logger = logging.getLogger(__name__)


class LateChunkTextSplitter(TextSplitter):
    """Splits with any splitter and tells the embeddings where each chunk stands.

    Args:
        embeddings: What will embed the chunks.
        splitter: A LangChain text splitter, or a function from a text to its chunks;
            default: ``RecursiveCharacterTextSplitter()``.
        header_from: Metadata that the chunks attend to without pooling it.
    """

    def __init__(
        self,
        *,
        embeddings: LateChunkEmbeddings,
        splitter: TextSplitter | Callable[[str], list[str]] | None = None,
        header_from: Iterable[str] = (),
    ) -> None:
        super().__init__()
        if not isinstance(embeddings, LateChunkEmbeddings):
            raise InputTypeError(
                f"embeddings must be LateChunkEmbeddings, not {type(embeddings).__name__}"
            )
        self._embeddings = embeddings
        self._splitter = RecursiveCharacterTextSplitter() if splitter is None else splitter
        self._header_from = tuple(header_from)

    def split_text(self, text: str) -> list[str]:
        """The chunks of one parent."""
        return [document.page_content for document in self.create_documents([text])]

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """Documents with ``start_index`` and the parent's fingerprint in their metadata."""
        chunks: list[Document] = []
        all_metadata = metadatas or [{}] * len(texts)
        for text, metadata in zip(texts, all_metadata, strict=True):
            chunks.extend(self._split_one(text, metadata))
        return chunks

    def _split_one(self, text: str, metadata: dict[Any, Any]) -> list[Document]:
        if not text.strip():
            return []
        splitter = self._splitter
        pieces = splitter.split_text(text) if isinstance(splitter, TextSplitter) else splitter(text)
        located = locate(text, pieces, overlap=self._overlap())
        found = [i for i in range(len(pieces)) if located.spans[i, 0] >= 0]
        if len(found) < len(pieces):
            self._report_missing(len(pieces) - len(found))
        header = "\n".join(str(metadata[key]) for key in self._header_from if metadata.get(key))
        parent = Parent(text, located.spans[found], header=header) if found else None
        if parent is not None:
            self._embeddings.record(parent)
        index_of = {i: index for index, i in enumerate(found)}
        chunks = []
        for i, piece in enumerate(pieces):
            document = Document(page_content=piece, metadata=copy.deepcopy(metadata))
            if parent is not None and i in index_of:
                # After construction: pydantic makes a plain str of it.
                document.page_content = ChunkText(parent, index_of[i])
                document.metadata["start_index"] = int(located.spans[i, 0])
                document.metadata["late_parent"] = parent.fingerprint
            chunks.append(document)
        return chunks

    def _overlap(self) -> int | None:
        splitter = self._splitter
        counts_chars = isinstance(splitter, TextSplitter) and splitter._length_function is len  # noqa: SLF001  # LangChain has no public way
        return splitter._chunk_overlap if counts_chars else None  # type: ignore[union-attr]  # noqa: SLF001  # as above

    def _report_missing(self, n_missing: int) -> None:
        reason = f"{n_missing} chunks do not stand in their document: the splitter changed them"
        if self._embeddings.engine.options.strict:
            raise ChunkNotFoundError(reason)
        logger.warning("%s; they will be embedded standalone", reason)
