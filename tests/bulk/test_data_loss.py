"""What operators do to a corpus must never empty its index."""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from latechunk_integrations.bulk import IndexSummary, index
from latechunk_integrations.bulk.rows import CorpusDocument
from latechunk_integrations.errors import CheckpointError, OptionError, SourceError
from tests.bulk import support
from tests.bulk.support import documents, read, target
from tests.prepared import Finished, Prepared, run_command

pytestmark = pytest.mark.slow  # each indexes several times

NOBODY = 65_534
N_FILES = 12


class Corpus:
    """Twelve text files, a target and a checkpoint."""

    def __init__(self, folder: Path, model: Path, kind: str = "jsonl") -> None:
        self.folder, self.model, self.kind = folder, model, kind
        self.source = folder / "source"
        (self.source / "deep").mkdir(parents=True)
        for number in range(N_FILES):
            self.file(number).write_text(f"Text number {number}, as it was.", encoding="utf-8")

    def file(self, number: int) -> Path:
        return self.source / ("deep" if number % 2 else "") / f"{number}.txt"

    def index(self, **more: Any) -> IndexSummary:
        return index(
            self.source,
            target(self.kind, self.folder),
            support.options(self.model),
            self.folder / "checkpoint",
            support.settings(**more),
        )

    def held(self) -> set[str]:
        """The documents in the target."""
        return {row["document_id"] for row in read(self.kind, self.folder).values()}

    def letters(self) -> dict[str, str]:
        lines = (self.folder / "checkpoint" / "dead-letters.jsonl").read_bytes().splitlines()
        return {each["id"]: each["error"] for each in map(json.loads, lines)}


@pytest.fixture
def corpus(tmp_path: Path, tiny_model_path: Path) -> Corpus:
    return Corpus(tmp_path, tiny_model_path)


@pytest.fixture(params=["jsonl", "qdrant"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, tiny_model_path: Path) -> Corpus:
    return Corpus(tmp_path, tiny_model_path, request.param)


def _failing_open(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Reading a file of this name fails as a sick disk or share does."""
    opened = io.open

    def fail(file: Any, *args: Any, **more: Any) -> Any:
        if str(file).endswith(name):
            raise OSError(number, os.strerror(number), str(file))
        return opened(file, *args, **more)

    monkeypatch.setattr(io, "open", fail)


def _failing_scandir(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    scan = os.scandir

    def fail(path: Any = ".") -> Any:
        if str(path).endswith(name):
            raise OSError(number, os.strerror(number), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)


_SICK = [errno.EACCES, errno.EIO, errno.ESTALE, errno.EHOSTDOWN]


@pytest.mark.parametrize("number", _SICK)
def test_a_file_that_cannot_be_read_keeps_its_rows_and_is_tried_again(
    stored: Corpus, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stored.index()
    before = read(stored.kind, stored.folder)
    with monkeypatch.context() as patch:
        _failing_open(patch, "4.txt", number)
        summary = stored.index(prune=True)
    assert (summary.n_failed, summary.n_retried, summary.n_removed) == (1, 1, 0)
    assert list(stored.letters()) == ["4.txt"]
    assert read(stored.kind, stored.folder) == before
    summary = stored.index()
    assert (summary.n_failed, summary.n_unchanged) == (0, N_FILES)
    assert stored.letters() == {}


def test_a_file_that_changed_while_it_could_not_be_read_is_embedded_afterwards(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.index()
    corpus.file(4).write_text("Another text.", encoding="utf-8")
    with monkeypatch.context() as patch:
        _failing_open(patch, "4.txt", errno.EIO)
        corpus.index()
    assert corpus.index().n_documents == 1
    texts = {row["text"] for row in read("jsonl", corpus.folder).values()}
    assert "Another text." in texts


@pytest.mark.parametrize("number", _SICK)
def test_a_folder_that_cannot_be_walked_forbids_every_removal(
    stored: Corpus, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stored.index()
    stored.file(0).unlink()
    _failing_scandir(monkeypatch, "deep", number)
    summary = stored.index(prune=True, prune_at_most=1)
    assert summary.n_removed == 0
    assert "'deep'" in summary.removal_refused
    assert list(stored.letters()) == ["deep"]
    assert len(stored.held()) == N_FILES


def test_a_source_that_cannot_be_walked_at_all_ends_the_run(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.index()
    _failing_scandir(monkeypatch, "source", errno.EACCES)
    with pytest.raises(SourceError, match=r"source cannot be read: Permission denied"):
        corpus.index(prune=True, prune_at_most=1)
    assert len(corpus.held()) == N_FILES


@pytest.mark.parametrize("how", ["empty", "gone"])
def test_an_unmounted_source_removes_nothing(corpus: Corpus, how: str) -> None:
    corpus.index()
    corpus.source.rename(corpus.folder / "elsewhere")
    if how == "empty":
        corpus.source.mkdir()
    with pytest.raises(OptionError, match="mounted"):
        corpus.index(prune=True, prune_at_most=1)
    assert len(corpus.held()) == N_FILES


def test_more_than_a_tenth_is_only_removed_when_asked_for(stored: Corpus) -> None:
    stored.index()
    for number in (1, 3):
        stored.file(number).unlink()
    summary = stored.index(prune=True)
    assert summary.n_removed == 0
    assert "2 of 12 documents" in summary.removal_refused
    assert "--prune-at-most 0.17" in summary.removal_refused
    assert len(stored.held()) == N_FILES
    assert stored.index(prune=True, prune_at_most=0.17).n_removed == 2
    assert len(stored.held()) == N_FILES - 2
    stored.file(5).unlink()  # one of ten is a tenth
    assert stored.index(prune=True).n_removed == 1


def test_a_line_that_is_no_json_forbids_removal_for_nobody_knows_whose_it_is(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    corpus = Corpus(tmp_path, tiny_model_path)
    lines = [json.dumps({"id": f"line-{n}", "text": f"Line {n}."}) for n in range(20)]
    file = corpus.source / "lines.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    corpus.index()
    lines[7] = lines[7][:-3]
    file.write_text("\n".join(lines), encoding="utf-8")
    summary = corpus.index(prune=True)
    assert "'lines.jsonl:8'" in summary.removal_refused
    assert "line-7" in corpus.held()


@pytest.mark.parametrize("damage", ["empty", "garbage", "page"])
def test_a_damaged_parquet_source_is_named_and_the_others_are_read(
    corpus: Corpus, damage: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": [f"row-{n}" for n in range(30)], "text": ["Some words."] * 30})
    file = corpus.source / "a.parquet"
    pq.write_table(table, file, row_group_size=10, compression="none", use_dictionary=False)
    corpus.index()
    content = file.read_bytes()
    place = pq.ParquetFile(file).metadata.row_group(1).column(1).data_page_offset
    broken = content[:place] + b"\xff" * 40 + content[place + 40 :]
    file.write_bytes({"empty": b"", "garbage": b"no table", "page": broken}[damage])
    summary = corpus.index(prune=True, prune_at_most=1)
    (letter,) = corpus.letters()
    assert letter == ("a.parquet:11-20" if damage == "page" else "a.parquet")
    assert (summary.n_retried, summary.n_removed) == (1, 0)
    assert len(corpus.held()) == N_FILES + 30
    assert corpus.index().n_unchanged == N_FILES + (20 if damage == "page" else 0)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("what", ["source", "source/deep", "source/4.txt"])
def test_another_user_who_may_not_read_removes_nothing(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path, what: str
) -> None:
    """The command as an unprivileged process, over what its owner has closed."""
    folder = _open_to_all(tmp_path_factory.mktemp("shared"))
    model = _copy_for_all(tiny_model_path, folder / "model")
    corpus = Corpus(folder, model)
    corpus.index()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    closed = folder / what
    os.chown(closed, 0, 0)
    closed.chmod(0)
    try:
        finished = _run_as_nobody(corpus)
    finally:
        closed.chmod(0o755)
    said = finished.stdout + finished.stderr
    assert finished.returncode == {"source": 3, "source/deep": 4, "source/4.txt": 1}[what], said
    assert "Permission denied" in said or what.rpartition("/")[2] in corpus.letters()
    assert len(corpus.held()) == N_FILES


def _run_as_nobody(corpus: Corpus) -> Finished:
    arguments = [
        *("index", str(corpus.source), "--to", target("jsonl", corpus.folder)),
        *("--checkpoint", str(corpus.folder / "checkpoint"), "--model", str(corpus.model)),
        *("-o", "dtype=float32", "-o", "device=cpu", "--splitter", support.SPLITTER),
        *("--prune", "--quiet"),
    ]
    return Prepared(corpus.folder, _run_without_rights, corpus.folder, arguments).finish()


def _run_without_rights(home: Path, arguments: list[str]) -> None:
    # Imported before the rights go: what is installed may be readable to its owner alone.
    for name in ("encodings.utf_8_sig", "filelock"):
        importlib.import_module(name)
    os.environ.update(HOME=str(home), HF_HOME=str(home / "hub"))
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    run_command(*arguments)


def _open_to_all(folder: Path) -> Path:
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    return folder


def _copy_for_all(model: Path, copied: Path) -> Path:
    import shutil

    shutil.copytree(model, copied)
    return copied


# --- ours and foreign --------------------------------------------------------------------


@pytest.mark.parametrize("place", ["source/c.jsonl", "source/new.jsonl", "source/deep/c.txt"])
def test_dead_letters_in_the_source_are_refused(corpus: Corpus, place: str) -> None:
    (corpus.source / "c.jsonl").write_text('{"id": 1, "text": "Kept."}\n', encoding="utf-8")
    before = {path: path.read_bytes() for path in corpus.source.rglob("*.*")}
    for option in ("dead_letters", "report"):
        with pytest.raises(OptionError, match=f"{option} .* is in the source"):
            corpus.index(**{option: corpus.folder / place})
    assert {path: path.read_bytes() for path in corpus.source.rglob("*.*")} == before


def test_a_source_that_is_one_file_is_not_written_over(corpus: Corpus) -> None:
    file = corpus.folder / "c.jsonl"
    file.write_text('{"id": 1, "text": "Kept."}\n', encoding="utf-8")
    corpus.source = file
    with pytest.raises(OptionError, match="is in the source"):
        corpus.index(dead_letters=file)


@pytest.mark.parametrize("content", ["notes of mine", '{"id": 1}\n', "[]\n", "\xff"])
def test_a_foreign_file_is_never_overwritten(corpus: Corpus, content: str) -> None:
    foreign = corpus.folder / "notes.jsonl"
    foreign.write_text(content, encoding="latin-1")
    for option in ("dead_letters", "report"):
        with pytest.raises(OptionError, match="would be replaced"):
            corpus.index(**{option: foreign})
    assert foreign.read_text("latin-1") == content


@pytest.mark.parametrize("name", ["run.json", "finished.jsonl"])
@pytest.mark.parametrize("restart", [True, False])
def test_a_foreign_file_in_the_place_of_a_checkpoint_is_not_taken_for_one(
    corpus: Corpus, name: str, *, restart: bool
) -> None:
    folder = corpus.folder / "checkpoint"
    folder.mkdir()
    (folder / name).write_text('{"my": "settings"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="another folder"):
        corpus.index(restart=restart)
    assert (folder / name).read_text("utf-8") == '{"my": "settings"}'


def test_target_and_checkpoint_inside_the_source_are_not_read_back(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    corpus = Corpus(tmp_path, tiny_model_path)
    corpus.folder = corpus.source  # rows.jsonl and checkpoint go into it
    for _ in range(2):
        summary = corpus.index()
        assert len(corpus.held()) == N_FILES
    assert summary.n_unchanged == N_FILES
    assert {path.name for path in summary.left_out} == {"rows.jsonl", "checkpoint"}


def test_a_source_that_is_the_target_is_refused(corpus: Corpus) -> None:
    corpus.index()
    corpus.source = corpus.folder / "rows.jsonl"
    with pytest.raises(OptionError, match="which the run writes to"):
        corpus.index()


def test_links_out_of_the_source_are_followed_with_a_flag_only(corpus: Corpus) -> None:
    outside = corpus.folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("A secret.", encoding="utf-8")
    (corpus.source / "file.txt").symlink_to(outside / "secret.txt")
    (corpus.source / "folder").symlink_to(outside)
    (corpus.source / "loop").symlink_to(corpus.source)
    (corpus.source / "again.txt").symlink_to(corpus.file(0))
    summary = corpus.index()
    assert corpus.held() == {*_names(corpus), "again.txt"}
    assert {path.name for path in summary.left_out} == {"file.txt", "folder", "loop"}
    corpus.index(follow_links=True)
    assert corpus.held() == {*_names(corpus), "again.txt", "file.txt", "folder/secret.txt"}


def _names(corpus: Corpus) -> Iterator[str]:
    return (corpus.file(n).relative_to(corpus.source).as_posix() for n in range(N_FILES))


def test_two_names_that_are_no_text_do_not_share_an_id(corpus: Corpus) -> None:
    try:
        for name in (b"\xe9.txt", b"\xea.txt", b"\xe9.jsonl", b"\xea.jsonl"):
            (corpus.source / os.fsdecode(name)).write_text("no JSON", encoding="utf-8")
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")
    for _ in range(2):
        summary = corpus.index()
        assert (summary.n_failed, len(corpus.letters())) == (4, 4)


# --- parts -------------------------------------------------------------------------------------


def _truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-30])


def _empty(part: Path) -> None:
    part.write_bytes(b"")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("damage", [_truncate, _empty, Path.unlink])
def test_a_part_that_is_not_what_was_written_is_noticed(
    tmp_path: Path, tiny_model_path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    corpus = Corpus(tmp_path, tiny_model_path, kind)
    corpus.index()
    part = min((tmp_path / f"rows.{kind}").glob("part-*"))
    damage(part)
    with pytest.raises(CheckpointError, match=rf"{part.name}.* latechunk repair"):
        corpus.index()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_death_between_the_announcement_and_the_replacement_of_a_part_harms_nothing(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    corpus = Corpus(tmp_path, tiny_model_path, kind)
    corpus.index()
    corpus.file(3).write_text("Other words.", encoding="utf-8")
    replace = Path.replace

    def die(self: Path, to: Path) -> Path:
        if to.name.startswith("part-") and to.exists():
            raise KeyboardInterrupt
        return replace(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            corpus.index()
    corpus.index()
    assert {row["text"] for row in read(kind, tmp_path).values() if "Other" in row["text"]} == {
        "Other words."
    }
    assert len(corpus.held()) == N_FILES


def test_documents_handed_over_by_a_program_are_guarded_too(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    def go(corpus: list[CorpusDocument]) -> IndexSummary:
        return index(
            corpus,
            target("jsonl", tmp_path),
            support.options(tiny_model_path),
            tmp_path / "checkpoint",
            support.settings(prune=True),
        )

    go(documents(5))
    assert "5 of 5 documents" in go([]).removal_refused
