"""Bounds of any statistic of a run that was measured in repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from slipway.gates.statistics import Bounds

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""One figure of each row; e.g. `functools.partial(np.median, axis=-1)`."""


def block_bootstrap(
    blocks: Sequence[NDArray[np.float64]], statistic: Statistic, confidence: float, *, seed: int, draws: int = 2000
) -> Bounds:
    """A statistic of all values, with bounds that know that values of one block resemble each other.

    Blocks are drawn with replacement, and values within each drawn block. The standard error of the statistic over
    such draws makes bounds with Student's t of B - 1 degrees of freedom: B blocks tell of the spread between blocks no
    more than that. Simulated for 3, 5 and 10 blocks of 300 log-normal values in all, with blocks 0, 3 and 10 % apart:
    bounds at 0.95 hold the median in 0.95 to 1.00 and p95 in 0.94 to 1.00 of 400 runs a case. Drawing whole blocks
    alone, with the same t, holds them in 0.94 to 0.97 and 0.88 to 0.99; percentiles of the draws, as is usual, in
    0.79 to 0.95 and 0.66 to 0.98: three blocks have ten different resamples.

    Args:
        blocks: The values of each repeat.
        statistic: The figure of each row of an array (draws, values).
        confidence: Of each one-sided bound.
        seed: Of the draws: the same seed gives the same bounds.
        draws: How many.

    Returns:
        The statistic of all values, with its bounds; n is the number of values. Infinite with fewer than two blocks.
    """
    values = np.concatenate(blocks)
    estimate = float(statistic(values[None])[0])
    if len(blocks) < 2:
        return Bounds(estimate, -math.inf, math.inf, len(values))
    sizes = np.array([len(block) for block in blocks])
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    # Each block's place is filled from a drawn block: rows keep their length where blocks differ in size.
    drawn = np.repeat(rng.integers(0, len(blocks), (draws, len(blocks))), sizes, axis=1)
    rows = values[starts[drawn] + (rng.random(drawn.shape) * sizes[drawn]).astype(np.intp)]
    half = float(scipy.special.stdtrit(len(blocks) - 1, confidence) * np.std(statistic(rows)))
    return Bounds(estimate, estimate - half, estimate + half, len(values))
