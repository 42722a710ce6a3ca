"""A comparison of two releases as rows that the report and the command line both show."""

from __future__ import annotations

from slipway.gates.verdict import show_figure
from slipway.preflight.difference import ABSENT
from slipway.records.compare import Comparison, FigureChange, Measured, VerdictChange
from slipway.units import show_seconds, show_usd

FIGURE_COLUMNS = ("figure", "before", "now", "change", "")
VERDICT_COLUMNS = ("gate", "before", "now", "why")
DIFFERENCE_COLUMNS = ("what", "before", "now")
STAGE_COLUMNS = ("stage", "took before", "took now", "cost before", "cost now")

Rows = list[tuple[str, ...]]


def figure_rows(found: Comparison) -> Rows:
    """Figures by `FIGURE_COLUMNS`."""
    return [
        (each.figure, _measured(each.figure, each.before), _measured(each.figure, each.now), *_change(each))
        for each in found.figures
    ]


def verdict_rows(found: Comparison) -> Rows:
    """Verdicts that differ by `VERDICT_COLUMNS`."""
    return [(each.gate, *_decisions(each), each.reason) for each in found.verdicts]


def difference_rows(found: Comparison) -> Rows:
    """What was changed, by `DIFFERENCE_COLUMNS`: identity first, then the profile, then the command line."""
    return [(each.field, each.before, each.now) for each in (*found.identity, *found.profile, *found.argv)]


def stage_rows(found: Comparison) -> Rows:
    """Time and cost by `STAGE_COLUMNS`, with the sum of the cost last."""
    rows: Rows = [
        (each.stage, _time(each.before_s), _time(each.now_s), _cost(each.before_usd), _cost(each.now_usd))
        for each in found.stages
    ]
    return [*rows, ("all", "", "", show_usd(found.before_usd), show_usd(found.now_usd))]


def _measured(figure: str, measured: Measured | None) -> str:
    if measured is None:
        return ABSENT
    shown = show_figure(figure, measured.estimate)
    ends = [show_figure(figure, end) or "?" for end in (measured.low, measured.high)]
    return shown if ends == ["?", "?"] else f"{shown} ({ends[0]} to {ends[1]})"


def _change(each: FigureChange) -> tuple[str, str]:
    if each.why_not or each.change is None:
        return "", each.why_not
    words = {True: "intervals apart", False: "intervals overlap", None: ""}
    return f"{100 * each.change:+.1f} %", words[each.apart]


def _decisions(each: VerdictChange) -> tuple[str, str]:
    before, now = (ABSENT if decision is None else decision.value for decision in (each.before, each.now))
    return before, now


def _time(seconds: float | None) -> str:
    return ABSENT if seconds is None else show_seconds(seconds)


def _cost(cost_usd: float | None) -> str:
    return ABSENT if cost_usd is None else show_usd(cost_usd)
