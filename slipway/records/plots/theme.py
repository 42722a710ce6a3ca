"""Colours of the pictures: Okabe and Ito's, which people with any colour vision tell apart, by their names in a page.

A colour never says anything alone: what is measured, limited or failed has a shape and a word too.
Source: M. Okabe and K. Ito, Color Universal Design, 2008.
"""

from __future__ import annotations

from typing import Final

import matplotlib as mpl
from cycler import cycler

from slipway.gates.verdict import Decision

INK: Final = "#1b1f24"
MUTED: Final = "#59636e"
GRID: Final = "#d1d9e0"
PAPER: Final = "#ffffff"
SERIES: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MAIN, SECOND, GOOD, UNSURE, SKY, BAD = SERIES

DECIDED: Final = {Decision.PASS: (GOOD, "o"), Decision.FAIL: (BAD, "X"), Decision.INCONCLUSIVE: (UNSURE, "D")}
"""Colour and marker of a verdict."""

VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}
"""Each colour's CSS variable: a page gives them other values for dark screens."""

mpl.rcParams.update(
    {
        "svg.hashsalt": "slipway",  # the same samples give the same file
        "svg.fonttype": "none",  # words stay words: a quarter of the size, and they can be searched
        "text.parse_math": False,  # a dollar is a dollar
        "font.size": 9,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.prop_cycle": cycler(linestyle=["-", "--", ":"]) * cycler(color=SERIES),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": GRID,
        "hatch.linewidth": 0.6,
        "axes.axisbelow": True,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor"), INK),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), PAPER),
        "axes.edgecolor": MUTED,
    }
)
