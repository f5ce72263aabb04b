"""Charts of self-contained pages: by matplotlib, inline as SVG, with words in their place."""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GREEN, GREY, RED, BLUE = "#1d2b33", "#2a9d6f", "#b8c2c7", "#d1495b", "#3a6ea5"

_METADATA = ("Creator", "Date", "Format", "Type")
"""Left out: they would be the page's only addresses."""


def blank(height: float, rows: int = 1) -> tuple[Figure, Any]:
    """An empty figure of ``height`` inches, and its axes: one, or an array of ``rows``."""
    # Here, so that no other command pays half a second for it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9.5, height), layout="constrained")
    axes = figure.subplots(rows, sharex=rows > 1)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Figure, told: str = "") -> str:
    """The figure as an SVG element; ``told`` says in words what it shows."""
    import matplotlib as mpl  # noqa: PLC0415 - as above

    with mpl.rc_context({"svg.hashsalt": "lowtide", "font.size": 9}):
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata=dict.fromkeys(_METADATA))
    text = content.getvalue()
    element = text[text.index("<svg") :]
    label = f'<svg role="img" aria-label="{html.escape(told)}"' if told else "<svg"
    return label + element.removeprefix("<svg")
