"""Bounds and tests of one sample: known values, duals, and how often they hold the truth in simulated samples."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slipway.gates import statistics
from slipway.gates.statistics import Bounds, Side

CONFIDENCE = 0.95
DRAWS = 1000


def at_least_nominal(held: float) -> bool:
    """Whether a share of `DRAWS` intervals is no less than the confidence, four standard errors aside."""
    return held >= CONFIDENCE - 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / DRAWS)


# Clopper-Pearson one-sided bounds. Without failures there is a closed form: 1 - (1 - confidence) ** (1 / n).
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 59, 0.0, 1 - 0.05 ** (1 / 59)),
        (0, 300, 0.0, 1 - 0.05 ** (1 / 300)),
        (50, 50, 0.05 ** (1 / 50), 1.0),
        (1, 1, 0.05, 1.0),
        (0, 1, 0.0, 0.95),
        (5, 10, 0.2224, 0.7776),  # the two-sided 90 % interval of Clopper and Pearson's tables
        (95, 100, 0.8977, 0.9801),
    ],
)
def test_share_has_known_bounds(successes: int, n: int, low: float, high: float) -> None:
    found = statistics.share(successes, n, CONFIDENCE)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert (found.estimate, found.n) == (successes / n, n)


@pytest.mark.parametrize("n", [20, 120])
@pytest.mark.parametrize("truth", [0.5, 0.9, 0.985])
def test_share_holds_the_truth(truth: float, n: int) -> None:
    share = functools.cache(lambda successes: statistics.share(successes, n, CONFIDENCE))
    found = [share(int(k)) for k in np.random.default_rng(1).binomial(n, truth, DRAWS)]
    assert at_least_nominal(np.mean([each.low <= truth for each in found]))
    assert at_least_nominal(np.mean([each.high >= truth for each in found]))


def test_share_is_no_wider_than_it_must_be() -> None:
    """Exact means: one failure more or less moves the bound past the truth that the confidence allows."""
    from scipy import stats

    for successes in (3, 60, 117):
        found = statistics.share(successes, 120, CONFIDENCE)
        assert stats.binom.sf(successes - 1, 120, found.low) == pytest.approx(0.05)
        assert stats.binom.cdf(successes, 120, found.high) == pytest.approx(0.05)


@pytest.mark.parametrize("n", [3, 64])
def test_mean_of_normal_values_is_exact(n: int) -> None:
    values = np.random.default_rng(2).normal(2.5, 0.45, (DRAWS, n))
    found = [statistics.mean(row, CONFIDENCE) for row in values]
    tolerance = 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / DRAWS)
    assert np.mean([each.low <= 2.5 for each in found]) == pytest.approx(CONFIDENCE, abs=tolerance)
    assert np.mean([each.high >= 2.5 for each in found]) == pytest.approx(CONFIDENCE, abs=tolerance)


def test_mean_by_hand() -> None:
    found = statistics.mean(np.array([1.0, 2.0, 3.0]), CONFIDENCE)
    assert found.estimate == 2
    assert found.high - 2 == 2 - found.low == pytest.approx(2.91999 / math.sqrt(3), abs=1e-4)  # t(0.95, 2) * s / sqrt n


def test_mean_of_one_value_has_no_bounds() -> None:
    assert statistics.mean(np.array([3.0]), CONFIDENCE) == Bounds(3.0, -math.inf, math.inf, 1)


@pytest.mark.parametrize(("q", "n"), [(0.5, 9), (0.5, 64), (0.95, 64), (0.95, 200)])
def test_quantile_holds_the_truth_of_any_distribution(q: float, n: int) -> None:
    rng = np.random.default_rng(3)

    # TTFT-like: most near 20 ms, one in fifty ten times as long. Its quantiles are found from a large draw.
    def draw(shape: int | tuple[int, int]) -> np.ndarray:
        return np.exp(rng.normal(-4, 0.2, shape)) * np.where(rng.random(shape) < 0.02, 10, 1)

    truth = np.quantile(draw(400_000), q)
    found = [statistics.quantile(row, q, CONFIDENCE) for row in draw((DRAWS, n))]
    assert at_least_nominal(np.mean([each.low <= truth for each in found]))
    assert at_least_nominal(np.mean([each.high >= truth for each in found]))


@pytest.mark.parametrize(("q", "needed"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_upper_bound_of_a_quantile_needs_enough_values(q: float, needed: int) -> None:
    values = np.arange(float(needed))
    assert statistics.quantile(values, q, CONFIDENCE).high == needed - 1
    assert statistics.quantile(values[:-1], q, CONFIDENCE).high == math.inf


def test_lower_bound_of_the_median_needs_five_values() -> None:
    assert statistics.quantile(np.arange(5.0), 0.5, CONFIDENCE).low == 0
    assert statistics.quantile(np.arange(4.0), 0.5, CONFIDENCE).low == -math.inf


def test_order_of_values_does_not_matter() -> None:
    values = np.arange(100.0)
    shuffled = np.random.default_rng(4).permutation(values)
    assert statistics.quantile(shuffled, 0.5, CONFIDENCE) == statistics.quantile(values, 0.5, CONFIDENCE)


SIDES: tuple[Side, Side] = ("above", "below")


def beyond(found: Bounds, limit: float, side: Side) -> bool:
    """Whether a bound claims that the truth is on this side of the limit."""
    return found.low > limit if side == "above" else found.high < limit


def far_from(p: float, level: float) -> None:
    assume(abs(p - level) > 1e-9)  # at equality rounding decides


VALUES = st.lists(st.floats(-10, 10).map(lambda x: round(x, 1)), min_size=1, max_size=80).map(np.array)


# Two-sided 95 % intervals of Wilson for a share of 0.95, as facts and textbooks give them.
@pytest.mark.parametrize(
    ("n", "low", "high"), [(100, 0.888, 0.978), (200, 0.910, 0.973), (400, 0.924, 0.967), (1319, 0.937, 0.960)]
)
def test_wilson_has_known_bounds(n: int, low: float, high: float) -> None:
    found = statistics.wilson(round(0.95 * n), n, 0.975)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


@given(data=st.data(), n=st.integers(1, 2000))
def test_wilson_is_narrower_than_clopper_pearson(data: st.DataObject, n: int) -> None:
    successes = data.draw(st.integers(0, n))
    score, exact = statistics.wilson(successes, n, CONFIDENCE), statistics.share(successes, n, CONFIDENCE)
    assert score.high - score.low <= exact.high - exact.low


def test_clustered_mean_holds_the_truth_where_a_plain_mean_does_not() -> None:
    """Four answers to each of 30 questions: what one question is like, all its answers are."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(30), 4)
    runs = 0.8 + np.repeat(rng.normal(0, 0.2, (DRAWS, 30)), 4, axis=1) + rng.normal(0, 0.1, (DRAWS, 120))
    clustered = [statistics.clustered_mean(run, clusters, CONFIDENCE) for run in runs]
    tolerance = 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / DRAWS)
    assert np.mean([each.low <= 0.8 for each in clustered]) == pytest.approx(CONFIDENCE, abs=tolerance)
    assert np.mean([each.high >= 0.8 for each in clustered]) == pytest.approx(CONFIDENCE, abs=tolerance)
    assert not at_least_nominal(np.mean([statistics.mean(run, CONFIDENCE).low <= 0.8 for run in runs]))


def test_clustered_mean_of_single_values_is_the_plain_one() -> None:
    values = np.random.default_rng(6).normal(size=25)
    plain, clustered = statistics.mean(values, 0.9), statistics.clustered_mean(values, np.arange(25), 0.9)
    assert (clustered.low, clustered.high) == (pytest.approx(plain.low), pytest.approx(plain.high))


def test_clustered_mean_of_one_cluster_has_no_bounds() -> None:
    assert statistics.clustered_mean(np.ones(4), np.zeros(4, int), 0.9) == Bounds(1.0, -math.inf, math.inf, 4)


def test_holm_steps_down() -> None:
    """Holm's own way: 0.01 <= 0.05 / 4, 0.016 <= 0.05 / 3, then 0.03 > 0.05 / 2 ends it, whatever follows."""
    assert statistics.holm({"a": 0.01, "b": 0.03, "c": 0.016, "d": 0.04}, 0.05) == {"a", "c"}


def test_holm_of_nothing_shows_nothing() -> None:
    assert statistics.holm({}, 0.05) == frozenset()


def test_holm_keeps_the_error_of_the_family() -> None:
    rng = np.random.default_rng(7)
    names = "abcdefgh"
    # Six true nulls, two false ones whose p-values are tiny: these must not use up the allowance of the others.
    p = np.where(np.arange(8) < 6, rng.random((4000, 8)), 1e-6)
    shown = [statistics.holm(dict(zip(names, row, strict=True)), 0.05) for row in p]
    false = np.mean([bool(each & set(names[:6])) for each in shown])
    assert all({"g", "h"} <= each for each in shown)
    # 1 - (1 - 0.05 / 6) ** 6 = 0.049 for independent tests: no more, and not much less either
    assert false == pytest.approx(0.049, abs=4 * math.sqrt(0.049 * 0.951 / 4000))


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1)), st.floats(0.001, 0.2))
def test_holm_shows_what_bonferroni_shows_and_nothing_above_alpha(p: dict[str, float], alpha: float) -> None:
    shown = statistics.holm(p, alpha)
    assert {name for name in p if p[name] <= alpha / len(p)} <= shown <= {name for name in p if p[name] <= alpha}


@pytest.mark.parametrize(("q", "needed"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_requests_for_bound(q: float, needed: int) -> None:
    assert statistics.requests_for_bound(q, CONFIDENCE) == needed


@pytest.mark.parametrize(("true", "limit"), [(0.955, 0.90), (0.002, 0.03), (0.0, 0.05), (1.0, 0.95)])
def test_share_n_is_the_first_that_has_the_power(true: float, limit: float) -> None:
    from scipy import stats

    def power(n: int) -> float:
        counts = np.arange(n + 1)
        found = [statistics.share(int(k), n, CONFIDENCE) for k in counts]
        kept = [each.high <= limit if true < limit else each.low >= limit for each in found]
        return float(stats.binom.pmf(counts, n, true)[kept].sum())

    needed = statistics.share_n(true, limit, CONFIDENCE, 0.8)
    assert needed is not None
    assert power(needed) >= 0.8
    assert all(power(n) < 0.8 for n in range(max(1, needed - 40), needed))


def test_share_n_where_nothing_helps() -> None:
    assert statistics.share_n(0.01, 0.01, CONFIDENCE, 0.8, at_most=5000) is None
