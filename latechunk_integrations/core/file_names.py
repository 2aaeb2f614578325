"""File names as titles: made readable, or recognised as saying nothing."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

# What word processors, scanners and loaders write where nobody gave a title.
_JUNK = re.compile(
    r"(?:microsoft (?:word|powerpoint|excel)\b.*"
    r"|(?:powerpoint|word) .{0,20}(?:presentation|document)"
    r"|.{1,100}\.(?:docx?|pdf|pptx?|xlsx?|odt|rtf|indd|qxd|tex|dvi|eps|ps|txt|html?|md)"
    r"|untitled.{0,20}"
    r"|(?:unknown|none|null|n/?a|no title|title|new|blank|slide|scan(?:ned)?|img|image"
    r"|(?:document|doc|file|page|presentation|text|chunk|output|home ?page|index))[ _()-]*\d*"
    r"|https?://\S+|[A-Z]{2,6}[-_]?\d{4,}|[\W\d_]*)",
    re.IGNORECASE,
)
_HASH = re.compile(
    r"tmp\w{6,}|(?=\w*\d)[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)


def is_junk_title(title: str) -> bool:
    """Whether a title says nothing: what programs write where nobody gave one, an identifier."""
    return bool(_JUNK.fullmatch(title) or _HASH.fullmatch(title)) or len(title) == 1


# Names that say nothing without the folder that they lie in, and those that say nothing at all.
_VAGUE = re.compile(
    r"main|base|utils?|types|config|mod|lib|tests?|content|docs?|document|file|data|output|text|src",
    re.IGNORECASE,
)
_SILENT = re.compile(r"index|readme|init|default|page|untitled", re.IGNORECASE)
_COPY = re.compile(r"\s*\(\d{1,3}\)$|\s*-\s*copy$", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?=\w*[a-zA-Z])\w{1,8}$")
_MAX_NAME = 2_000


def readable_name(name: str, *, sure: bool) -> str:
    """A file's name, path or address as words: its last part that says something.

    Args:
        name: Such as ``docs/annual-report_2024.pdf`` or an address.
        sure: Whether it is one. Otherwise only with a slash or a suffix.

    Returns:
        Such as ``annual report 2024``; empty when it says nothing.
    """
    name = name.strip()
    if len(name) > _MAX_NAME or not (sure or "/" in name or "\\" in name or _SUFFIX.search(name)):
        return ""
    host = ""
    if "://" in name:
        try:
            address = urlsplit(name)
        except ValueError:
            return ""
        name = unquote(address.path)
        host = "" if address.scheme == "file" else address.netloc.rpartition("@")[2]
    parts = [part for part in re.split(r"[/\\]+", name) if part.strip(".")]
    return _say(parts) or host.removeprefix("www.")


def _say(parts: list[str]) -> str:
    """The last part, with the folders before it as long as it is vague without them."""
    said: list[str] = []
    for part in reversed(parts[-3:]):
        words = _split_name(part)
        if _SILENT.fullmatch(words):
            continue
        vague = _VAGUE.fullmatch(words)
        if not words or (is_junk_title(words) and not vague):
            break
        said.insert(0, words)
        if not vague:
            return " ".join(said)
    return ""


def _split_name(part: str) -> str:
    stem = _COPY.sub("", _SUFFIX.sub("", part))
    return "" if _HASH.fullmatch(stem) else " ".join(re.split(r"[\s_\-+.]+", stem)).strip()


def last_part(name: str) -> str:
    """A path or address without its folders, query and fragment."""
    if "://" in name:
        name = re.split(r"[?#]", name, maxsplit=1)[0]
    return re.split(r"[/\\]", name)[-1]


def cut_words(said: str, most: int) -> str:
    """A text of bounded length, cut between words where there are any."""
    if len(said) <= most:
        return said
    return said[: most + 1].rpartition(" ")[0] or said[:most]
