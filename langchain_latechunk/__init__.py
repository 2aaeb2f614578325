"""The LangChain pair under the name that LangChain's package conventions ask for.

Everything is `latechunk_integrations.langchain`'s; this package holds nothing of its own.
"""

from latechunk_integrations.langchain import *  # noqa: F403  # what is exported there, no more
from latechunk_integrations.langchain import __all__ as __all__  # as above
