"""Documents cut into nodes, and nodes that wait for their document to be asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from llama_index.core.schema import BaseNode

from latechunk_integrations.llama_index.sources import SourceGroup

_MOST_GROUPS = 8


@dataclass
class Piece:
    """What is cut at once: a document or a section.

    Args:
        node: Its text and metadata.
        name: The id of the parent that it is.
        start: Where it begins in the source, in code points; None: not known.
        nodes: Its chunks.
    """

    node: BaseNode
    name: str
    start: int | None
    nodes: list[BaseNode]


@dataclass
class SplitDocument:
    """A document and its chunks.

    Args:
        document: What was cut.
        pieces: Its pieces, in reading order.
    """

    document: BaseNode
    pieces: list[Piece]

    @property
    def nodes(self) -> list[BaseNode]:
        """All of its chunks."""
        return [node for piece in self.pieces for node in piece.nodes]

    def replace(self, nodes: Iterator[BaseNode]) -> None:
        """Take the next of other objects for the same nodes."""
        for piece in self.pieces:
            piece.nodes = [next(nodes) for _ in piece.nodes]


class WaitingNodes:
    """Embedded nodes of documents that were not asked for yet.

    A refresh brings the documents of one parent one by one. The first embeds the whole parent,
    and what belongs to the others waits for them here, bounded and in this process only.
    """

    def __init__(self) -> None:
        # By digest and position, with the hash of the document that they were cut from.
        self._groups: OrderedDict[str, dict[int, tuple[str, list[BaseNode]]]] = OrderedDict()
        self._seen: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, object]) -> WaitingNodes:
        """A copy waits for documents of its own."""
        return WaitingNodes()

    def take(self, group: SourceGroup) -> dict[int, list[BaseNode]] | None:
        """The nodes of the documents present, by position; each is given out once.

        None where not all of them wait, or one has other metadata by now.
        """
        with self._lock:
            held = self._groups.get(group.digest, {})
            for row in group.present:
                if row not in held or held[row][0] != group.documents[row].hash:
                    return None
            return {row: held.pop(row)[1] for row in group.present}

    def keep(self, group: SourceGroup, nodes: list[list[BaseNode]]) -> None:
        """Keep the nodes of documents that were not present; the oldest groups make room."""
        absent = {
            row: (group.documents[row].hash, nodes[row])
            for row in range(len(nodes))
            if row not in group.present
        }
        if not absent:
            return
        with self._lock:
            self._groups[group.digest] = absent
            self._groups.move_to_end(group.digest)
            while len(self._groups) > _MOST_GROUPS:
                self._groups.popitem(last=False)

    def n_known_absent(self, group: SourceGroup) -> int:
        """How many documents of an earlier call belong to a parent and are missing now."""
        alone = len(group.documents) == 1 and group.name not in self._seen
        if group.digest or alone:
            return 0
        ids = frozenset(document.node_id for document in group.documents)
        with self._lock:
            before = self._seen.get(group.name, ids)
            if not ids < before:
                self._seen[group.name] = ids
        return len(before - ids) if ids < before else 0
