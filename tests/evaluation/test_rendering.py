"""Templates are strict, figures become addresses, and a missing package names its extra."""

from __future__ import annotations

import base64
import builtins
from typing import Any

import jinja2
import pytest

from latechunk_integrations.errors import MissingExtraError
from latechunk_integrations.evaluation.plots import gains
from latechunk_integrations.evaluation.rendering import picture, render
from tests.evaluation.support import comparison


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("inspection.html.j2")


def test_a_figure_becomes_an_image_in_both_palettes() -> None:
    images = picture(gains, comparison([1, 2, 1, 2], [1, 1, 1, 1]))
    assert set(images) == {"light", "dark"}
    assert images["light"] != images["dark"]
    kind, _, data = images["light"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(data)


@pytest.mark.parametrize(("module", "call"), [("jinja2", render), ("matplotlib", gains)])
def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, call: Any
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    argument = "base.html.j2" if call is render else comparison([1] * 4, [1] * 4)
    with pytest.raises(MissingExtraError, match=r"latechunk-integrations\[evaluation\]"):
        call(argument)
