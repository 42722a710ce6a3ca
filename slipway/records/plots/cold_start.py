"""The picture of a cold start: its phases one after the other, beside those of the release before."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.records.plots.svg import beside, panels, svg
from slipway.records.plots.theme import MAIN, MUTED
from slipway.units import show_seconds


def cold_start_svg(phases_s: Mapping[str, float], before_s: Mapping[str, float]) -> bytes:
    """Each phase as a bar that begins where the one above ends; the release before as a thin line below it.

    Args:
        phases_s: Seconds by phase, in their order; a `total` among them is left out.
        before_s: Those of the release before; empty where there is none.
    """
    names = [name for name in phases_s if name != "total"]
    figure, (axes,) = panels(1, height_in=0.9 + 0.32 * max(len(names), 1))
    figure.subplots_adjust(left=0.27, bottom=0.5 / figure.get_figheight(), top=1 - 0.1 / figure.get_figheight())
    begin_s = begin_before_s = 0.0
    for place, name in enumerate(names):
        axes.barh(place, phases_s[name], 0.5, left=begin_s, color=MAIN)
        begin_s += phases_s[name]
        beside(axes, show_seconds(phases_s[name]), begin_s, place)
        if name in before_s:
            ends = (begin_before_s, begin_before_s + before_s[name])
            axes.plot(ends, (place + 0.37,) * 2, color=MUTED, linewidth=2, solid_capstyle="butt")
            begin_before_s += before_s[name]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(begin_s, begin_before_s) or 1)
    axes.set_xlabel("seconds since the start of the process")
    axes.grid(visible=True, axis="x", alpha=0.6)
    return svg(figure)
