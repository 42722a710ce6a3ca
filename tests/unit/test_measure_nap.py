"""How long the measuring client naps between two looks at its sockets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway.measure.loop import LONGEST_NAP_NS, NAP_NS, NAPS_A_GAP, nap_ns

MS = 1_000_000


def test_some_naps_fit_between_two_events_of_a_stream() -> None:
    assert nap_ns(100 * MS, 13) == 100 * MS // 13 // NAPS_A_GAP  # 7.7 ms a step


def test_nothing_read_yet() -> None:
    assert nap_ns(100 * MS, 0) == NAP_NS


@given(st.integers(0, 10**10), st.integers(0, 10**6))
def test_never_longer_than_allowed_and_never_shorter_than_worth_it(passed: int, reads: int) -> None:
    assert NAP_NS <= nap_ns(passed, reads) <= LONGEST_NAP_NS


@given(st.integers(1, 1000))
def test_two_events_of_the_fastest_stream_never_share_a_nap_that_is_more_than_the_shortest(reads: int) -> None:
    nap = nap_ns(100 * MS, reads)
    assert nap == NAP_NS or nap < 100 * MS / reads
