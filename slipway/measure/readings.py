"""The times of all reads of a run: packed while the clock runs, as receive.c has them, and looked at afterwards."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

READING: Final = struct.Struct("qq16siiq")
"""`struct reading` of receive.c."""

_COLUMNS: Final = ("taken_ns", "since_ns", "stamp_s", "stamp_ns")  # what it begins with
_TABLE: Final = np.dtype({"names": _COLUMNS, "formats": [np.int64] * len(_COLUMNS), "itemsize": READING.size})


class Readings:
    """Reads in their order; the number of a read is its place."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed = bytearray()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._packed) // READING.size

    def add(self, taken_ns: int, since_ns: int, stamp: bytes) -> None:
        """Add one.

        Args:
            taken_ns: When it was taken.
            since_ns: Since when its bytes may have waited unread.
            stamp: The kernel's (`struct timespec`), empty if it gave none.
        """
        self._packed += READING.pack(taken_ns, since_ns, stamp, 0, 0, 0)

    def extend(self, packed: bytes) -> None:
        """Add some that are packed already."""
        self._packed += packed

    def taken_ns(self, number: int) -> int:
        """When a read was taken."""
        taken_ns: int = READING.unpack_from(self._packed, number * READING.size)[0]
        return taken_ns

    def table(self) -> NDArray[np.void]:
        """All of them by column, stamps by the wall clock; none can be added while it is in use."""
        return np.frombuffer(self._packed, dtype=_TABLE)
