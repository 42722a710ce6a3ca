"""What one set of observations says of a true value: one-sided bounds, p-values, and the observations they need.

Each test is the dual of a bound: `share_p(…, side="above")` is below 1 - confidence exactly where the lower bound of
`share` at that confidence lies above the limit. So a verdict reads the same from either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy  # not scipy.stats, which takes over a second; submodules are loaded when first used
from numpy.typing import NDArray

Side = Literal["above", "below"]
"""On which side of its limit a true value is claimed to lie."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A figure and where its true value lies.

    Attributes:
        estimate: The point estimate.
        low: Lower bound; the truth is below with probability at most 1 - confidence. -inf: cannot be told.
        high: Upper bound, likewise. inf: cannot be told.
        n: Observations.
    """

    estimate: float
    low: float
    high: float
    n: int


def share(successes: int, n: int, confidence: float) -> Bounds:
    """A proportion with Clopper-Pearson bounds: exact for the binomial, never too narrow.

    0 failures of 59 bound the failure rate by 4.95 % at 95 % confidence (the "rule of three": 3 / n).
    Needs one observation at least.
    """
    low = float(scipy.special.betaincinv(successes, n - successes + 1, 1 - confidence)) if successes else 0.0
    high = float(scipy.special.betaincinv(successes + 1, n - successes, confidence)) if successes < n else 1.0
    return Bounds(successes / n, low, high, n)


def wilson(successes: int, n: int, confidence: float) -> Bounds:
    """A proportion with the bounds of Wilson's score (1927): narrower than `share`.

    They keep their confidence only on average over truths: near 0 and 1 they can miss the truth twice as often as
    they say. For what is shown to people, never for a gate. Needs one observation at least.
    """
    z = float(scipy.special.ndtri(confidence))
    estimate = successes / n
    centre = (estimate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(estimate * (1 - estimate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Bounds(estimate, max(0.0, centre - half), min(1.0, centre + half), n)


def mean(values: NDArray[np.float64], confidence: float) -> Bounds:
    """A mean with Student's t bounds. Needs one value at least, and two for a bound."""
    n = len(values)
    estimate = float(np.mean(values))
    if n < 2:
        return Bounds(estimate, -math.inf, math.inf, n)
    half = float(scipy.special.stdtrit(n - 1, confidence) * np.std(values, ddof=1) / math.sqrt(n))
    return Bounds(estimate, estimate - half, estimate + half, n)


def clustered_mean(values: NDArray[np.float64], clusters: NDArray[np.int_], confidence: float) -> Bounds:
    """A mean of values that come in groups which resemble each other, e.g. several answers to one question.

    The cluster-robust standard error with the correction for few clusters, G / (G - 1), and Student's t with G - 1
    degrees of freedom (Liang and Zeger 1986; Miller 2024, arXiv 2411.00640, for evaluations of language models).

    Args:
        values: One figure an observation.
        clusters: Which cluster each belongs to; any integers.
        confidence: Of each one-sided bound.
    """
    n = len(values)
    estimate = float(np.mean(values))
    _, member_of = np.unique(clusters, return_inverse=True)
    sums = np.bincount(member_of, weights=values - estimate)
    groups = len(sums)
    if groups < 2:
        return Bounds(estimate, -math.inf, math.inf, n)
    error = math.sqrt(groups / (groups - 1) * float(np.sum(sums**2))) / n
    half = float(scipy.special.stdtrit(groups - 1, confidence)) * error
    return Bounds(estimate, estimate - half, estimate + half, n)


def quantile(values: NDArray[np.float64], q: float, confidence: float) -> Bounds:
    """A quantile with bounds from order statistics: free of any assumption on the distribution.

    The number of observations below the true quantile is binomial(n, q), so the order statistic of the
    matching rank bounds it. With too few observations no bound exists: see `requests_for_bound`.
    """
    ordered = np.sort(values)
    n = len(ordered)
    low_rank = _binomial_quantile(1 - confidence, n, q)  # at least so many lie below, at this confidence
    high_rank = _binomial_quantile(confidence, n, q) + 1
    return Bounds(
        estimate=float(np.interp(q * (n - 1), np.arange(n), ordered)),
        low=float(ordered[low_rank - 1]) if low_rank >= 1 else -math.inf,
        high=float(ordered[high_rank - 1]) if high_rank <= n else math.inf,
        n=n,
    )


def holm(p_values: Mapping[str, float], alpha: float) -> frozenset[str]:
    """The claims that hold with a chance of at most `alpha` that any of them is wrong (Holm 1979).

    Whatever the dependence between them: gates read the same requests.

    Args:
        p_values: By claim.
        alpha: Chance of one false claim or more, over all of them.

    Returns:
        The claims that were shown.
    """
    shown = set()
    for left, name in zip(range(len(p_values), 0, -1), sorted(p_values, key=p_values.__getitem__), strict=True):
        if p_values[name] > alpha / left:
            break
        shown.add(name)
    return frozenset(shown)


def requests_for_bound(q: float, confidence: float) -> int:
    """The fewest requests that can bound a quantile from above: 29, 59 and 299 for p90, p95 and p99 at 0.95.

    All n lie below the true quantile with probability q ** n, so fewer cannot exclude that it is above them all.
    """
    return math.ceil(math.log(1 - confidence) / math.log(q))


def share_n(true: float, limit: float, confidence: float, power: float, at_most: int = 1_000_000) -> int | None:
    """The fewest requests that show with this power that a share keeps its limit.

    Args:
        true: What the share really is.
        limit: What it is compared with: an upper limit where `true` is below it, else a lower one.
        confidence: Of the Clopper-Pearson bound that is compared with the limit.
        power: Chance that the bound keeps the limit.
        at_most: Where to give up.

    Returns:
        Requests; None where even `at_most` are too few. A few more requests than this may have a little less power,
        since counts are whole: the power saws.
    """
    if true > limit:
        true, limit = 1 - true, 1 - limit
    start = 1
    while start <= at_most:
        n = np.arange(start, min(2 * start, at_most + 1))
        failures = np.floor(scipy.special.bdtrik(1 - confidence, n, limit) + 1e-9).astype(int)  # so many keep the limit
        enough = (scipy.special.bdtr(failures, n, limit) <= 1 - confidence) & (
            scipy.special.bdtr(failures, n, true) >= power
        )
        if enough.any():
            return int(n[np.argmax(enough)])
        start *= 2
    return None


@lru_cache(maxsize=4096)  # the same look at the same confidence, gate after gate
def _binomial_quantile(probability: float, n: int, share: float) -> int:
    """The smallest count that a binomial(n, share) does not exceed with at least this probability."""
    return int(np.searchsorted(scipy.special.bdtr(np.arange(n + 1), n, share), probability))
