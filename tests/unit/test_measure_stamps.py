"""Kernel stamps: there on Linux, right although the client sleeps, and done without where they are not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import numpy as np
import pytest

from slipway.endpoint import Endpoint
from slipway.measure import compiled, stamps
from slipway.measure.client import Observed, drive
from slipway.measure.compiled import Compiled
from slipway.measure.connection import Connection
from slipway.measure.load import ClosedLoop
from slipway.measure.readings import Readings
from slipway.measure.receiver import Interpreted, Receiver, Turn
from slipway.measure.samples import parse
from tests.support.measure_server import completion, paced, request, same, serving

with_each_receiver = pytest.mark.usefixtures("each_receiver")
needs_kernel_stamps = pytest.mark.skipif(not stamps.kernel_stamps(), reason="this kernel stamps no TCP segments")
COUNTS, GAPS_S = [1, 2, 3, 4, 5], [0.05, 0.1, 0.15, 0.1]


def measured(count: int = 1) -> tuple[Observed, list[list[float]]]:
    """One run, and by how much each event's stamp differs from when the server sent it."""
    with serving(same(*paced(completion(COUNTS), [0.1, *GAPS_S]))) as server:
        observed = drive(Endpoint(server.url, "m"), [request(n) for n in range(count)], ClosedLoop(count), timeout_s=20)
    sent = {each.body["messages"][0]["content"]: each.sent_s for each in server.served}
    errors_s = []
    for exchange in observed.exchanges:
        sample = parse("chat", exchange)
        assert sample.error == ""
        truth_s = sent[exchange.request_id.removeprefix("r-")][: len(COUNTS)]
        errors_s.append([exchange.sent_s + at_s - true_s for at_s, true_s in zip(sample.event_s, truth_s, strict=True)])
    return observed, errors_s


@with_each_receiver
@needs_kernel_stamps
def test_stamps_are_the_servers_times() -> None:
    observed, errors_s = measured(8)
    assert observed.quality.stamps == "kernel"
    # The server may lose its processor between noting the time and sending; the median did not.
    assert abs(float(np.median(errors_s))) < 0.002


@needs_kernel_stamps
def test_a_client_that_reads_late_still_stamps_right(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Connection.receive

    def late(self: Connection, since_ns: int, readings: Readings) -> bool:
        time.sleep(0.02)
        return receive(self, since_ns, readings)

    monkeypatch.setattr(Connection, "receive", late)
    monkeypatch.setattr(compiled, "load", lambda _path: None)
    observed, errors_s = measured()
    assert observed.quality.lag_p50_s > 0.015
    assert abs(float(np.median(errors_s))) < 0.005
    assert observed.quality.complaints(0.1) == ()


def stalling(turn: Callable[..., Turn]) -> Callable[..., Turn]:
    def stalled(self: Receiver, until_ns: int, nap_ns: int, *, once: bool) -> Turn:
        time.sleep(0.13)
        return turn(self, until_ns, nap_ns, once=True)

    return stalled


@with_each_receiver
@needs_kernel_stamps
def test_a_client_so_late_that_events_merge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for receiver in (Compiled, Interpreted):
        monkeypatch.setattr(receiver, "turn", stalling(receiver.turn))
    observed, _ = measured()
    assert observed.quality.merged_share > 0.01
    assert any("merged events" in complaint for complaint in observed.quality.complaints(0.1))


@with_each_receiver
@needs_kernel_stamps
def test_events_that_the_server_merged_are_not_held_against_the_client() -> None:
    role, *events = completion(list(range(1, 40)))
    pairs = [b"".join(events[n : n + 2]) for n in range(0, len(events), 2)]
    with serving(same(*paced([role, *pairs], [0.05] * len(pairs)))) as server:
        observed = drive(Endpoint(server.url, "m"), [request(0)], ClosedLoop(1), timeout_s=20)
    assert observed.quality.reads >= 15
    assert observed.quality.merged_share < 0.5


@with_each_receiver
def test_without_kernel_stamps_the_client_stamps_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "enable", lambda _sock: False)
    monkeypatch.setattr(stamps, "kernel_stamps", lambda: False)
    observed, errors_s = measured(8)
    assert observed.quality.stamps == "user"
    assert 0 <= float(np.median(errors_s)) < 0.05


def test_option_without_stamps_is_seen_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes accept the option and stamp nothing."""
    monkeypatch.setattr(stamps, "enable", lambda _sock: True)
    assert stamps.kernel_stamps.__wrapped__() is False


def test_refused_option() -> None:
    with socket.socket() as closed:
        pass
    assert stamps.enable(closed) is False


# --- the two clocks --------------------------------------------------------------------------------------------


class Clocks:
    """A wall clock that runs as the test wants, beside a monotonic one that moves 1 us at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.offset_ns = 5_000_000_000, 1_700_000_000_000_000_000
        monkeypatch.setattr(time, "perf_counter_ns", self.monotonic)
        monkeypatch.setattr(time, "time_ns", lambda: self.monotonic() + self.offset_ns)

    def monotonic(self) -> int:
        self.now_ns += 1000
        return self.now_ns


def test_a_slewed_clock_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, wall = Clocks(monkeypatch), stamps.WallClock()
    truth_ns, stamped_ns = [], []
    for _ in range(101):
        wall.measure()
        truth_ns.append(clocks.now_ns)
        stamped_ns.append(clocks.now_ns + clocks.offset_ns)
        clocks.now_ns += 50_000_000
        clocks.offset_ns += 25_000  # 500 ppm, the most that Linux slews
    errors_ns = wall.monotonic_ns(np.array(stamped_ns)) - np.array(truth_ns)
    assert np.abs(errors_ns).max() < 2_000
    assert wall.drift_s == pytest.approx(0.0025)


def test_stamps_are_read_as_the_kernel_writes_them() -> None:
    readings = Readings()
    readings.add(5, 3, (1_700_000_000).to_bytes(8, "little") + (123_456_789).to_bytes(8, "little"))
    readings.add(7, 6, b"")
    assert readings.table().tolist() == [(5, 3, 1_700_000_000, 123_456_789), (7, 6, 0, 0)]
    assert (len(readings), readings.taken_ns(1)) == (2, 7)
    assert Readings().table().tolist() == []
