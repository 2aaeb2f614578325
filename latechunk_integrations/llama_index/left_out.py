"""What was left out of a call because its parent failed."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Literal, NamedTuple, TypeAlias

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo

from latechunk_integrations.errors import LateChunkError

OnError: TypeAlias = Literal["raise", "skip"]
"""What a parent that fails does: it ends the call, or costs its own nodes."""

_LINKS = (NodeRelationship.PREVIOUS, NodeRelationship.NEXT, NodeRelationship.PARENT)


class FailedParent(NamedTuple):
    """A parent without vectors.

    Args:
        parent_id: Its id.
        document_ids: The source documents whose nodes were left out with it.
        error: Why.
    """

    parent_id: str
    document_ids: tuple[str, ...]
    error: LateChunkError


def describe_failure(nodes: Sequence[BaseNode], error: LateChunkError) -> FailedParent:
    """Name the parent and the documents of nodes that have no vectors.

    Args:
        nodes: All nodes of the parent.
        error: Why; it no longer holds what was on the stack, such as a batch on a device.
    """
    documents = dict.fromkeys(node.ref_doc_id or node.node_id for node in nodes)
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
    return FailedParent(error.parent_id or next(iter(documents), ""), tuple(documents), error)


def without_nodes(nodes: Sequence[BaseNode], gone: Container[int]) -> list[BaseNode]:
    """The other nodes, in order, without links to those left out.

    Args:
        nodes: The nodes.
        gone: The ``id()`` of those left out.
    """
    kept = [node for node in nodes if id(node) not in gone]
    lost = {node.node_id for node in nodes if id(node) in gone}
    lost -= {node.node_id for node in kept}  # copies have one id
    for node in kept:
        for link in _LINKS:
            info = node.relationships.get(link)
            if isinstance(info, RelatedNodeInfo) and info.node_id in lost:
                del node.relationships[link]
        children = node.relationships.get(NodeRelationship.CHILD)
        if isinstance(children, list):
            children[:] = [info for info in children if info.node_id not in lost]
    return kept
