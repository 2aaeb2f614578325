"""Folders, JSON lines and Parquet as documents."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from latechunk_integrations.bulk.corpus_files import FileSource
from latechunk_integrations.bulk.rows import Columns, CorpusDocument, Failure
from latechunk_integrations.errors import OptionError


def _parquet(path: Path, **columns: list[object]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)


def test_a_folder_of_texts_is_read_by_name_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.md").write_text("# Zwei", encoding="utf-8")
    (tmp_path / "a.txt").write_text("\ufeffone", encoding="utf-8")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe broken")
    (tmp_path / "ignored.png").write_bytes(b"\x89PNG")
    source = FileSource(tmp_path, Columns())
    first, second, third = source
    assert (first, second) == (CorpusDocument("a.txt", "one"), CorpusDocument("b/two.md", "# Zwei"))
    assert isinstance(third, Failure)
    assert (third.document_id, third.error) == ("c.txt", "UnicodeDecodeError")
    assert source.n_documents() == 3


def _undecodable(folder: Path, kind: str, text: str) -> None:
    try:
        (folder / os.fsdecode(b"caf\xe9." + kind.encode())).write_text(text, encoding="utf-8")
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")


def test_a_file_whose_name_is_no_text_is_a_dead_letter(tmp_path: Path) -> None:
    for kind in ("txt", "jsonl"):
        _undecodable(tmp_path, kind, '{"text": "without an id"}')
    failures = [each for each in FileSource(tmp_path, Columns()) if isinstance(each, Failure)]
    assert [(each.document_id, each.error) for each in failures] == [
        ("caf\\udce9.jsonl:1", "InputTypeError"),
        ("caf\\udce9.txt", "InvalidCharacterError"),
    ]


def test_json_lines_are_read_one_by_one_and_bad_ones_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    lines = [json.dumps({"id": 1, "text": "eins\u2028zwei"}, ensure_ascii=False), "", "{", "[1]"]
    path.write_text("\n".join(lines), encoding="utf-8")
    first, second, third = FileSource(path, Columns())
    assert first == CorpusDocument("1", "eins\u2028zwei")
    assert isinstance(second, Failure)
    assert isinstance(third, Failure)
    assert [second.document_id, third.document_id] == ["c.jsonl:3", "c.jsonl:4"]
    assert FileSource(path, Columns()).n_documents() is None


def test_parquet_rows_are_read_from_the_named_columns(tmp_path: Path) -> None:
    _parquet(tmp_path / "a.parquet", key=["x", None], body=["eins", "zwei"], title=["T", None])
    source = FileSource(tmp_path, Columns("body", "key", "title"))
    first, second = source
    assert first == CorpusDocument("x", "eins", "T")
    assert isinstance(second, Failure)
    assert second.document_id == "a.parquet:2"
    assert source.n_documents() == 2


def test_a_small_parquet_file_of_large_texts_is_not_unpacked_at_once(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), ["x" * (1 << 20)])
    table = pa.table({"id": list(range(256)), "text": texts})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    most = 0
    for document in FileSource(tmp_path, Columns()):
        assert isinstance(document, CorpusDocument)
        assert len(document.text) == 1 << 20
        most = max(most, pa.total_allocated_bytes())
    assert most < 32 << 20


def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path) -> None:
    _parquet(tmp_path / "a.parquet", id=["x"], body=["eins"])
    with pytest.raises(OptionError, match="no column 'text' for the text; it has id, body"):
        FileSource(tmp_path, Columns())


@pytest.mark.parametrize("name", ["absent", "empty", "file.png"])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").write_bytes(b"")
    expected = "does not exist" if name == "absent" else "no file or folder with documents"
    with pytest.raises(OptionError, match=f"{expected}.* share"):
        FileSource(tmp_path / name, Columns())


def test_what_is_longer_than_the_bound_is_a_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 101, encoding="utf-8")
    (tmp_path / "b.txt").write_text("x" * 100, encoding="utf-8")
    lines = [json.dumps({"id": name, "text": "x" * size}) for name, size in (("l", 150), ("s", 9))]
    (tmp_path / "c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    _parquet(tmp_path / "d.parquet", id=["l", "s"], text=["x" * 101, "x"])
    found = list(FileSource(tmp_path, Columns(), most_bytes=100))
    failed = {each.document_id for each in found if isinstance(each, Failure)}
    assert failed == {"a.txt", "c.jsonl:1", "l"}
    assert [each.id for each in found if isinstance(each, CorpusDocument)] == ["b.txt", "s", "s"]
    assert all("100 bytes" in each.reason for each in found if isinstance(each, Failure))
