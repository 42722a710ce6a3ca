"""From a figure to SVG: one that stands alone, and one that is part of a page."""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from slipway.records.plots import theme

_OPENING: Final = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_FOR_FILES: Final = re.compile(r"<metadata>.*?</metadata>|<style .*?</style>", re.DOTALL)
_NAMES: Final = re.compile(r'(\bid="|url\(#|href="#)')
_FONT: Final = re.compile(r"(font: [^;\"]*?px) [^;\"]*")


def panels(count: int, *, height_in: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels side by side; a single one is read on a telephone too."""
    wide = count > 1
    figure = Figure(figsize=(9.0 if wide else 5.4, height_in))
    figure.subplots_adjust(left=0.08 if wide else 0.12, right=0.98, bottom=0.16, top=0.93, wspace=0.18)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def logarithmic(axes: Axes, *, y: bool = False) -> None:
    """A logarithmic x axis, or y axis, with plain numbers at 1, 2 and 5."""
    axis = axes.yaxis if y else axes.xaxis
    (axes.set_yscale if y else axes.set_xscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_locator(NullLocator())
    axes.grid(visible=True, alpha=0.6)


def beside(axes: Axes, words: str, x: float, y: float) -> None:
    """Words to the right of a place."""
    axes.annotate(words, (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def svg(figure: Figure) -> bytes:
    """The figure as SVG, without the date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def data_url(image: bytes) -> str:
    """An SVG as a URL that needs no server."""
    return "data:image/svg+xml;base64," + base64.b64encode(image).decode()


def inline(image: bytes, *, name: str, title: str) -> str:
    """An SVG as part of a page: in the page's colours and font, as wide as its place.

    Args:
        image: What `svg` gave.
        name: Goes before every id in it: a page holds several pictures.
        title: What it shows, for those who do not see it.
    """
    text = _FOR_FILES.sub("", image.decode())
    text = _NAMES.sub(rf"\g<1>{name}-", text[text.index("<svg") :])
    text = _FONT.sub(r"\g<1> var(--font)", text)
    for colour, variable in theme.VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    label = html.escape(title)
    return _OPENING.sub(lambda found: f'<svg viewBox="{found[1]}" role="img" aria-label="{label}">', text, count=1)
