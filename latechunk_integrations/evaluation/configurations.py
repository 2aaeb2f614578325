"""The configurations that a comparison runs, by names that a reader understands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

from latechunk_integrations.evaluation.results import ENGINE_OPTIONS, Configuration, HeaderUse
from latechunk_integrations.options import LateChunkOptions, Layout

BASELINE = "early"
"""Name of plain early chunking, the opponent unless another is named."""

YOURS = "your options"
"""Name of the configuration that a file of options describes."""

_DEFAULTS = LateChunkOptions(model="any")


def name_configuration(configuration: Configuration) -> str:
    """A name in words; two configurations that differ have two names."""
    weight = configuration.context_weight
    text = configuration.layout == "text"
    if not weight:
        parts = [BASELINE]
    elif weight < 1:
        parts = [f"blend of {weight:.0%} late and {1 - weight:.0%} early"]
    else:
        parts = ["textbook late" if text and configuration.focus == 0 else "late"]
    headers = {
        "none": [] if text else ["no title"],
        "prepended": ["title prepended"],
        "attended": ["title read along"],
        "auto": ["title and headings read along"] if text or not weight else [],
    }
    parts += headers[configuration.header] if weight or configuration.header != "none" else []
    if weight:
        parts += _name_options(configuration)
    if configuration.header_weight:
        parts.append(f"{configuration.header_weight:g} of the title's vector")
    if configuration.sub_span_tokens:
        parts.append(f"sub-spans of {configuration.sub_span_tokens} tokens")
    return ", ".join(parts)


def _name_options(configuration: Configuration) -> list[str]:
    parts = []
    if configuration.layout == "text" and configuration.focus != 0:
        parts.append("running text")
    if configuration.focus != "auto" and (configuration.focus or configuration.layout != "text"):
        parts.append(f"focus {configuration.focus:g}")
    if configuration.header_focus != "auto":
        parts.append(f"header focus {configuration.header_focus:g}")
    if configuration.overlap_tokens is not None:
        parts.append(f"windows overlap by {configuration.overlap_tokens}")
    if not configuration.pool_edges:
        parts.append("edges not pooled")
    return parts


def describe(configuration: Configuration) -> str:
    """What a configuration does, in words that explain its name."""
    weight = configuration.context_weight
    if not weight:
        parts = ["each chunk is read alone"]
    elif weight < 1:
        parts = [f"{weight:.0%} of the late vector, {1 - weight:.0%} of the early one"]
    elif configuration.layout == "text":
        whole = "the document is read in one go, and each chunk's vector averages its own words"
        parts = [whole]
    else:
        parts = ["whole chunks are read together with their neighbours"]
    parts += {
        "none": [],
        "prepended": ["the title is in front of each chunk's text"],
        "attended": ["the title is read along"],
        "auto": ["the title and the headings above the chunk are read along"],
    }[configuration.header]
    if weight and configuration.focus:
        how = "" if configuration.focus == "auto" else f" (focus {configuration.focus:g})"
        parts.append(f"a chunk attends to its own words more than its neighbours'{how}")
    if configuration.header_weight:
        parts.append(f"{configuration.header_weight:g} of the title's own vector is added")
    if configuration.sub_span_tokens:
        parts.append(
            f"each part of about {configuration.sub_span_tokens} tokens has a vector of its own, "
            "and a chunk counts as its best part"
        )
    return ", ".join(parts)


def configuration_of(
    options: LateChunkOptions, header: HeaderUse = "auto", name: str = YOURS
) -> Configuration:
    """The configuration that an engine's options describe."""
    given = {option: getattr(options, option) for option in ENGINE_OPTIONS}
    return Configuration(name=name, header=header, **given)


def make_configurations(
    focuses: Sequence[float | Literal["auto"]] = ("auto",),
    layouts: Sequence[Layout] = ("auto",),
    headers: Sequence[HeaderUse] = ("auto",),
    context_weights: Sequence[float] = (1.0,),
    sub_spans: Sequence[int | None] = (None,),
) -> list[Configuration]:
    """Every combination, each with its name; late chunking with the engine's other defaults.

    An infinite focus is the chunk alone, in the layout of units, so it is named early chunking.
    """
    made: dict[str, Configuration] = {}
    combined = product(context_weights, layouts, focuses, headers, sub_spans)
    for weight, layout, focus, header, parts in combined:
        plain = replace(LATE, context_weight=weight, layout=layout, focus=focus, header=header)
        if not weight or focus == math.inf or header == "prepended":
            plain = Configuration(name="", header=header)
        plain = replace(plain, sub_span_tokens=parts)
        named = replace(plain, name=name_configuration(plain))
        made[named.name] = LATE if replace(named, name=LATE.name) == LATE else named
    return list(made.values())


def drop_repeated(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Without those that do what one before them does, whatever their names."""
    kept: dict[Configuration, Configuration] = {}
    for each in configurations:
        kept.setdefault(replace(each, name=""), each)
    return list({each.name: each for each in kept.values()}.values())


LATE = configuration_of(_DEFAULTS, name="late (default)")
"""What an engine does unless told otherwise, with the header that both adapters give."""

EARLY_PREPENDED = Configuration(name="early, title prepended", header="prepended")
"""What LlamaIndex does with a title among a document's metadata."""

EARLY_TITLED = Configuration(name="early, title and headings read along", header="auto")
"""The opponent that costs the same as ours: each chunk alone with the header, not pooled."""

TEXTBOOK = Configuration(name="textbook late", context_weight=1.0)

DEFAULT = (Configuration(name=BASELINE), EARLY_PREPENDED, EARLY_TITLED, TEXTBOOK, LATE)
"""Early chunking as users have it, early at its best, the textbook's late chunking, ours."""

ALL = (
    *DEFAULT,
    replace(LATE, name="late, no title", header="none"),
    replace(LATE, name="late, title read along", header="attended"),
    replace(LATE, name="late, focus 1", focus=1.0),
    replace(LATE, name="late, focus 2", focus=2.0),
    replace(LATE, name="late, focus 3", focus=3.0),
    replace(LATE, name="late on running text", layout="text"),
    replace(EARLY_TITLED, name=f"{EARLY_TITLED.name}, sub-spans of 32 tokens", sub_span_tokens=32),
    replace(LATE, name="late, sub-spans of 32 tokens", sub_span_tokens=32),
    Configuration(
        name="blend of 70% late and 30% early",
        context_weight=0.7,
        header="attended",
        pool_edges=False,
    ),
)
"""The same, and what single options change. Each has a pass of its own."""
