"""The picture of one verdict: the figure with its bounds, against its limits and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slipway.gates.verdict import Verdict, show_figure
from slipway.profile import Gate
from slipway.records.plots.svg import svg
from slipway.records.plots.theme import BAD, DECIDED, INK, PAPER

_ROOM: Final = 0.08
"""Of the span of all that is drawn, left free at either end."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is drawn of a verdict, in the metric's unit; a ratio where it compares with a baseline.

    Attributes:
        verdict: The verdict, with an estimate.
        gate: Its gate.
        before: Figure of the release before, or what a comparison starts from; None where there is none.
    """

    verdict: Verdict
    gate: Gate
    before: float | None = None

    @property
    def at_most(self) -> float | None:
        """The upper limit. Of a comparison it is as wide as it was when the verdict was made."""
        verdict = self.verdict
        if self.gate.worse_by is None:
            return self.gate.at_most
        if verdict.high is None or verdict.margin is None:
            return 1 + self.gate.worse_by
        return verdict.high + verdict.margin

    @property
    def at_least(self) -> float | None:
        """The lower limit."""
        return self.gate.at_least if self.gate.worse_by is None else None

    def values(self) -> Iterator[float]:
        """All that must lie within the picture."""
        verdict = self.verdict
        for value in (verdict.estimate, verdict.low, verdict.high, self.at_least, self.at_most, self.before):
            if value is not None:
                yield value


def gate_svg(judged: Judged) -> bytes:
    """A line from bound to bound with the estimate on it; what the limits forbid is hatched, the baseline a diamond."""
    figure = Figure(figsize=(4.6, 0.72))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.03, right=0.97, bottom=0.36, top=0.74)
    low, high = min(judged.values()), max(judged.values())
    room = _ROOM * (high - low) or abs(high) * _ROOM or 1.0
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    _draw_limits(axes, judged)
    _draw_figure(axes, judged.verdict)
    if judged.before is not None:
        axes.plot(judged.before, -0.55, marker="D", markersize=5, markerfacecolor=PAPER, color=INK, clip_on=False)
    return svg(figure)


def _draw_limits(axes: Axes, judged: Judged) -> None:
    left, right = axes.get_xlim()
    for limit, end in ((judged.at_least, left), (judged.at_most, right)):
        if limit is not None:
            axes.axvspan(*sorted((limit, end)), facecolor="none", edgecolor=BAD, hatch="////", linewidth=0, alpha=0.55)
            axes.axvline(limit, color=INK, linewidth=1.6)
    limits = [limit for limit in (judged.at_least, judged.at_most) if limit is not None]
    axes.set_xticks(limits, [show_figure(judged.verdict.gate, limit) for limit in limits])
    _keep_inside(axes)


def _keep_inside(axes: Axes) -> None:
    """Words at the ends do not leave the picture."""
    left, right = axes.get_xlim()
    for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        share = (place - left) / (right - left)
        label.set_horizontalalignment(_alignment(share))


def _alignment(share: float) -> Literal["left", "center", "right"]:
    return "left" if share < 0.12 else "right" if share > 0.88 else "center"


def _draw_figure(axes: Axes, verdict: Verdict) -> None:
    left, right = axes.get_xlim()
    colour, marker = DECIDED[verdict.decision]
    ends = (left if verdict.low is None else verdict.low, right if verdict.high is None else verdict.high)
    axes.plot(ends, (0, 0), color=colour, linewidth=3.2, solid_capstyle="butt")
    if verdict.estimate is not None:
        axes.plot(verdict.estimate, 0, marker=marker, markersize=8, color=colour, markeredgecolor=INK, clip_on=False)
        share = (verdict.estimate - left) / (right - left)
        words = show_figure(verdict.gate, verdict.estimate)
        axes.annotate(words, (verdict.estimate, 1.15), ha=_alignment(share), annotation_clip=False)
