"""The HTML templates of this package, filled in by Jinja with everything escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latechunk_integrations.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(template: str, **values: Any) -> str:
    """Fill in a template of the folder ``html``.

    Args:
        template: Its file name.
        values: What it shows; every text is escaped.

    Returns:
        The page.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415  # optional
    except ImportError as error:
        raise MissingExtraError("jinja2", extra="evaluation") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__.rpartition(".")[0], "html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=lambda value: f"{100 * value:.1f}",
        signed=lambda value: f"{100 * value:+.1f}".replace("-", "−"),
        grouped=lambda value: f"{value:,}",
    )
    return environment.get_template(template).render(**values)


def picture(draw: Callable[..., Figure], *args: Any, **kwargs: Any) -> dict[str, str]:
    """A figure in both palettes, as ``data:`` addresses of SVG images by theme."""
    return {
        theme: _encode_figure(draw(*args, theme=theme, **kwargs)) for theme in ("light", "dark")
    }


def _encode_figure(figure: Figure) -> str:
    from matplotlib import rc_context  # noqa: PLC0415  # optional, and there if a figure is

    buffer = io.BytesIO()
    # Without date and random ids, so that the same results give the same page.
    with rc_context({"svg.hashsalt": "latechunk"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
