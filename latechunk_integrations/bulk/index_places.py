"""Source, target, checkpoint and files of a run: none of them inside another by mistake."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.checkpoint import CHECKPOINT_FILES
from latechunk_integrations.bulk.corpus_files import FileSource
from latechunk_integrations.bulk.corpus_walk import check_outside
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.rows import CorpusDocument, Failure
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.errors import OptionError


def open_source(
    source: str | Path | Iterable[CorpusDocument | Failure],
    where: Target,
    checkpoint: Path,
    settings: IndexSettings,
) -> Any:
    """The documents; without what the run itself writes.

    Raises:
        OptionError: There is nothing to read, a file to be written is in the source, or the
            source is in the target or the checkpoint.
        SourceError: The source cannot be looked at.
    """
    files = {"dead_letters": settings.dead_letters, "report": settings.report}
    for option, file in files.items():
        if file is not None and file.name in CHECKPOINT_FILES and _is_within(file, checkpoint):
            raise OptionError(f"{option} {file} is a file of the checkpoint itself: name another")
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    outputs = [checkpoint, *filter(None, [where.local_path])]
    for output in outputs:
        _check_not_within(path, output)
    for option, file in files.items():
        if file is not None and not _is_within(file, checkpoint):
            check_outside(path, file, option)
    return FileSource(
        path,
        settings.columns,
        exclude=outputs,
        follow_links=settings.follow_links,
        most_bytes=settings.most_document_bytes,
    )


def _is_within(path: Path, folder: Path) -> bool:
    real, outer = path.expanduser().resolve(), folder.expanduser().resolve()
    return real == outer or outer in real.parents


def _check_not_within(source: Path, output: Path) -> None:
    if _is_within(source, output):
        raise OptionError(
            f"the source {source} is in {output}, which the run writes to: name another target "
            "or checkpoint"
        )
