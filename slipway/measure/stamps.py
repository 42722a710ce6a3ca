"""When bytes arrived, by the kernel's own stamps: right to microseconds even where the client reads late.

Linux stamps each received segment (SO_TIMESTAMPNS, socket(7)) and hands the stamp of the last one out with the
bytes. Stamps are wall-clock time, which is slewed while a run goes on; figures need the monotonic clock. So the
difference of the two clocks is measured again and again, and stamps are converted after the run.
"""

from __future__ import annotations

import functools
import socket
import struct
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; the socket module has no name for it
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(16)  # one struct timespec
PROBE_TIMEOUT_S = 2.0
PROBE_TRIES = 20


def enable(sock: socket.socket) -> bool:
    """Ask for kernel stamps on a socket; whether the kernel knows the option."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


@functools.cache
def kernel_stamps() -> bool:
    """Whether this kernel stamps TCP segments: tried on a loopback connection, once a process.

    The option alone proves nothing: some sandboxes accept it and hand out nothing.
    """
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=PROBE_TIMEOUT_S) as client,
        ):
            peer, _ = server.accept()
            with peer:
                return enable(client) and _stamped(client, peer)
    except OSError:
        return False


def _stamped(client: socket.socket, peer: socket.socket) -> bool:
    """Whether a stamp comes that is a time of now. The first segments go without: stamping starts in the background."""
    for _ in range(PROBE_TRIES):
        before_ns = time.time_ns()
        peer.sendall(b"?")
        _, ancillary, _, _ = client.recvmsg(1, ANCILLARY_BYTES)
        if ancillary:
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            stamp_ns = seconds * 1_000_000_000 + nanoseconds
            return bool(before_ns - 1_000_000 <= stamp_ns <= time.time_ns() + 1_000_000)
        time.sleep(0.005)
    return False


class WallClock:
    """Wall clock minus monotonic clock, followed through a run."""

    __slots__ = ("_offsets_ns", "_walls_ns")

    def __init__(self) -> None:
        self._walls_ns: list[int] = []
        self._offsets_ns: list[int] = []

    def measure(self) -> None:
        """Compare the clocks now; of three readings the one that was disturbed least counts."""
        best, offset_ns, wall_ns = 1 << 62, 0, 0
        for _ in range(3):
            before_ns = time.perf_counter_ns()
            now_ns = time.time_ns()
            after_ns = time.perf_counter_ns()
            if after_ns - before_ns < best:
                best = after_ns - before_ns
                wall_ns, offset_ns = now_ns, now_ns - (before_ns + after_ns) // 2
        self._walls_ns.append(wall_ns)
        self._offsets_ns.append(offset_ns)

    @property
    def drift_s(self) -> float:
        """Largest change of the difference since the first measurement, with its sign."""
        changes = [offset_ns - self._offsets_ns[0] for offset_ns in self._offsets_ns]
        return max(changes, key=abs, default=0) / 1e9

    def monotonic_ns(self, walls_ns: Nanoseconds) -> Nanoseconds:
        """Wall-clock times as monotonic ones; the difference is interpolated between its measurements."""
        first = self._walls_ns[0], self._offsets_ns[0]
        # Relative to the first, because a float holds no nanoseconds since 1970.
        knots, offsets = np.array(self._walls_ns) - first[0], np.array(self._offsets_ns) - first[1]
        changes_ns = np.interp(walls_ns - first[0], knots, offsets).astype(np.int64)
        return np.asarray(walls_ns - first[1] - changes_ns)
