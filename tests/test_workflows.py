"""Workflows take actions by hash, have few permissions and call what exists; releases agree."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_permissions_are_least(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for used in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used), used
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    called = set(re.findall(r"make ([a-z][a-z-]+)", path.read_text(encoding="utf-8")))
    for job in content["jobs"].values():
        called |= set(job.get("strategy", {}).get("matrix", {}).get("target", []))
    assert called <= targets


@pytest.mark.parametrize(
    ("tag", "heading", "mistake"),
    [
        ("v1.2.0", "## [1.2.0] - 2026-11-27", None),
        ("v1.2.1", "## [1.2.0] - 2026-11-27", "the package's version 1.2.0"),
        ("v1.2.0", "## [Unreleased]", "has no part"),
    ],
)
def test_a_release_agrees_with_version_and_changelog(
    tmp_path: Path, tag: str, heading: str, mistake: str | None
) -> None:
    spec = importlib.util.spec_from_file_location("check", ROOT / ".ci" / "check_release.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    (tmp_path / "latechunk_integrations").mkdir()
    (tmp_path / "latechunk_integrations" / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    found = check.find_mistake(tag, tmp_path)
    assert (found is None) if mistake is None else (mistake in found)
