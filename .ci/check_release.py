"""A release's tag, the package's version and the changelog name the same version.

Usage: ``python .ci/check_release.py v0.1.0``
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def find_mistake(tag: str, root: Path = ROOT) -> str | None:
    """What does not agree with the tag, or None."""
    source = (root / "latechunk_integrations" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"', source, re.MULTILINE)[0]
    if tag != f"v{version}":
        return f"the tag is {tag}, the package's version {version}: set __version__ first"
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        return f"CHANGELOG.md has no part '## [{version}] - YYYY-MM-DD': rename [Unreleased]"
    return None


if __name__ == "__main__":
    sys.exit(find_mistake(sys.argv[1]))
