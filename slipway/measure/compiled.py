"""The receiver in C (receive.c), and whether it is there: installing Slipway compiles it where a C compiler is.

It returns to the interpreter only for what wants a look. What it has read until then is given to the connections at
once, so that all else sees what it sees after the interpreted one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import mmap
import os
import select
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slipway.measure.connection import READ_BYTES, Connection
from slipway.measure.readings import READING, Readings
from slipway.measure.receiver import BLOCKED_NS, Interpreted, Receiver, Turn

SOURCE: Final = Path(__file__).with_name("receive.c")
LIBRARY: Final = SOURCE.with_suffix(".so")

EVENTS: Final = 1024
ROOM: Final = 4 * EVENTS
ARENA_BYTES: Final = 2 * EVENTS * READ_BYTES
"""Room for the most that a wake-up can bring, twice; only what is written to takes memory."""

_WHAT: Final = struct.Struct("32xiiq")
"""Of a reading: descriptor, kind and size."""

_READ, _LOOK, _WRITABLE, _FAILED = range(4)  # enum kind


class _Batch(ctypes.Structure):
    """`struct batch`."""

    _fields_ = (
        ("until_ns", ctypes.c_int64),
        ("nap_ns", ctypes.c_int64),
        ("woke_ns", ctypes.c_int64),
        ("blocked_ns", ctypes.c_int64),
        ("once", ctypes.c_int64),
        ("epoll", ctypes.c_int64),
        ("read_bytes", ctypes.c_int64),
        ("readings_room", ctypes.c_int64),
        ("bytes_room", ctypes.c_int64),
        ("readings", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p),
        ("quiet", ctypes.c_void_p),
    )


def receiver(epoll: select.epoll, connections: Mapping[int, Connection], quiet: bytearray) -> Receiver:
    """The compiled receiver where it is there, otherwise the interpreted one.

    Args:
        epoll: Where all the connections are registered.
        connections: By descriptor, as they come and go.
        quiet: What the connections say of their descriptors (`Connection`).
    """
    library = load(LIBRARY)
    return Interpreted(epoll, connections) if library is None else Compiled(library, epoll, connections, quiet)


@functools.cache
def load(path: Path) -> ctypes.CDLL | None:
    """The library, if it is there, this machine can load it, and it was made of the source that lies here."""
    try:
        library = ctypes.CDLL(os.fspath(path))
        made_of = (ctypes.c_char * 64).in_dll(library, "source_sha256").raw
        if made_of != hashlib.sha256(SOURCE.read_bytes()).hexdigest().encode():
            return None
    except (OSError, ValueError):
        return None
    library.receive.argtypes = [ctypes.POINTER(_Batch)]
    library.receive.restype = ctypes.c_int64
    return library


class Compiled:
    """A receiver that calls the library."""

    def __init__(
        self, library: ctypes.CDLL, epoll: select.epoll, connections: Mapping[int, Connection], quiet: bytearray
    ) -> None:
        """Arguments as for `receiver`."""
        self._receive = library.receive
        self._connections = connections
        self.readings = Readings()
        self._quiet = quiet  # the library reads it: it must live as long
        self._latest = _memory(ROOM * READING.size)
        self._arena = _memory(ARENA_BYTES)
        self._batch = _Batch(
            blocked_ns=BLOCKED_NS,
            epoll=epoll.fileno(),
            read_bytes=READ_BYTES,
            readings_room=ROOM,
            bytes_room=ARENA_BYTES,
            readings=_address(self._latest),
            bytes=_address(self._arena),
            quiet=_address(quiet),
        )

    def turn(self, until_ns: int, nap_ns: int, *, once: bool) -> Turn:
        """See `Receiver`."""
        batch = self._batch
        batch.until_ns, batch.nap_ns, batch.once = until_ns, nap_ns, once
        count = self._receive(batch)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        turn = Turn(idle=not count)
        packed = self._latest[: count * READING.size]
        number = len(self.readings)
        self.readings.extend(packed)
        connections, arena, at = self._connections, self._arena, 0
        for fd, kind, size in _WHAT.iter_unpack(packed):
            connection = connections[fd]
            if kind == _WRITABLE:
                turn.writable.append(connection)
            elif kind == _FAILED:
                connection.failure = OSError(size, os.strerror(size))
                turn.noticed.append(connection)
            else:
                connection.arrived.append((number, arena[at : at + size]))
                at += size
                if kind == _LOOK:
                    turn.noticed.append(connection)
            number += 1
        return turn


def _memory(size_bytes: int) -> mmap.mmap:
    """Memory of this process, of which only what is written to is taken."""
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _address(buffer: mmap.mmap | bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
