"""Figures draw what they are given, whatever the texts hold, and are files where asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from latechunk_integrations.evaluation.inspection import ChunkView, Inspection
from latechunk_integrations.evaluation.plots import (
    Theme,
    chunk_bars,
    gains,
    heat_map,
    recall_curves,
    save_plots,
    sentence_bars,
)
from latechunk_integrations.evaluation.similarity import Similarities
from tests.evaluation.support import comparison

THEMES = get_args(Theme)


def similarities(*queries: str, relevant: bool = False) -> Similarities:
    """A query a row against three chunks."""
    early = np.linspace(0, 1, 3 * len(queries), dtype=np.float32).reshape(-1, 3)
    return Similarities(
        queries=queries,
        chunks=("One.", "Costs $5 & $7 <b>.", "Three " * 40),
        early=early,
        late=early[:, ::-1] + 0.5,
        modes=("late", "late", "late"),
        relevant=early > 0.6 if relevant else None,
    )


def inspection(*scores: tuple[float, float]) -> Inspection:
    """A document whose chunks have these similarities, early and late."""
    chunks = tuple(
        ChunkView(n * 10, n * 10 + 10, f"chunk {n}", 3, (0,), "late", early, late)
        for n, (early, late) in enumerate(scores)
    )
    return Inspection("doc", "", 0, "", 30, 64, (), chunks, "a query")


def _lines(axes: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


@pytest.mark.parametrize("theme", THEMES)
def test_recall_curves_hold_the_measured_values(theme: Theme) -> None:
    made = comparison([2, 2, 1, 4], [1, 1, 1, 2], sizes=(64, 128))
    for where in ("corpus", "document"):
        (axes,) = recall_curves(made, results=made.results[2:], where=where, theme=theme).axes
        assert _lines(axes)["late, 128 tokens"] == pytest.approx([87.5, 92.5])
        assert _lines(axes)["early, 128 tokens"] == pytest.approx([56.25, 71.25])
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5"]


def test_chosen_configurations_alone_are_drawn() -> None:
    made = comparison([2, 2, 1, 4], [1, 1, 1, 2])
    (axes,) = recall_curves(made, results=made.results[1:]).axes
    assert set(_lines(axes)) == {"late"}


@pytest.mark.parametrize("theme", THEMES)
def test_gains_are_points_over_the_opponent_which_is_named(theme: Theme) -> None:
    made = comparison([2, 2, 1, 4], [1, 1, 1, 2], sizes=(None,))
    (axes,) = gains(made, theme=theme).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["late"]
    drawn = [container[0].get_xdata()[0] for container in axes.containers]
    assert drawn == pytest.approx([31.25, 31.25])
    assert "‘early’" in axes.get_xlabel()


def test_long_names_leave_room_for_the_gains() -> None:
    """Tuning names a candidate by all of its options."""
    made = comparison([2, 2, 1, 4], [1, 1, 1, 2])
    name = "blend of 70% late and 30% early, title read along, windows overlap by 16"
    early, late = made.results
    named = replace(late, configuration=replace(late.configuration, name=name))
    figure = gains(replace(made, results=(early, named)))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_position().width > 0.5
    legend = axes.get_legend()
    assert legend is not None
    for text in (*axes.get_yticklabels(), axes.xaxis.label, *legend.get_texts()):
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize("theme", THEMES)
def test_both_halves_of_a_heat_map_share_one_scale(theme: Theme) -> None:
    made = similarities("one", "two", relevant=True)
    early, late, _ = heat_map(made, theme=theme).axes
    np.testing.assert_array_equal(early.images[0].get_array(), made.early)
    np.testing.assert_array_equal(late.images[0].get_array(), made.late)
    assert early.images[0].get_clim() == late.images[0].get_clim() == (0.0, 1.5)
    assert made.relevant is not None
    assert len(early.patches) == len(late.patches) == made.relevant.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        "plain",
        "costs $5 and $x^2",
        "emoji 🎉",
        "🎉🚀",
        "<script>",
        "مرحبا",
        "a\nb",
        "x" * 500,
        "%s {}",
    ],
)
def test_any_query_can_be_drawn(tmp_path: Path, query: str) -> None:
    """Warnings are errors: a character without a glyph would be one."""
    heat_map(similarities(query)).savefig(tmp_path / "map.png")
    sentence_bars(similarities(query)).savefig(tmp_path / "bars.svg")
    assert (tmp_path / "map.png").stat().st_size > 1_000


def test_sentence_bars_show_one_query() -> None:
    made = similarities("one", "two")
    (axes,) = sentence_bars(made, 1).axes
    early, late = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert early == pytest.approx(made.early[1].tolist())
    assert late == pytest.approx(made.late[1].tolist())


@pytest.mark.parametrize(
    "scores", [[(0.1, 0.2)], [(0.1, 0.2), (-0.3, 0.4)], [(n / 99, 0.5) for n in range(99)]]
)
def test_chunks_of_an_inspection_are_drawn_by_number(scores: list[tuple[float, float]]) -> None:
    (axes,) = chunk_bars(inspection(*scores)).axes
    assert _lines(axes) == {
        "early": [early for early, _ in scores],
        "late": [late for _, late in scores],
    }


@pytest.mark.slow
def test_plots_are_saved(tmp_path: Path) -> None:
    made = comparison([1, 2, 1, 2], [1, 2, 1, 1], sizes=(64, 128))
    files = save_plots(made, tmp_path / "new")
    assert [path.name for path in files] == [
        "recall-corpus.png",
        "recall-document.png",
        "gains.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)
