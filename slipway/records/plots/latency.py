"""Pictures of latency: how TTFT and TPOT are distributed, and where the limits lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
from matplotlib.axes import Axes

from slipway.measure import metrics
from slipway.measure.samples import Sample
from slipway.profile import Gate, Profile
from slipway.records.plots.svg import logarithmic, panels, svg
from slipway.records.plots.theme import INK

Latency = Literal["ttft_s", "tpot_s"]
LATENCIES: Final[dict[Latency, tuple[str, Callable[[Sequence[Sample]], metrics.Values]]]] = {
    "ttft_s": ("TTFT (ms)", metrics.ttft_s),
    "tpot_s": ("TPOT (ms)", metrics.tpot_s),
}

_POINTS: Final = 400
"""More points of a curve than a picture has pixels for say nothing."""


def latency_svg(profile: Profile, samples: Mapping[str, Sequence[Sample]]) -> bytes:
    """Cumulative distributions of TTFT and TPOT by workload, with the profile's limits."""
    figure, both = panels(len(LATENCIES))
    for axes, metric in zip(both, LATENCIES, strict=True):
        _draw(axes, metric, profile.gates, samples)
    return svg(figure)


def distribution_svg(metric: Latency, gates: Iterable[Gate], samples: Mapping[str, Sequence[Sample]]) -> bytes:
    """Cumulative distribution of one latency by workload, with the limits among `gates`."""
    figure, (axes,) = panels(1)
    _draw(axes, metric, gates, samples)
    return svg(figure)


def _draw(axes: Axes, metric: Latency, gates: Iterable[Gate], samples: Mapping[str, Sequence[Sample]]) -> None:
    label, values_of = LATENCIES[metric]
    for name, taken in samples.items():
        values_ms = np.sort(values_of(taken)) * 1000
        if len(values_ms):
            shares = np.arange(1, len(values_ms) + 1) / len(values_ms)
            kept = np.unique(np.linspace(0, len(values_ms) - 1, _POINTS).astype(int))
            axes.step(values_ms[kept], shares[kept], where="post", label=name)
    for gate in gates:
        if gate.metric == metric and gate.at_most is not None:
            axes.axvline(gate.at_most * 1000, color=INK, linestyle="-", linewidth=1.2)
            words = f"limit {gate.statistic}@{gate.workload}"
            axes.annotate(words, (gate.at_most * 1000, 0.05), rotation=90, fontsize=8, ha="right")
    logarithmic(axes)
    axes.set_xlabel(label)
    axes.set_ylabel("share of requests")
    axes.set_ylim(0, 1.02)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left")
