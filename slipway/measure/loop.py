"""The loop that runs while the clock does: send, wait, keep; one thread, epoll, non-blocking sockets."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slipway.measure import compiled, schedule, stamps
from slipway.measure.connection import DESCRIPTORS, Connection, Flight, Piece
from slipway.measure.framing import BadResponse
from slipway.measure.load import ClosedLoop, OpenLoop
from slipway.measure.readings import Readings
from slipway.measure.receiver import MS_NS
from slipway.measure.target import CONNECT_TIMEOUT_S, Target

NAP_NS = 1_000_000
LONGEST_NAP_NS = 5_000_000
NAPS_A_GAP = 3
"""A stream's events come some three naps apart, so that two hardly ever share a read, and then one stamp."""

NAP_FROM_STREAMS = 5
"""With fewer, a nap would save next to nothing, and could merge events of very fast streams."""

SWEEP_NS = 200_000_000
LOOK_PIECES = 32
LOOKS_A_TURN = 8
"""Streams are looked at after so many pieces, and so many streams in a turn: 50 us each, in which no other is read."""

STALE_WITHIN_NS = 1_000_000_000
"""A kept-alive connection that breaks this soon after the send, without a byte, had been closed before it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent in one run.

    Attributes:
        target: Where to.
        requests: Bodies.
        load: When.
        timeout_s: Deadline of each request.
    """

    target: Target
    requests: Sequence[bytes]
    load: ClosedLoop | OpenLoop
    timeout_s: float


@dataclass(slots=True)
class Record:
    """What the loop kept.

    Attributes:
        flights: One a request, in their order.
        readings: The times of their reads.
        clock: The wall clock against the monotonic one, for the stamps.
        naps: From when on the loop napped how long, in order.
        start_ns: When the schedule began.
        end_ns: When the last request was done.
    """

    flights: list[Flight] = field(default_factory=list)
    readings: Readings = field(default_factory=Readings)
    clock: stamps.WallClock = field(default_factory=stamps.WallClock)
    naps: list[tuple[int, int]] = field(default_factory=list)
    start_ns: int = 0
    end_ns: int = 0


def run(
    plan: Plan, *, on_done: Callable[[int], None] = lambda _: None, on_ready: Callable[[], None] = lambda: None
) -> Record:
    """Send all requests and keep what comes. Failures are recorded, never raised.

    Args:
        plan: What to send.
        on_done: Called with the number of finished requests.
        on_ready: Called when the first connections are open, just before the schedule begins.
    """
    loop = _Loop(plan)
    try:
        return loop.run(on_done, on_ready)
    finally:
        loop.close()


class _Loop:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._may_nap = stamps.kernel_stamps()
        self._nap_ns = NAP_NS
        self._naps: list[tuple[int, int]] = []
        self._epoll = select.epoll()
        self._quiet = bytearray(DESCRIPTORS)
        self._connections: dict[int, Connection] = {}
        self._receiver = compiled.receiver(self._epoll, self._connections, self._quiet)
        self._idle: list[Connection] = []
        self._opening = 0
        self._waiting: deque[Flight] = deque()  # due, but no connection is free yet
        self._flights: list[Flight | None] = [None] * len(plan.requests)
        self._in_flight = 0  # waiting ones included
        self._done = 0
        self._on_done: Callable[[int], None] = lambda _: None
        self._clock = stamps.WallClock()
        self._swept_ns = 0
        self._unswept: list[Connection] = []

    def run(self, on_done: Callable[[int], None], on_ready: Callable[[], None]) -> Record:
        count = len(self._plan.requests)
        self._sweep(time.perf_counter_ns())
        for _ in range(schedule.connections_at_start(self._plan.load, count)):
            self._open()
        while self._opening:
            self._turn(None)
        on_ready()
        self._on_done = on_done
        start_ns = time.perf_counter_ns()
        due = schedule.begin(self._plan.load, count, start_ns)
        while self._done < count:
            now_ns = time.perf_counter_ns()
            for wanted in due.ahead(now_ns):
                if len(self._idle) + self._opening < wanted:
                    self._open()
            for index, intended_ns in due.due(now_ns, self._in_flight):
                self._depart(index, intended_ns, now_ns)
            self._board()
            due_ns = due.next_ns(self._in_flight)
            while self._turn(due_ns):
                pass
        self._clock.measure()
        flights = [flight for flight in self._flights if flight is not None]
        return Record(flights, self._receiver.readings, self._clock, self._naps, start_ns, time.perf_counter_ns())

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._epoll.close()

    # --- requests -------------------------------------------------------------------------------------------------

    def _depart(self, index: int, intended_ns: int, now_ns: int) -> None:
        flight = Flight(index, intended_ns, now_ns + round(1e9 * self._plan.timeout_s))
        self._flights[index] = flight
        self._in_flight += 1
        self._waiting.append(flight)

    def _board(self) -> None:
        """Send what waits over idle connections; open as many as are lacking."""
        while self._waiting and self._idle:
            connection, flight = self._idle.pop(), self._waiting.popleft()
            try:
                connection.send(flight, self._plan.requests[flight.index])
            except OSError as failure:
                self._lost(connection, failure)
        for _ in range(len(self._waiting) - self._opening):
            self._open()

    def _end(self, flight: Flight, error: str = "") -> None:
        flight.ended_ns = time.perf_counter_ns()
        flight.error = error
        self._in_flight -= 1
        self._done += 1
        self._on_done(self._done)

    # --- connections ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._opening += 1
        try:
            connection = Connection(self._plan.target, self._epoll, self._quiet)
        except OSError as failure:
            self._unopened(failure)
        else:
            self._connections[connection.fd] = connection

    def _unopened(self, failure: OSError) -> None:
        """A connection did not open. If that leaves too few, the request that has waited longest fails."""
        self._opening -= 1
        if len(self._waiting) > self._opening + len(self._idle):
            self._end(self._waiting.popleft(), f"ConnectError: {failure}")

    def _is_there(self, connection: Connection) -> bool:
        """Whether it was not dropped meanwhile, because of another one."""
        return self._connections.get(connection.fd) is connection

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.fd]
        connection.close()
        if connection in self._idle:
            self._idle.remove(connection)

    def _lost(self, connection: Connection, failure: OSError | BadResponse) -> None:
        """A connection broke, or spoke nonsense."""
        self._drop(connection)
        flight = connection.flight
        if connection.opening:
            self._unopened(failure if isinstance(failure, OSError) else OSError(str(failure)))
        elif flight is not None and _stale(connection, flight):
            flight.retried = True
            for idle in [idle for idle in self._idle if idle.served]:
                self._drop(idle)  # no better than this one
            self._waiting.appendleft(flight)
            self._open()
        elif flight is not None:
            kind = "ReadError" if isinstance(failure, OSError) else "ProtocolError"
            self._end(flight, f"{kind}: {failure}")

    def _examine(self, connection: Connection) -> None:
        """Act on what a connection has received."""
        was_opening = connection.opening
        try:
            closed = connection.look()
        except (OSError, BadResponse) as failure:
            self._lost(connection, failure)
            return
        if was_opening and not connection.opening:
            self._opening -= 1
            self._idle.append(connection)
        flight = connection.flight
        if flight is not None and flight.framing.ended:
            self._end(flight)
            if connection.release() and not closed and self._plan.load.keep_alive:
                self._idle.append(connection)
            else:
                self._drop(connection)
        elif closed:
            self._lost(connection, ConnectionError("the server closed the connection"))

    # --- the clock ------------------------------------------------------------------------------------------------

    def _turn(self, due_ns: int | None) -> bool:
        """Wait, at most until `due_ns`; read all that has come, then act on it.

        Returns:
            Whether that was all: nothing is due, and nothing happened that could make it.
        """
        now_ns = time.perf_counter_ns()
        sweep_ns = now_ns + SWEEP_NS + MS_NS  # a receiver may return a millisecond early
        until_ns = sweep_ns if due_ns is None else min(due_ns, sweep_ns)
        nap_ns = self._nap_ns if self._may_nap and self._in_flight >= NAP_FROM_STREAMS else 0
        turn = self._receiver.turn(until_ns, nap_ns, once=bool(self._unswept))
        for connection in filter(self._is_there, turn.noticed):
            self._examine(connection)
        for connection in filter(self._is_there, turn.writable):
            self._write(connection)
        now_ns = time.perf_counter_ns()
        swept = bool(self._unswept) or now_ns - self._swept_ns > SWEEP_NS
        if self._unswept:
            self._look_at(len(self._unswept) if turn.idle else LOOKS_A_TURN)
        elif swept:
            self._sweep(now_ns)
        return not (turn.noticed or turn.writable or swept or (due_ns is not None and due_ns <= now_ns))

    def _write(self, connection: Connection) -> None:
        was_opening = connection.opening
        try:
            connection.writable()
        except OSError as failure:
            self._lost(connection, failure)
            return
        if was_opening and not connection.opening:
            self._opening -= 1
            self._idle.append(connection)

    def _sweep(self, now_ns: int) -> None:
        """What need not be done at each wake-up: compare the clocks, give up what is overdue, begin to look around."""
        self._choose_nap(now_ns)
        self._swept_ns = now_ns
        self._clock.measure()
        self._unswept = [each for each in self._connections.values() if self._wants_look(each.arrived, now_ns)]
        for connection in list(self._connections.values()):
            flight = connection.flight
            if connection.opening and now_ns - connection.began_ns > 1e9 * CONNECT_TIMEOUT_S:
                self._lost(connection, TimeoutError(f"no connection within {CONNECT_TIMEOUT_S:g} s"))
            elif flight is not None and now_ns > flight.deadline_ns:
                self._drop(connection)
                self._end(flight, self._overdue)
        while self._waiting and now_ns > self._waiting[0].deadline_ns:
            self._end(self._waiting.popleft(), self._overdue)

    def _wants_look(self, arrived: list[Piece], now_ns: int) -> bool:
        """Whether much has arrived, or it may have ended: what came last came a while ago.

        A read's tail does not give away the ends that servers make who send more than their response.
        """
        if not arrived:
            return False
        return len(arrived) >= LOOK_PIECES or now_ns - self._receiver.readings.taken_ns(arrived[-1][0]) > SWEEP_NS

    def _look_at(self, count: int) -> None:
        """Go on with the sweep."""
        looked_at, self._unswept = self._unswept[:count], self._unswept[count:]
        for connection in filter(self._is_there, looked_at):
            self._examine(connection)

    def _choose_nap(self, now_ns: int) -> None:
        """Follow the fastest stream, by what has arrived and was not looked at yet."""
        arrived = max((connection.arrived for connection in self._connections.values()), key=len, default=[])
        since_ns = self._receiver.readings.taken_ns(arrived[0][0]) if arrived else now_ns
        self._nap_ns = nap_ns(now_ns - since_ns, len(arrived))
        self._naps.append((time.perf_counter_ns(), self._nap_ns))

    @property
    def _overdue(self) -> str:
        return f"no end within {self._plan.timeout_s:g} s"


def nap_ns(passed_ns: int, reads: int) -> int:
    """How long to nap, where the fastest stream was read so many times while so much time passed."""
    gap_ns = passed_ns // reads if reads else 0
    return min(max(gap_ns // NAPS_A_GAP, NAP_NS), LONGEST_NAP_NS)


def _stale(connection: Connection, flight: Flight) -> bool:
    """Whether the server had closed a kept-alive connection before the request reached it (RFC 9112, section 9.3.1)."""
    soon = time.perf_counter_ns() - flight.sent_ns < STALE_WITHIN_NS
    return bool(connection.served) and not flight.retried and not flight.pieces and soon
