"""What a candidate's figures say beside those of other releases: accepted ones, or one that answers right now."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from slipway.gates.statistics import Bounds, mean


def prediction(values: NDArray[np.float64], confidence: float) -> Bounds:
    """Bounds for one further value of the kind that was seen: mean ± t(k - 1) · s · sqrt(1 + 1 / k).

    With the log medians of k accepted releases as values, a candidate beyond a bound differs by more than deployments
    of healthy builds do among themselves. Assumes normal values. Two values at least give bounds; with three they are
    3.4 standard deviations away, with eight 2.0.

    Args:
        values: One figure a release.
        confidence: Of each one-sided bound.

    Returns:
        The mean, and the bounds for one further value.
    """
    k = len(values)
    centre = float(np.mean(values))
    if k < 2:
        return Bounds(centre, -math.inf, math.inf, k)
    half = float(scipy.special.stdtrit(k - 1, confidence)) * _spread_of_next(values)
    return Bounds(centre, centre - half, centre + half, k)


def mcnemar_p(lost: int, won: int) -> float:
    """How likely so many losses are if a candidate is no worse: McNemar's exact one-sided test of paired items.

    Args:
        lost: Items that the baseline answers rightly and the candidate does not.
        won: Items the other way round.
    """
    return float(scipy.special.bdtrc(lost - 1, lost + won, 0.5)) if lost else 1.0


def paired_drop(lost: int, won: int, n: int, confidence: float) -> Bounds:
    """The drop of a share over paired items, (lost - won) / n, with score bounds and a continuity correction.

    Tango (1998) compares lost - won - n · drop with its standard deviation under that drop, so that bounds exist even
    for lost = won = 0. Bare, his bounds are too narrow for few discordant items: an exact enumeration for 50 to 1,319
    items found as little as 91.3 % coverage for 95 %, and 98.1 % for 99 %. With one item of continuity correction
    (as in McNemar's test, where lost - won goes in steps of two) none was 0.01 points below what it says; that costs
    about 1 / n of width on each side.

    Args:
        lost: Items that the baseline answers rightly and the candidate does not.
        won: Items the other way round.
        n: All items that both were asked.
        confidence: Of each one-sided bound.
    """
    z = float(scipy.special.ndtri(confidence))
    drop = (lost - won) / n
    return Bounds(drop, -_most_drop(won, lost, n, z), _most_drop(lost, won, n, z), n)


def paired_ratio(
    a_blocks: Sequence[NDArray[np.float64]], b_blocks: Sequence[NDArray[np.float64]], confidence: float
) -> Bounds:
    """The ratio a / b of two releases measured in turns (ABAB…), with Student's t on log ratios of block medians.

    What drifts over minutes hits both blocks of a pair and cancels; the spread between pairs is what remains.

    Args:
        a_blocks: Figures of the candidate, a block each turn; positive.
        b_blocks: Those of the other release, in the same order.
        confidence: Of each one-sided bound.

    Returns:
        The geometric mean of the ratios with its bounds; n is the number of pairs.
    """
    ratios = [math.log(np.median(a) / np.median(b)) for a, b in zip(a_blocks, b_blocks, strict=True)]
    logs = mean(np.array(ratios), confidence)
    return Bounds(math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high), logs.n)


def _spread_of_next(values: NDArray[np.float64]) -> float:
    """The standard deviation of a further value about the mean of those seen."""
    return float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / len(values))


def _most_drop(lost: int, won: int, n: int, z: float) -> float:
    """The largest drop that lies within z standard deviations of what was seen."""
    low, high = (lost - won) / n, 1.0
    for _ in range(40):
        drop = (low + high) / 2
        # The most likely share of won items if this were the drop: the larger root of a x² + b x + c.
        a, b, c = 2 * n, (2 * n - lost + won) * drop - lost - won, -won * drop * (1 - drop)
        won_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        spread = math.sqrt(max(0.0, n * (2 * won_share + drop * (1 - drop))))
        low, high = (drop, high) if lost - won + 1 - n * drop > -z * spread else (low, drop)
    return high
