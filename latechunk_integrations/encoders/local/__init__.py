"""Models whose weights are on this machine."""

from importlib import import_module

from latechunk_integrations.errors import MissingExtraError

try:
    for _name in ("torch", "transformers", "sentence_transformers"):
        import_module(_name)
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="local") from error
