"""The picture of a run: when each stage ran, what held GPUs, and how the cost grew."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from matplotlib.axes import Axes

from slipway.records.plots.svg import beside, panels, svg
from slipway.records.plots.theme import BAD, INK, MAIN, MUTED, SECOND
from slipway.records.record import StageRecord, StageStatus
from slipway.units import HOURS, MINUTES, SECONDS, show_seconds, show_usd

_UNITS = ((2 * HOURS, HOURS, "hours"), (5 * MINUTES, MINUTES, "minutes"), (0.0, SECONDS, "seconds"))


def timeline_svg(stages: Sequence[StageRecord], began_at: datetime) -> bytes:
    """Stages as bars over time, those that cost something in a colour of their own; the sum of the cost as a line.

    Args:
        stages: As they went; all attempts of a stage are one bar from its first begin.
        began_at: Begin of the run.
    """
    begins_s = [(stage.started_at - began_at).total_seconds() for stage in stages]
    end_s = max([1.0, *(begin + stage.seconds for begin, stage in zip(begins_s, stages, strict=True))])
    unit_s, unit = next((size, word) for least, size, word in _UNITS if end_s >= least)
    figure, (axes,) = panels(1, height_in=1.0 + 0.34 * max(len(stages), 1))
    figure.subplots_adjust(left=0.24, bottom=0.5 / figure.get_figheight(), top=1 - 0.1 / figure.get_figheight())
    for place, (begin_s, stage) in enumerate(zip(begins_s, stages, strict=True)):
        _draw_stage(axes, place, begin_s / unit_s, stage, unit_s)
    if sum(stage.cost_usd for stage in stages) > 0:
        _draw_cost(axes, [begin / unit_s for begin in begins_s], stages, unit_s)
    axes.set_yticks(range(len(stages)), [stage.name for stage in stages])
    axes.set_ylim(max(len(stages), 1) - 0.4, -0.6)
    axes.set_xlim(0, 1.3 * end_s / unit_s)
    axes.set_xlabel(f"{unit} since the start of the run")
    axes.grid(visible=True, axis="x", alpha=0.6)
    return svg(figure)


def _draw_stage(axes: Axes, place: int, begin: float, stage: StageRecord, unit_s: float) -> None:
    failed = stage.status is StageStatus.FAILED
    colour = BAD if failed else MAIN if stage.cost_usd else MUTED
    length = stage.seconds / unit_s
    axes.barh(place, length, 0.55, left=begin, color=colour, hatch="///" if failed else None, edgecolor=colour)
    words = [show_seconds(stage.seconds)] if stage.status is not StageStatus.SKIPPED else ["skipped"]
    words += [stage.status.value] if stage.status in {StageStatus.FAILED, StageStatus.RUNNING} else []
    words += [f"{stage.attempts} attempts"] if stage.attempts > 1 else []
    words += [show_usd(stage.cost_usd)] if stage.cost_usd else []
    beside(axes, ", ".join(words), begin + length, place)


def _draw_cost(axes: Axes, begins: Sequence[float], stages: Sequence[StageRecord], unit_s: float) -> None:
    """The sum so far, on a scale of its own that is named at its end."""
    sums, times = [0.0], [0.0]
    for begin, stage in zip(begins, stages, strict=True):
        times += [begin, begin + stage.seconds / unit_s]
        sums += [sums[-1], sums[-1] + stage.cost_usd]
    money = axes.twinx()
    money.plot(times, sums, color=SECOND, linewidth=1.8)
    money.set_ylim(0, 1.15 * sums[-1])
    money.set_yticks([])
    money.spines["right"].set_visible(False)
    place = (times[-1], sums[-1])
    money.annotate(f"{show_usd(sums[-1])} in all", place, ha="right", va="bottom", fontsize=8, color=INK)
