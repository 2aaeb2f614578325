"""What an embed model counts, and what it says of texts that came without nodes."""

from __future__ import annotations

TEXTS_WITHOUT_NODES = (
    "texts came without nodes, as from an index that was given embed_model= alone: they "
    "have no parent and are embedded standalone. For an index add one argument, "
    "transformations=[LateChunkNodeParser(embed_model=embed_model)], to from_documents, "
    "from_vector_store or load_index_from_storage, or call late_chunking(..., settings=True) "
    "once; give embed_model.plain() to components whose texts have no parent, such as selectors"
)

COUNTERS = (
    *("parents", "chunks", "windows", "standalone_chunks", "cached_parents"),
    *("skipped_parents", "failed_parents"),
    *("standalone_texts", "sourceless_nodes", "nodes_without_parent_key", "documents_of_one_id"),
    "files_by_page",
    *("incomplete_parents", "rewritten_parents"),
    *("foreign_vectors_replaced", "changed_vectors_replaced"),
)
