"""The picture of accuracy pairs: which answers the candidate lost and won against the baseline, by workload."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.records.pairs import Pairs
from slipway.records.plots.svg import panels, svg
from slipway.records.plots.theme import BAD, INK, MAIN


def pairs_svg(found: Mapping[str, Pairs]) -> bytes:
    """Answers lost to the left and won to the right; what both answer alike says nothing about a difference."""
    figure, (axes,) = panels(1, height_in=1.3 + 0.7 * max(len(found), 1))
    height_in = figure.get_figheight()
    figure.subplots_adjust(left=0.05, bottom=0.5 / height_in, top=1 - 0.35 / height_in)
    for values, label, colour in (
        ([-each.lost for each in found.values()], "lost: only the baseline is right", BAD),
        ([each.won for each in found.values()], "won: only the candidate is right", MAIN),
    ):
        bars = axes.barh(range(len(found)), values, 0.35, color=colour, label=label)
        axes.bar_label(bars, [str(abs(value)) for value in values], padding=3, fontsize=8)
    widest = max([1, *(max(each.lost, each.won) for each in found.values())])
    for place, (name, each) in enumerate(found.items()):
        words = f"{name}: none asked of both"
        if each.asked:
            share = f"{each.right.estimate:.1%} of {each.asked} right ({each.right.low:.1%} to {each.right.high:.1%})"
            words = f"{name}: {share}; in both {each.both_right} right, {each.both_wrong} wrong"
        axes.annotate(words, (-1.15 * widest, place - 0.32), va="bottom", fontsize=8)
    axes.set_xlim(-1.2 * widest, 1.2 * widest)
    axes.set_ylim(max(len(found), 1) - 0.5, -0.8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{abs(value):g}")
    axes.set_xlabel("questions")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return svg(figure)
