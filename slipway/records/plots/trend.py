"""The picture of a figure over releases: with its bounds, how each release ended, and where figures stop to compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.ticker import MaxNLocator

from slipway.records.history import TrendPoint, joined
from slipway.records.plots.svg import panels, svg
from slipway.records.plots.theme import BAD, GOOD, GRID, INK, MUTED, UNSURE
from slipway.records.record import Outcome

_LOOKS: Final = {
    Outcome.PROMOTED: (GOOD, "o"),
    Outcome.REJECTED: (BAD, "X"),
    Outcome.ROLLED_BACK: (BAD, "v"),
    Outcome.INTERRUPTED: (MUTED, "s"),
    Outcome.PREPARED: (MUTED, "o"),
    Outcome.RUNNING: (UNSURE, "D"),
}


def trend_svg(metric: str, points: Sequence[TrendPoint], show: Callable[[float], str]) -> bytes:
    """The figure release by release; a line joins those that compare.

    Args:
        metric: Name of the figure.
        points: Oldest first.
        show: Writes a value with its unit.
    """
    figure, (axes,) = panels(1)
    figure.subplots_adjust(left=0.17, bottom=0.14, top=0.9)
    for place, (point, compares) in enumerate(zip(points, joined(points), strict=True)):
        if not compares:
            axes.axvline(place - 0.5, color=INK, linewidth=1, linestyle=":")
        elif place:
            axes.plot((place - 1, place), (points[place - 1].value, point.value), color=GRID, linewidth=1.5)
        colour, marker = _LOOKS[point.outcome]
        ends = (point.value if point.low is None else point.low, point.value if point.high is None else point.high)
        axes.plot((place, place), ends, color=colour, linewidth=1.5)
        axes.plot(place, point.value, color=colour, marker=marker, markersize=7, linestyle="none")
    for outcome in dict.fromkeys(point.outcome for point in points):
        colour, marker = _LOOKS[outcome]
        axes.plot([], [], color=colour, marker=marker, linestyle="none", label=outcome.value.replace("_", " "))
    axes.set_title(metric, fontsize=9, loc="left")
    axes.yaxis.set_major_formatter(lambda value, _position: show(value))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("releases, oldest first; a dotted line: figures on its two sides do not compare")
    axes.grid(visible=True, axis="y", alpha=0.6)
    if points:
        axes.legend(loc="best")
    return svg(figure)
