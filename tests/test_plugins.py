"""Encoders, splitters and writers of other packages: by entry point or ``module:name``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.errors import MissingExtraError, OptionError
from latechunk_integrations.plugins import ENCODERS, SPLITTERS, WRITERS, PluginKind
from latechunk_integrations.splitting import text_splitter
from tests.evaluation.word_encoder import WordEncoder

HERE = "tests.test_plugins"


class OwnEncoder(WordEncoder):
    """An encoder of a user's."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> OwnEncoder:
        return cls(context=float(options.model))


class Unfinished:
    """An encoder that lacks nearly everything."""

    max_tokens = 8

    @classmethod
    def load(cls, options: LateChunkOptions) -> Unfinished:
        del options
        return cls()


class UnfinishedService(Unfinished):
    """One of chunks."""

    def submit(self) -> None:
        """Nothing."""


class OwnWriter:
    """Notes what it was opened with."""

    def __init__(self, place: str, collection: str, dimensions: int) -> None:
        self.opened = (place, collection, dimensions)


def cut_in_two(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that lists one plugin of each kind, as pip leaves it."""
    folder = tmp_path / "latechunk_more-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: latechunk-more\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        f"""
[latechunk_integrations.encoders]
words = {HERE}:OwnEncoder
broken = {HERE}_nowhere:Encoder
[latechunk_integrations.splitters]
halves = {HERE}:cut_in_two
[latechunk_integrations.writers]
notes = {HERE}:OwnWriter
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [f"{HERE}:OwnEncoder", "words"])
def test_an_encoder_of_another_package_is_an_option_like_any_other(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "latechunk.yaml"
    file.write_text(f"model: '0.25'\nencoder: '{name}'\n")
    engine = LateChunkEngine.from_config(file)
    wanted = LateChunkEngine(WordEncoder(context=0.25), engine.options)
    parent = Parent("one supplier delivers", [(0, 3), (4, 21)])
    assert engine.embed([parent])[0].vectors.tolist() == wanted.embed([parent])[0].vectors.tolist()
    assert engine.fingerprint == wanted.fingerprint
    assert f"through {name}" in str(engine.describe())


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [f"{HERE}:cut_in_two", "halves"])
def test_a_splitter_of_another_package_cuts(name: str) -> None:
    assert text_splitter(name, None, WordEncoder())("abcd") == ["ab", "cd"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [f"{HERE}:OwnWriter", "notes"])
def test_a_writer_of_another_package_is_a_target(name: str) -> None:
    writer: Any = Target.parse(f"{name}:http://host:1#table").open(3, "run")
    assert writer.opened == ("http://host:1", "table", 3)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("kind", "near", "wanted"),
    [
        (ENCODERS, "lcoal", "local"),
        (SPLITTERS, "recursiv", "recursive"),
        (WRITERS, "nots", "notes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_name_gets_the_list_and_the_nearest(
    kind: PluginKind, near: str, wanted: str
) -> None:
    with pytest.raises(OptionError, match=f"did you mean '{wanted}'") as caught:
        kind.find(near)
    assert all(repr(name) in str(caught.value) for name in kind.names())
    assert "'module:name'" in str(caught.value)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "name", ["broken", f"{HERE}:Nothing", f"{HERE}_nowhere:Encoder", ":Encoder", "tests:"]
)
def test_what_cannot_be_imported_is_an_error_of_options(name: str) -> None:
    with pytest.raises(OptionError, match="cannot be imported"):
        LateChunkEngine.from_pretrained("m", encoder=name)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("Unfinished", "TokenEncoder: it lacks batch_tokens, close, "),
     ("UnfinishedService", "ChunkEncoder: it lacks close, "),
     ("cut_in_two", r"no load\(options\)")],
)  # fmt: skip
def test_an_encoder_that_lacks_members_is_told_which(name: str, lacking: str) -> None:
    with pytest.raises(OptionError, match=lacking):
        LateChunkEngine.from_pretrained("m", encoder=f"{HERE}:{name}")


def test_an_engine_is_built_from_an_encoder_only() -> None:
    nothing: Any = Unfinished()
    with pytest.raises(OptionError, match="standalone_pooling"):
        LateChunkEngine(nothing, LateChunkOptions(model="m"))


def test_a_missing_extra_is_no_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Any:
        raise MissingExtraError(path, extra="servers")

    monkeypatch.setattr("latechunk_integrations.plugins.import_module", refuse)
    for name in ("tei", f"{HERE}:OwnEncoder"):
        with pytest.raises(MissingExtraError):
            ENCODERS.find(name)


@pytest.mark.parametrize("encoder", ["", None, 3])
def test_an_encoder_is_named_by_a_string(encoder: Any) -> None:
    with pytest.raises(OptionError, match="encoder must be"):
        LateChunkOptions(model="m", encoder=encoder)
