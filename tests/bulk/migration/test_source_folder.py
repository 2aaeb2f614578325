"""Files by the names that chunks' metadata have, wherever the folder was then."""

from __future__ import annotations

from pathlib import Path

import pytest

from latechunk_integrations.bulk.migration.source_folder import SourceFolder
from latechunk_integrations.errors import OptionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "en").mkdir(parents=True)
    (tmp_path / "docs" / "en" / "a.txt").write_text("English", encoding="utf-8")
    (tmp_path / "docs" / "a.txt").write_text("Top", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("Secret", encoding="utf-8")
    return tmp_path / "docs"


def test_the_beginning_that_names_share_is_taken_off(folder: Path) -> None:
    names = ["/srv/docs/en/a.txt", "/srv/docs/a.txt", "/srv/docs/de/a.txt"]
    files = SourceFolder(folder, names, 1_000)
    assert [files.read(name).text for name in names] == ["English", "Top", None]
    assert files.read(names[2]).reason == "no_source_file"  # not the one at the top


def test_windows_paths_and_plain_names_are_found(folder: Path) -> None:
    assert SourceFolder(folder, [r"C:\docs\en\a.txt"], 99).read(r"C:\docs\en\a.txt").text
    assert SourceFolder(folder, ["en/a.txt"], 99).read("en/a.txt").text == "English"


def test_nothing_outside_the_folder_is_read(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    names = ["../secret.txt", "link.txt", "a.txt"]
    files = SourceFolder(folder, names, 99)
    assert [files.read(name).text for name in names] == [None, None, "Top"]


def test_a_large_file_and_one_that_is_no_text_cost_their_own_chunks(folder: Path) -> None:
    (folder / "b.txt").write_bytes(b"\xff\xfe\xfa")
    files = SourceFolder(folder, ["a.txt", "b.txt", "en/a.txt"], 6)
    assert files.read("a.txt").text == "Top"
    assert files.read("b.txt").reason == "source_file_unreadable"
    assert files.read("en/a.txt").reason == "source_file_too_large"


def test_a_folder_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="no folder"):
        SourceFolder(folder / "a.txt", [], 99)
