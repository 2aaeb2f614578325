"""Figures of a comparison and of similarities, in a light and a dark palette."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import MissingExtraError
from latechunk_integrations.evaluation.advice import main_measure
from latechunk_integrations.evaluation.configurations import LATE
from latechunk_integrations.evaluation.inspection import Inspection
from latechunk_integrations.evaluation.results import Comparison, ConfigurationResult
from latechunk_integrations.evaluation.similarity import Similarities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Theme: TypeAlias = Literal["light", "dark"]

# Narrow figures stay readable on a phone, where they shrink to its width.
_WIDTH = 4.8
_MAX_CURVES = 5
_MARKED_CHUNKS = 60
_LABEL_CHARS = 44
_QUERY_CHARS = 30
_NAME_CHARS = 24
_TITLE_CHARS = 55
_COLOURS: dict[Theme, dict[str, str]] = {
    "light": {"ink": "#24292f", "faint": "#c9d1d9", "early": "#8a929c", "late": "#0b62b8"},
    "dark": {"ink": "#e6edf3", "faint": "#424a53", "early": "#9aa4af", "late": "#58a6ff"},
}
# Okabe and Ito's palette, told apart with any colour vision.
_CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_MARKERS = ("s", "^", "D", "v", "P")


def recall_curves(
    comparison: Comparison,
    *,
    results: Sequence[ConfigurationResult] = (),
    where: Literal["corpus", "document"] = "corpus",
    theme: Theme = "light",
) -> Figure:
    """Recall by number of chunks retrieved, a curve for each result.

    Args:
        comparison: With measures ``R@k`` at several k.
        results: What to draw; none: the opponent and the best few.
        where: Against the chunks of all documents, or inside the gold document.
        theme: The palette.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _open_figure(theme, height=3.4) as (figure, axes):
        for result in results or _choose_results(comparison):
            # A way has one colour, whichever ways are drawn beside it.
            number = [each is result for each in comparison.results].index(True)
            scores = result.corpus if where == "corpus" else result.document
            points = sorted((int(k[2:]), v) for k, v in scores.items() if k.startswith("R@"))
            is_now = result is comparison.opponent
            axes.plot(
                [k for k, _ in points],
                [100 * value for _, value in points],
                label=_wrap(comparison.label(result), _LABEL_CHARS, 2),
                marker="o" if is_now else _MARKERS[number % len(_MARKERS)],
                markersize=5,
                linestyle="--" if is_now else "-",
                color=_COLOURS[theme]["early"] if is_now else _CURVES[number % len(_CURVES)],
            )
        axes.set_xscale("log")
        axes.set_xticks([k for k, _ in points], [str(k) for k, _ in points])
        axes.minorticks_off()
        axes.set_xlabel("chunks retrieved (k)")
        axes.set_ylabel("recall@k, %")
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def gains(comparison: Comparison, *, measure: str | None = None, theme: Theme = "light") -> Figure:
    """What each result gains or loses against the opponent, with 95 % intervals.

    Args:
        comparison: What was measured.
        measure: ``None``: see `main_measure`.
        theme: The palette.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    results = [each for each in comparison.results if each is not comparison.opponent]
    shown = measure or main_measure(comparison)
    colours = _COLOURS[theme]
    labels = [_wrap(comparison.label(result), _NAME_CHARS, 3) for result in results]
    n_more = sum(label.count("\n") for label in labels)
    with _open_figure(theme, height=1.2 + 0.34 * len(results) + 0.12 * n_more) as (figure, axes):
        rows = np.arange(len(results))
        for shift, where, colour in ((-0.14, "corpus", "late"), (0.14, "document", "early")):
            means, low, high = _find_bounds(results, where, shown)
            axes.errorbar(
                means,
                rows + shift,
                xerr=np.maximum([means - low, high - means], 0),
                fmt="o" if where == "corpus" else "s",
                markersize=5,
                color=colours[colour],
                label="all documents" if where == "corpus" else "inside the document",
            )
        axes.axvline(0, color=colours["ink"], linewidth=1)
        axes.set_yticks(rows, labels)
        axes.set_ylim(len(results) - 0.4, -0.6)
        against = _wrap(f"‘{comparison.label(comparison.opponent)}’", _LABEL_CHARS, 2)
        axes.set_xlabel(f"{shown}: points gained over {against}")
        axes.legend(
            frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.3, 1.0), ncol=2
        )
    return figure


def _find_bounds(
    results: Sequence[ConfigurationResult], where: str, measure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means and interval bounds in points; without an interval the mean itself."""
    found = [
        (each.corpus_difference if where == "corpus" else each.document_difference)[measure]
        for each in results
    ]
    means = [d.mean for d in found]
    low = [d.mean if d.low is None else d.low for d in found]
    high = [d.mean if d.high is None else d.high for d in found]
    return 100 * np.array(means), 100 * np.array(low), 100 * np.array(high)


def heat_map(similarities: Similarities, *, theme: Theme = "light") -> Figure:
    """Similarity of queries (rows) with the chunks of a text (columns), early above late.

    Both halves share one colour scale.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pyplot = _load_pyplot()
    low = float(min(similarities.early.min(), similarities.late.min()))
    high = float(max(similarities.early.max(), similarities.late.max()))
    height = 1.5 + 0.56 * len(similarities.queries)
    with pyplot.rc_context(_make_style(theme)):
        figure, axes = pyplot.subplots(
            2, 1, figsize=(_WIDTH, height), sharex=True, layout="constrained"
        )
        for each, values, title in zip(
            axes,
            (similarities.early, similarities.late),
            ("early: each chunk embedded alone", "late: each chunk has read the text"),
            strict=True,
        ):
            image = each.imshow(values, aspect="auto", cmap="viridis", vmin=low, vmax=high)
            each.set_title(title, fontsize=9)
            if similarities.relevant is not None:
                for row, column in np.argwhere(similarities.relevant):
                    corner = (column - 0.5, row - 0.5)
                    frame = pyplot.Rectangle(corner, 1, 1, fill=False, edgecolor="#e8000b", lw=1.5)
                    each.add_patch(frame)
            each.set_yticks(
                range(len(similarities.queries)),
                [
                    _wrap(query, _QUERY_CHARS, 2) or f"query {number}"
                    for number, query in enumerate(similarities.queries, 1)
                ],
                fontsize=7,
            )
        axes[1].set_xlabel("chunk, in the order of the text")
        axes[1].xaxis.get_major_locator().set_params(integer=True)
        figure.colorbar(image, ax=axes, label="similarity")
        pyplot.close(figure)
    made: Figure = figure
    return made


def chunk_bars(inspection: Inspection, *, theme: Theme = "light") -> Figure:
    """The query of an inspection against each chunk by number, early and late.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    colours = _COLOURS[theme]
    numbers = np.arange(len(inspection.chunks))
    few = len(numbers) <= _MARKED_CHUNKS
    with _open_figure(theme, height=2.6) as (figure, axes):
        for name, marker, line in (("early", "o", "--"), ("late", "s", "-")):
            values = [getattr(chunk, name) for chunk in inspection.chunks]
            axes.plot(
                numbers,
                values,
                line if few else "-",
                marker=marker if few else "",
                markersize=4,
                linewidth=0.8 if name == "early" and not few else 1.5,
                color=colours[name],
                label=name,
            )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("chunk, in the order of the text")
        axes.set_ylabel("similarity with the query")
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=2)
    return figure


def sentence_bars(similarities: Similarities, query: int = 0, *, theme: Theme = "light") -> Figure:
    """One query against each sentence of a text, early and late.

    Args:
        similarities: As `compare_sentences` gives them.
        query: Which query.
        theme: The palette.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    labels = [_wrap(chunk, _LABEL_CHARS, 3) for chunk in similarities.chunks]
    colours = _COLOURS[theme]
    with _open_figure(theme, height=1.3 + 0.62 * len(labels)) as (figure, axes):
        rows = np.arange(len(labels))
        for shift, name in ((-0.18, "early"), (0.18, "late")):
            values = getattr(similarities, name)[query]
            bars = axes.barh(rows + shift, values, 0.34, color=colours[name], label=name)
            axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
        axes.set_yticks(rows, labels, fontsize=7)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("similarity with the query")
        axes.set_title(_wrap(f"“{similarities.queries[query]}”", _TITLE_CHARS, 3), fontsize=9)
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncol=2)
    return figure


def save_plots(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write the figures of a comparison as PNG files.

    Returns:
        The files.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    named = {
        "recall-corpus": ("All documents", recall_curves(comparison)),
        "recall-document": ("Inside the document", recall_curves(comparison, where="document")),
        "gains": (f"Gain over ‘{comparison.label(comparison.opponent)}’", gains(comparison)),
    }
    files = []
    for name, (title, figure) in named.items():
        heading = _wrap(f"{comparison.dataset}: {title}", _TITLE_CHARS, 2)
        figure.suptitle(heading, fontsize=9, parse_math=False)
        files.append(target / f"{name}.png")
        figure.savefig(files[-1], dpi=160, facecolor="white")
    return files


def _choose_results(comparison: Comparison) -> list[ConfigurationResult]:
    """The opponent and the best few; our default is what readers look for, so it is never out."""
    measure = main_measure(comparison)
    others = sorted(comparison.results[1:], key=lambda result: -result.corpus[measure])
    kept = others[: _MAX_CURVES - 1]
    kept += [result for result in others[len(kept) :] if result.configuration == LATE][:1]
    return [comparison.opponent, *kept]


def _wrap(text: str, width: int, max_lines: int) -> str:
    lines = textwrap.wrap(_keep_drawable(text), width, max_lines=max_lines, placeholder=" …")
    return "\n".join(lines)


def _keep_drawable(text: str) -> str:
    """A text without the characters that the font lacks, such as emoji."""
    known = _list_characters()
    return "".join(c for c in text if c.isspace() or ord(c) in known)


@lru_cache(maxsize=1)
def _list_characters() -> frozenset[int]:
    _load_pyplot()
    from matplotlib import font_manager  # noqa: PLC0415  # optional

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())


def _make_style(theme: Theme) -> dict[str, Any]:
    colours = _COLOURS[theme]
    return {
        "font.size": 9,
        "axes.edgecolor": colours["faint"],
        "axes.grid": False,
        "text.parse_math": False,  # a price in dollars is no formula
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor"),
            colours["ink"],
        ),
    }


@contextmanager
def _open_figure(theme: Theme, *, height: float) -> Iterator[tuple[Figure, Any]]:
    pyplot = _load_pyplot()
    with pyplot.rc_context(_make_style(theme)):
        figure, axes = pyplot.subplots(figsize=(_WIDTH, height), layout="constrained")
        axes.grid(visible=True, color=_COLOURS[theme]["faint"], linewidth=0.5, alpha=0.6)
        axes.set_axisbelow(True)
        yield figure, axes
        pyplot.close(figure)


def _load_pyplot() -> Any:
    try:
        import matplotlib as mpl  # noqa: PLC0415  # optional

        # Nothing here opens a window, and servers have none to open.
        if not mpl.is_interactive():
            mpl.use("Agg")
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="evaluation") from error
    return pyplot
