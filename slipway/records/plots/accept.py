"""The picture of accept length by workload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from slipway.measure import metrics
from slipway.measure.samples import Sample
from slipway.profile import Gate
from slipway.records.plots.svg import panels, svg
from slipway.records.plots.theme import BAD, INK, MAIN, PAPER


def accept_svg(gates: Iterable[Gate], samples: Mapping[str, Sequence[Sample]], before: Mapping[str, float]) -> bytes:
    """Boxes of the requests' accept lengths (quartiles, 5 to 95 %), with means, limits and the release before.

    A dot is the mean, an upright bar a limit, an empty diamond the mean of the release before.

    Args:
        gates: Those on accept length give limits.
        samples: By workload.
        before: Mean accept length of the release before, by workload.
    """
    lengths = {name: values for name, taken in samples.items() if len(values := metrics.accept_length(taken))}
    figure, (axes,) = panels(1, height_in=0.9 + 0.5 * max(len(lengths), 1))
    figure.subplots_adjust(left=0.22, bottom=0.5 / figure.get_figheight(), top=1 - 0.08 / figure.get_figheight())
    axes.bxp(
        [_box(name, values) for name, values in lengths.items()],
        orientation="horizontal",
        showmeans=True,
        showfliers=False,
        widths=0.45,
        boxprops={"color": MAIN},
        medianprops={"color": MAIN},
        whiskerprops={"color": MAIN},
        capprops={"color": MAIN},
        meanprops={"marker": "o", "markerfacecolor": MAIN, "markeredgecolor": MAIN, "markersize": 5},
    )
    places = {name: place for place, name in enumerate(lengths, 1)}
    for gate in gates:
        if gate.metric == "accept_length" and gate.workload in places and gate.worse_by is None:
            for limit in (gate.at_least, gate.at_most):
                if limit is not None:
                    axes.plot([limit] * 2, [places[gate.workload] + y for y in (-0.38, 0.38)], color=BAD, linewidth=2)
    for name in places.keys() & before.keys():
        axes.plot(before[name], places[name], marker="D", color=INK, markerfacecolor=PAPER, markersize=6)
    axes.set_xlabel("tokens of a verify step")
    axes.grid(visible=True, axis="x", alpha=0.6)
    return svg(figure)


def _box(name: str, values: metrics.Values) -> dict[str, object]:
    low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    return {
        "label": name,
        "whislo": low,
        "q1": first,
        "med": middle,
        "q3": third,
        "whishi": high,
        "mean": np.mean(values),
    }
