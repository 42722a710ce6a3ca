"""The picture of one GPU's memory: what takes it, and what the KV pool can hold."""

from __future__ import annotations

from slipway.preflight.capacity import Capacity
from slipway.records.plots.svg import panels, svg
from slipway.records.plots.theme import BAD, GOOD, MAIN, MUTED, SKY
from slipway.units import GIB

_COLOURS = {
    "weights": MAIN,
    "draft layer": SKY,
    "KV pool": GOOD,
    "forbidden to the pool": BAD,
    "activations, graphs, communication": MUTED,
}


def memory_svg(capacity: Capacity) -> bytes:
    """One GPU as a bar of its parts, and beside it how many requests of each length run at once."""
    figure, (bar, requests) = panels(2)
    figure.subplots_adjust(wspace=0.32)
    bottom = 0.0
    for share in capacity.memory:
        height = share.size_bytes / GIB
        label = f"{share.name}: {height:.1f} GiB"
        bar.bar([capacity.gpu], [height], bottom=[bottom], width=0.5, color=_COLOURS[share.name], label=label)
        bottom += height
    bar.set_ylabel("GiB of each GPU")
    bar.set_ylim(0, bottom)
    bar.set_xlim(-0.4, 3.4)
    bar.legend(fontsize=8, loc="center right", reverse=True)
    names = [f"{fit.request_tokens:,}" for fit in capacity.fits]
    for values, label, colour in (
        ([fit.pool for fit in capacity.fits], "the KV pool holds", GOOD),
        ([fit.replica for fit in capacity.fits], "one replica runs", MAIN),
    ):
        offset = -0.2 if colour == GOOD else 0.2
        bars = requests.barh([place + offset for place in range(len(names))], values, 0.4, color=colour, label=label)
        requests.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=8)
    requests.set_yticks(range(len(names)), names)
    requests.set_ylabel("tokens of a request")
    requests.set_xlabel("requests at once")
    requests.set_xscale("symlog")
    requests.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    requests.set_xlim(0, 4 * max(1, *(fit.pool for fit in capacity.fits)))
    requests.legend(fontsize=8, loc="upper right")
    return svg(figure)
