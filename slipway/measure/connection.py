"""One connection of the measuring client, and the request in flight on it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Final

from slipway.measure import stamps
from slipway.measure.framing import CHUNKED_TAIL, Framing
from slipway.measure.readings import Readings
from slipway.measure.stamps import ANCILLARY_BYTES
from slipway.measure.target import Target
from slipway.measure.tls import Tls

READ_BYTES: Final = 1 << 15
READABLE: Final = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
WRITABLE: Final = select.EPOLLOUT

DESCRIPTORS: Final = 1 << 20  # fs.nr_open, as Linux comes: a process opens no more

Piece = tuple[int, bytes]
"""What one read gave: its number among all reads of the run, and bytes."""


@dataclass(slots=True, eq=False)
class Flight:
    """One request on its way. Times are `perf_counter_ns`.

    Attributes:
        index: Its place among the requests.
        intended_ns: When the schedule wanted it sent.
        deadline_ns: When it is given up.
        retried: Whether it was sent before, on a connection that turned out to be stale.
        ready_ns: When its connection was there.
        sent_ns: Just before its first byte was written.
        connect_ns: What opening its connection took, 0 where that was kept alive.
        ended_ns: When its end was noticed.
        pieces: What came back, as plain HTTP.
        framing: Where the response is in it.
        error: Why it failed, empty if it did not.
    """

    index: int
    intended_ns: int
    deadline_ns: int
    retried: bool = False
    ready_ns: int = 0
    sent_ns: int = 0
    connect_ns: int = 0
    ended_ns: int = 0
    pieces: list[Piece] = field(default_factory=list)
    framing: Framing = field(default_factory=Framing)
    error: str = ""


class Connection:
    """A non-blocking connection with at most one request in flight.

    Attributes:
        fd: File descriptor.
        arrived: What was read and not looked at yet; ciphertext under TLS.
        failure: The error that reading it gave.
        flight: The request in flight, None while it opens or is idle.
        opening: Whether it is not open yet.
        served: Responses that it has carried to their end.
        began_ns: When it was begun.
        ready_ns: When it was open.
    """

    __slots__ = (
        "_epoll",
        "_out",
        "_quiet",
        "_recvmsg",
        "_sock",
        "_tls",
        "_waits_to_write",
        "arrived",
        "began_ns",
        "failure",
        "fd",
        "flight",
        "opening",
        "ready_ns",
        "served",
    )

    def __init__(self, target: Target, epoll: select.epoll, quiet: bytearray) -> None:
        """Begin to connect.

        Args:
            target: Where to.
            epoll: Where to register.
            quiet: By descriptor, whether the response on it is chunked, so that few reads can end it; kept up to date.

        Raises:
            OSError: If that fails at once.
        """
        self._epoll = epoll
        self._quiet = quiet
        self._out = memoryview(b"")
        self._tls = Tls(target.security, target.host) if target.security else None
        self._sock = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.arrived: list[Piece] = []
        self.failure: OSError | None = None
        self.flight: Flight | None = None
        self.opening = True
        self.served = 0
        self.ready_ns = 0
        self.fd = self._sock.fileno()
        quiet[self.fd] = False
        self._recvmsg = self._sock.recvmsg
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stamps.enable(self._sock)
            self.began_ns = perf_counter_ns()
            with contextlib.suppress(BlockingIOError):
                self._sock.connect(target.address)
            self._epoll.register(self.fd, READABLE | WRITABLE)
            self._waits_to_write = True
        except OSError:
            self._sock.close()
            raise

    def writable(self) -> None:
        """Go on with connecting or sending, whichever waited.

        Raises:
            OSError: If the connection failed.
        """
        if self.opening:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            if self._tls is None:
                self._opened()
            elif not self._out:
                self._out = memoryview(self._tls.outgoing())
        self._flush()

    def send(self, flight: Flight, request: bytes) -> None:
        """Send a request on the open connection.

        Raises:
            OSError: If the connection is gone; the flight stays with it.
        """
        flight.ready_ns = self.ready_ns
        flight.connect_ns = 0 if self.served else self.ready_ns - self.began_ns
        self.flight = flight
        if self._tls is not None:
            self._tls.send(request)
            request = self._tls.outgoing()
        self._out = memoryview(request)
        flight.sent_ns = perf_counter_ns()
        self._flush()

    def receive(self, since_ns: int, readings: Readings) -> bool:
        """Keep what has come, with its stamps.

        This is all that is done at once for each event, and most of what the client does.

        Args:
            since_ns: Since when it may have waited unread.
            readings: Where the times of reads are kept.

        Returns:
            Whether it is worth a look now: it may end a response, or the connection.
        """
        try:
            data, ancillary, _, _ = self._recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return False
        except OSError as failure:
            self.failure = failure
            return True
        # The stamp is the only ancillary message that was asked for; it is read after the run.
        readings.add(perf_counter_ns(), since_ns, ancillary[0][2] if ancillary else b"")
        self.arrived.append((len(readings) - 1, data))
        return not self._quiet[self.fd] or len(data) < len(CHUNKED_TAIL) or data.endswith(CHUNKED_TAIL)

    def look(self) -> bool:
        """Make sense of what has arrived.

        Returns:
            Whether the connection is of no further use: closed, or it brought what nobody had asked for. A response
            may have ended by that.

        Raises:
            OSError: If the connection broke, or TLS did.
            BadResponse: If what came is no HTTP response.
        """
        pieces, self.arrived = self.arrived, []
        closed = bool(pieces) and not pieces[-1][1]
        if self._tls is not None:
            pieces = self._opened_records(self._tls, pieces)
            closed = closed or self._tls.closed
        elif closed:
            pieces.pop()
        if self.flight is not None:
            self.flight.pieces += pieces
            framing = self.flight.framing
            framing.feed(b"".join([data for _, data in pieces]))
            self._quiet[self.fd] = framing.chunked and self._tls is None
            if closed and not framing.ended:
                framing.close()
        ended = self.flight is not None and self.flight.framing.ended
        if self.failure is not None and not ended:
            raise self.failure
        unasked = self.flight is None and bool(pieces)
        return closed or unasked or self.failure is not None

    def release(self) -> bool:
        """Forget the request that has ended; whether the connection is good for another."""
        flight, self.flight = self.flight, None
        self.served += 1
        self._quiet[self.fd] = False
        good = flight is not None and flight.framing.reusable and not flight.framing.surplus
        return good and not self._out and not self.arrived

    def close(self) -> None:
        """Close it; the server sees the stream end."""
        self._sock.close()  # which also takes it out of the epoll set

    def _opened_records(self, layer: Tls, pieces: list[Piece]) -> list[Piece]:
        """Plaintext with the stamps of the reads that completed its records."""
        plain = []
        for number, data in pieces:
            if text := layer.receive(data):
                plain.append((number, text))
        if answer := layer.outgoing():
            self._out = memoryview(bytes(self._out) + answer)
            self._flush()
        if self.opening and layer.ready:
            self._opened()
        return plain

    def _opened(self) -> None:
        self.opening = False
        self.ready_ns = perf_counter_ns()

    def _flush(self) -> None:
        try:
            while self._out:
                self._out = self._out[self._sock.send(self._out) :]
        except BlockingIOError:
            pass
        if bool(self._out) != self._waits_to_write:
            self._waits_to_write = bool(self._out)
            self._epoll.modify(self.fd, READABLE | WRITABLE if self._out else READABLE)
