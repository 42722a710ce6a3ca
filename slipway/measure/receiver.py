"""Waiting for connections and reading what they bring, as the interpreter does it; `compiled` does the same in C.

Waking up costs as much as reading five sockets. So a receiver wakes up a few times in the span between two events of a
stream, at most once a millisecond, and then reads all that has come: the kernel has stamped it. Without kernel stamps
it reads at once.
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from slipway.measure.connection import READABLE, WRITABLE, Connection
from slipway.measure.readings import Readings

MS_NS: Final = 1_000_000

BLOCKED_NS: Final = 50_000
"""A wait that took longer than this was one: what woke it up had not waited before."""


@dataclass(slots=True)
class Turn:
    """What waiting has come to.

    Attributes:
        noticed: Connections of which a response, or which themselves, may have ended.
        writable: Those that opened, or can send the rest of a request.
        idle: Whether nothing has come at all.
    """

    noticed: list[Connection] = field(default_factory=list)
    writable: list[Connection] = field(default_factory=list)
    idle: bool = True


class Receiver(Protocol):
    """What the loop waits with.

    Attributes:
        readings: The times of all that was read.
    """

    readings: Readings

    def turn(self, until_ns: int, nap_ns: int, *, once: bool) -> Turn:
        """Receive until a connection wants a look, or there is no more time.

        Args:
            until_ns: When to return, by `perf_counter_ns`; at most a millisecond earlier, which is what epoll knows.
            nap_ns: How far apart wake-ups should be; 0 to read at once.
            once: Whether to return after one wake-up even if nothing wants a look.
        """


class Interpreted:
    """A receiver that needs nothing but the interpreter."""

    def __init__(self, epoll: select.epoll, connections: Mapping[int, Connection]) -> None:
        """A receiver for these connections, by descriptor, as they come and go; all are registered with `epoll`."""
        self._epoll = epoll
        self._connections = connections
        self._woke_ns = 0
        self.readings = Readings()

    def turn(self, until_ns: int, nap_ns: int, *, once: bool) -> Turn:
        """See `Receiver`."""
        turn = Turn()
        connections = self._connections
        while True:
            ready, since_ns = self._wait(until_ns, nap_ns)
            for fd, mask in ready:
                if mask & READABLE and connections[fd].receive(since_ns, self.readings):
                    turn.noticed.append(connections[fd])
                if mask & WRITABLE:
                    turn.writable.append(connections[fd])
            turn.idle = turn.idle and not ready
            if turn.noticed or turn.writable or once or until_ns - self._woke_ns < MS_NS:
                return turn

    def _wait(self, until_ns: int, nap_ns: int) -> tuple[list[tuple[int, int]], int]:
        """What is ready, and since when that may have waited unread."""
        clock = time.perf_counter_ns
        now_ns = clock()
        left_ns = until_ns - now_ns
        if nap_ns and left_ns > 0:
            # epoll knows whole milliseconds only: the rest of a wait is slept.
            short = left_ns < nap_ns + MS_NS
            this_ns = left_ns if short else nap_ns - (now_ns - self._woke_ns)
            if this_ns > 0:
                time.sleep(this_ns / 1e9)
        entered_ns = clock()
        ready = self._epoll.poll(max(until_ns - entered_ns - MS_NS, 0) / 1e9)
        woke_ns = clock()
        since_ns = woke_ns if woke_ns - entered_ns > BLOCKED_NS else self._woke_ns
        self._woke_ns = woke_ns
        return ready, since_ns
