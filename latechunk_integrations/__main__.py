"""``python -m latechunk_integrations``: the same as the command ``latechunk``."""

from latechunk_integrations.cli import app

if __name__ == "__main__":
    app(prog_name="latechunk")
