"""The picture of latency against concurrency, from the requests themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from slipway.measure.samples import Sample
from slipway.records.plots.latency import LATENCIES, Latency
from slipway.records.plots.svg import logarithmic, panels, svg

_LEAST: Final = 3
"""With fewer requests at one concurrency there is no spread to be drawn."""

_BESIDE: Final = 0.12
"""Workloads at one concurrency are drawn so far from each other."""


def concurrency_svg(metric: Latency, samples: Mapping[str, Sequence[Sample]]) -> bytes:
    """The median of a latency, with its 10th and 90th percentile, by the requests that were open at its send."""
    label, _ = LATENCIES[metric]
    figure, (axes,) = panels(1)
    for number, (name, taken) in enumerate(samples.items()):
        levels = _by_level(metric, taken)
        if levels:
            spread = np.array([np.quantile(values_ms, (0.1, 0.5, 0.9)) for values_ms in levels.values()])
            away = np.abs(spread[:, (0, 2)] - spread[:, (1,)]).T
            places = np.array(list(levels)) + _BESIDE * (number - (len(samples) - 1) / 2)
            axes.errorbar(places, spread[:, 1], yerr=away, marker="o", markersize=4, capsize=2, label=name)
    logarithmic(axes, y=True)
    axes.set_xlabel("requests open when it was sent, itself among them")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    return svg(figure)


def in_flight(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """For each request, how many were open when it was sent, itself among them; over all blocks of a workload."""
    sent_s = np.array([sample.sent_s for sample in samples])
    ended_s = np.array([sample.sent_s + sample.e2e_s for sample in samples])
    begun = np.searchsorted(np.sort(sent_s), sent_s, side="right")
    return begun - np.searchsorted(np.sort(ended_s), sent_s, side="right")


def _by_level(metric: Latency, samples: Sequence[Sample]) -> dict[int, NDArray[np.float64]]:
    """Milliseconds by concurrency, where there are enough of them."""
    _, values_of = LATENCIES[metric]
    levels = in_flight(samples)
    found = {
        int(level): 1000 * values_of([s for s, its in zip(samples, levels, strict=True) if its == level])
        for level in np.unique(levels)
    }
    return {level: values for level, values in found.items() if len(values) >= _LEAST}
