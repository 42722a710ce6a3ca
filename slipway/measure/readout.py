"""After the run: what the loop kept becomes exchanges, and the client's report on itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slipway.measure.connection import Flight
from slipway.measure.exchange import Exchange
from slipway.measure.loop import Record
from slipway.measure.quality import BY_DESIGN_S, Quality
from slipway.measure.stamps import Nanoseconds

_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Effort:
    """What this thread and process have used so far: processor time, and time ready to run without a processor."""

    cpu_s: float
    run_queue_s: float

    @classmethod
    def now(cls) -> Effort:
        """Read it; the run-queue wait is 0 where the kernel does not tell."""
        waited_ns = "0"
        with contextlib.suppress(OSError, IndexError):
            waited_ns = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]
        return cls(time.process_time(), int(waited_ns) * _NS)


NOTHING = Quality("user", 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0)
"""The report on a run in which nothing was sent."""


@dataclass(frozen=True, slots=True)
class _Reads:
    """All reads of a run, one after another; nanoseconds of the monotonic clock.

    Attributes:
        arrived_ns: When the bytes came.
        late_ns: How long they had waited when they were taken; without a kernel stamp, at most.
        since_ns: The wake-up that took them.
        stamped: Whether the kernel stamped them.
    """

    arrived_ns: Nanoseconds
    late_ns: Nanoseconds
    since_ns: Nanoseconds
    stamped: NDArray[np.bool_]


def read(record: Record, request_ids: Sequence[str], began: Effort) -> tuple[tuple[Exchange, ...], Quality]:
    """Exchanges in the order of the requests, and how well the client did.

    Args:
        record: What the loop kept.
        request_ids: One a request.
        began: What had been used when the run began.
    """
    reads = _reads(record)
    made: list[Exchange] = []
    slow = _slow_wake_ups(reads, record.naps)
    events = merged = at = 0
    for flight, request_id in zip(record.flights, request_ids, strict=True):
        here = slice(at, at + len(flight.pieces))
        at = here.stop
        bodies = flight.framing.bodies([data for _, data in flight.pieces])
        arrived_s = (reads.arrived_ns[here] * _NS).tolist()
        made.append(_exchange(flight, request_id, arrived_s, bodies))
        counted, several = _merged(bodies, slow[here])
        events += counted
        merged += several
    lags = np.quantile(reads.late_ns, (0.5, 0.99)) * _NS if at else (0.0, 0.0)
    used = Effort.now()
    return tuple(made), Quality(
        stamps="kernel" if at and bool(reads.stamped.mean() > 0.999) else "user",
        processes=1,
        wall_s=(record.end_ns - record.start_ns) * _NS,
        cpu_s=used.cpu_s - began.cpu_s,
        run_queue_s=used.run_queue_s - began.run_queue_s,
        lag_p50_s=float(lags[0]),
        lag_p99_s=float(lags[1]),
        dispatch_lag_p99_s=_dispatch_lag_p99_s(record.flights),
        reads=events,
        merged_share=merged / events if events else 0.0,
        clock_drift_s=record.clock.drift_s,
    )


def _reads(record: Record) -> _Reads:
    table = record.readings.table()[[number for flight in record.flights for number, _ in flight.pieces]]
    taken_ns, since_ns = table["taken_ns"], table["since_ns"]
    walls_ns = table["stamp_s"] * 1_000_000_000 + table["stamp_ns"]
    stamped = walls_ns > 0
    # No segment comes after it was read: a stamp that says so was made while the wall clock was set.
    kernel_ns = np.minimum(record.clock.monotonic_ns(walls_ns), taken_ns)
    return _Reads(
        arrived_ns=np.where(stamped, kernel_ns, taken_ns),
        late_ns=taken_ns - np.where(stamped, kernel_ns, since_ns),
        since_ns=since_ns,
        stamped=stamped,
    )


def _slow_wake_ups(reads: _Reads, naps: Sequence[tuple[int, int]]) -> list[bool]:
    """For each read, whether anything read at the same wake-up had waited longer than the client means to let it.

    Of events that share a read only the last one's wait is known; but what kept them waiting kept other streams'
    events waiting too.
    """
    _, wake_up = np.unique(reads.since_ns, return_inverse=True)
    latest_ns = np.zeros(len(reads.since_ns), dtype=np.int64)
    np.maximum.at(latest_ns, wake_up, reads.late_ns)
    began_ns, nap_ns = np.array(naps, dtype=np.int64).reshape(-1, 2).T
    napped_ns = nap_ns[np.maximum(np.searchsorted(began_ns, reads.since_ns) - 1, 0)]
    slow: list[bool] = (latest_ns[wake_up] > napped_ns + BY_DESIGN_S / _NS).tolist()
    return slow


def _exchange(flight: Flight, request_id: str, arrived_s: list[float], bodies: list[bytes]) -> Exchange:
    return Exchange(
        request_id=request_id,
        intended_s=flight.intended_ns * _NS,
        sent_s=(flight.sent_ns or flight.ended_ns) * _NS,
        connect_s=flight.connect_ns * _NS,
        ended_s=arrived_s[-1] if arrived_s and not flight.error else flight.ended_ns * _NS,
        status=flight.framing.status,
        reads=tuple([read for read in zip(arrived_s, bodies, strict=True) if read[1]]),
        error=flight.error,
    )


def _merged(bodies: Sequence[bytes], slow: Sequence[bool]) -> tuple[int, int]:
    """Reads with events, and those of them in which the client may have merged events that came apart.

    Servers merge by themselves: the role with the first event, the end with the last, tool calls of one step. So the
    first and the last read do not count, and no read does that was taken in time.
    """
    with_events = [index for index, body in enumerate(bodies) if b"data:" in body]
    return len(with_events), sum(slow[index] and _events(bodies[index]) > 1 for index in with_events[1:-1])


def _events(body: bytes) -> int:
    """Server-sent events that begin in a piece: `data:` at the beginning of a line."""
    return body.count(b"\ndata:") + body.startswith(b"data:")


def _dispatch_lag_p99_s(flights: Sequence[Flight]) -> float:
    """How late the client was with sending what it could have sent: waiting for a connection is not its doing."""
    lags_ns = [flight.sent_ns - max(flight.intended_ns, flight.ready_ns) for flight in flights if flight.sent_ns]
    return float(np.quantile(lags_ns, 0.99)) * _NS if lags_ns else 0.0
