"""A file's content, once, from beginning to end, in windows that take no memory to speak of.

Windows are mapped from the page cache where the system can fill a mapping and say so if that fails: hashing
a mapping spares the copy of `read`, an eighth of the time SHA-256 takes. Elsewhere they are read.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.units import KIB, MIB

THREADS: Final = min(16, 2 * (os.cpu_count() or 1))
"""Files that are read at once: where one waits for its disk, another hashes."""

WINDOW_BYTES: Final = 128 // THREADS * MIB
"""The larger the fewer mappings to make and take down; all threads' windows leave a process below 256 MiB."""

READ_BYTES: Final = 256 * KIB
"""What is read at once without a mapping: it stays in a core's cache until it is hashed."""

MADV_POPULATE_READ: Final = 22
"""Linux 5.14: fill the mapping now, and fail where touching it would end the process (madvise(2)).

Python knows the name from 3.14 on."""

_NOT_MAPPED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENODEV, errno.EOPNOTSUPP})


def windows(path: Path) -> Iterator[memoryview]:
    """The file's bytes in order; a window is gone when the next is asked for.

    Raises:
        OSError: If the file cannot be read, or becomes shorter meanwhile.
    """
    with path.open("rb", buffering=0) as stream:
        descriptor = stream.fileno()
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        size_bytes = os.fstat(descriptor).st_size
        offset = 0
        while offset < size_bytes:
            length = min(WINDOW_BYTES, size_bytes - offset)
            window = _mapped(descriptor, offset, length)
            if window is None:
                break
            try:
                with memoryview(window) as view:
                    yield view
            finally:
                window.close()
            offset += length
        yield from _read(descriptor, offset, size_bytes)


def _mapped(descriptor: int, offset: int, length: int) -> mmap.mmap | None:
    """A filled mapping, or None where this system has none."""
    try:
        window = mmap.mmap(descriptor, length, prot=mmap.PROT_READ, offset=offset)
    except OSError as error:
        if error.errno in _NOT_MAPPED:
            return None
        raise
    except ValueError as error:  # the file has become shorter
        raise OSError(errno.EIO, f"ends before byte {offset + length}") from error
    try:
        window.madvise(MADV_POPULATE_READ)
    except OSError as error:
        window.close()
        if error.errno in _NOT_MAPPED:
            return None
        raise OSError(errno.EIO, f"cannot be read at byte {offset} or soon after") from error
    return window


def _read(descriptor: int, offset: int, size_bytes: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(READ_BYTES))
    while offset < size_bytes:
        count = os.preadv(descriptor, [buffer], offset)
        if count == 0:
            raise OSError(errno.EIO, f"ends at byte {offset} instead of {size_bytes}")
        yield buffer[:count]
        offset += count
