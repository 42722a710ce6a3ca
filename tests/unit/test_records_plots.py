"""Pictures: the same figures give the same bytes, with their words and numbers; little or nothing still gives one."""

from __future__ import annotations

import base64
import warnings
from xml.etree import ElementTree as ET

import pytest

from slipway.measure.samples import Sample
from slipway.measure.sweep import Knee, Point
from slipway.profile import load_profile
from slipway.records.pairs import Pairs, pairs
from slipway.records.plots import data_url, ladder_svg, latency_svg, pairs_svg
from tests.support.measure_samples import healthy, sample

PROFILE = load_profile("miniature")
DEAD = sample(error="boom", event_s=(), event_tokens=())


def texts(svg: bytes) -> str:
    """All words of the picture."""
    return " ".join("".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))


def test_same_samples_same_bytes() -> None:
    samples = healthy(PROFILE)
    assert latency_svg(PROFILE, samples) == latency_svg(PROFILE, samples)


def test_workloads_and_limits_are_named() -> None:
    words = texts(latency_svg(PROFILE, healthy(PROFILE)))
    for word in (*PROFILE.workloads, "TTFT (ms)", "TPOT (ms)", "limit p50@chat"):
        assert word in words


@pytest.mark.parametrize("samples", [{}, {"chat": [DEAD]}, {"chat": [sample(), DEAD]}])
def test_few_or_no_samples(samples: dict[str, list[Sample]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "TTFT (ms)" in texts(latency_svg(PROFILE, samples))


def test_data_url_holds_the_picture() -> None:
    head, body = data_url(b"<svg/>").split(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(body) == b"<svg/>"


def rung(concurrency: int, tokens_per_s: float) -> Point:
    return Point(concurrency, tokens_per_s, 0.1, 0.2, 0.01, 40, 0)


def test_ladder_names_its_knee() -> None:
    points = [rung(1, 100.0), rung(2, 190.0), rung(4, 200.0)]
    image = ladder_svg(points, Knee(points[1], "no more", found=True))
    assert image == ladder_svg(points, Knee(points[1], "no more", found=True))
    words = texts(image)
    for word in ("knee: 2 streams", "output tokens/s", "TTFT p95", "TPOT p50", "streams"):
        assert word in words
    assert "knee" not in texts(ladder_svg(points[:1], Knee(None, "failed", found=True)))


def test_pairs_are_counted_by_question() -> None:
    before = {"a": True, "b": True, "c": False, "d": False, "gone": True}
    now = {"a": True, "b": False, "c": True, "d": False, "new": True}
    assert pairs(before, now) == Pairs(both_right=1, won=1, lost=1, both_wrong=1)
    assert pairs(before, {}) == Pairs(0, 0, 0, 0)


def test_pairs_are_drawn_with_their_numbers() -> None:
    words = texts(pairs_svg({"sums": Pairs(110, 3, 7, 0)}))
    # Wilson's bounds of 113 right answers of 120
    for word in ("sums: 94.2% of 120 right (88.4% to 97.1%); in both 110 right, 0 wrong", "7", "only the baseline is"):
        assert word in words
    assert "none asked of both" in texts(pairs_svg({"sums": Pairs(0, 0, 0, 0)}))
    assert "questions" in texts(pairs_svg({}))
