"""The command ``latechunk``: one file for each command; parses, calls, prints."""

from latechunk_integrations.cli.command_group import app

__all__ = ["app"]
