"""The LangChain pair.

`langchain_core` and `langchain_text_splitters` inside these modules are the framework; this
package is `latechunk_integrations.langchain`.
"""

try:
    import langchain_core  # noqa: F401
    import langchain_text_splitters  # noqa: F401
except ImportError as error:
    from latechunk_integrations.errors import MissingExtraError

    raise MissingExtraError("langchain_core", extra="langchain") from error

from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.text_splitter import LateChunkTextSplitter

__all__ = ["LateChunkEmbeddings", "LateChunkTextSplitter"]
