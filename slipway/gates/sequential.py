"""Looking at the samples while they come, with a known chance of deciding wrongly.

One idea: at look j, when n_j requests are in, bounds are computed as if nothing had been looked at before, but at a
higher, nominal confidence c_j. These are chosen so that the chance that the bound of any look excludes the truth is at
most 1 - confidence over all looks. So every bound of `slipway.gates.statistics` becomes a sequential one.

The allowed error is spent in proportion to the requests taken (Lan and DeMets 1983, with the linear member of the power
family): after a quarter of the requests a quarter of it may be spent. Decision record 0008 says why.

A verdict uses both sides, each with its own error: PASS when the unfavourable bound at `nominal_confidence(looks,
1 - consumer's risk)` keeps the limit, FAIL when the favourable one at `nominal_confidence(looks, 1 - producer's risk)`
breaks it. Neither counts on the other having stopped first, so each risk holds whatever the other rule is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from slipway.gates.statistics import Side

_POINTS = 257  # of the grid over which densities are integrated: errors are below 1e-7
_TAIL = 8.0  # standard deviations at which the grid ends


def nominal_confidence(looks: Sequence[int], confidence: float) -> tuple[float, ...]:
    """The confidence that each look's bound must have, for all looks together to have the given one.

    The boundary b_j of a standardised sum S_j / sqrt(n_j) solves P(first beyond it at look j) = error spent at look j;
    c_j = Phi(b_j). Sums have independent increments, so their density among the paths that have not stopped is carried
    from look to look by numerical integration (Armitage, McPherson and Rowe 1969). That is normal theory: exact for
    means of normal values of known spread, and conservative for `share` and `quantile`, whose counts are whole (see
    `crossing_probability`).

    Args:
        looks: Requests at each look, all of them from the start; the last is where measuring ends.
        confidence: One-sided, over all looks.

    Returns:
        One confidence a look.

    Raises:
        ValueError: If the looks do not increase.
    """
    if not looks or any(later <= sooner for sooner, later in zip((0, *looks), looks, strict=False)):
        raise ValueError(f"looks must increase from 1 request on, these do not: {list(looks)}")
    return _nominal_confidence(tuple(looks), confidence)


def crossing_probability(looks: Sequence[int], nominal: Sequence[float], limit: float, side: Side) -> float:
    """The chance that a Clopper-Pearson bound of any look claims that a share is beyond a limit which it equals.

    Exact, by the distribution of the count among the paths that have not stopped. It is what `nominal_confidence`
    must keep at 1 - confidence or less.

    Args:
        looks: Requests at each look.
        nominal: Confidence of each look's bound.
        limit: The true share.
        side: Which claim: "above", by the lower bound; or "below", by the upper one.
    """
    share = limit if side == "below" else 1 - limit  # a share above is a share of the opposite below
    going, seen, crossed = np.ones(1), 0, 0.0
    for n, confidence in zip(looks, nominal, strict=True):
        new = np.arange(n - seen + 1)
        going = np.convolve(going, np.exp(_log_binomial(new, n - seen, share)))
        claims = scipy.special.bdtr(np.arange(n + 1), n, share) < 1 - confidence
        crossed += float(going[claims].sum())
        going = np.where(claims, 0.0, going)
        seen = n
    return crossed


class _Paths(NamedTuple):
    """Paths of the sum that have not stopped: their density at the points of a grid, times the points' weights."""

    grid: NDArray[np.float64]
    weighted: NDArray[np.float64]
    time: float


@lru_cache(maxsize=512)
def _nominal_confidence(looks: tuple[int, ...], confidence: float) -> tuple[float, ...]:
    times = np.array(looks) / looks[-1]
    spent = np.diff((1 - confidence) * times, prepend=0.0)
    boundary = -float(scipy.special.ndtri(spent[0]))
    paths = _first_paths(float(times[0]), boundary)
    nominal = [float(scipy.special.ndtr(boundary))]
    for time, error in zip(times[1:], spent[1:], strict=True):
        boundary = _root(partial(_crossing, paths, float(time)), float(error))
        paths = _next_paths(paths, float(time), boundary)
        nominal.append(float(scipy.special.ndtr(boundary)))
    return tuple(nominal)


def _first_paths(time: float, boundary: float) -> _Paths:
    grid, weights = _grid(time, boundary)
    return _Paths(grid, weights * _normal_density(grid, math.sqrt(time)), time)


def _crossing(paths: _Paths, time: float, boundary: float) -> float:
    """The chance to be beyond the boundary at this time, and not before."""
    spread = math.sqrt(time - paths.time)
    return float(paths.weighted @ scipy.special.ndtr((paths.grid - boundary * math.sqrt(time)) / spread))


def _next_paths(paths: _Paths, time: float, boundary: float) -> _Paths:
    grid, weights = _grid(time, boundary)
    steps = _normal_density(grid[:, None] - paths.grid, math.sqrt(time - paths.time))
    return _Paths(grid, weights * (steps @ paths.weighted), time)


def _grid(time: float, boundary: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums that have not stopped, and their weights in Simpson's rule."""
    grid, step = np.linspace(-_TAIL * math.sqrt(time), boundary * math.sqrt(time), _POINTS, retstep=True)
    weights = np.full(_POINTS, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return grid, weights * float(step) / 3


def _normal_density(x: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    density: NDArray[np.float64] = np.exp(-0.5 * (x / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    return density


def _root(falling: Callable[[float], float], value: float) -> float:
    """Where a falling function of a boundary takes a value, from the side that spends no more."""
    low, high = -_TAIL, 2 * _TAIL
    for _ in range(48):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return high


def _log_binomial(k: NDArray[np.int_], n: int, share: float) -> NDArray[np.float64]:
    ways = scipy.special.gammaln(n + 1) - scipy.special.gammaln(k + 1) - scipy.special.gammaln(n - k + 1)
    found: NDArray[np.float64] = ways + scipy.special.xlogy(k, share) + scipy.special.xlog1py(n - k, -share)
    return found
