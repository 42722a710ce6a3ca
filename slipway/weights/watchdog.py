"""Watching over a fetch by the bytes it writes, since a transfer can stall for ever without an error.

The fetch is a process of its own. When too little was written for too long it is killed and started again, where
it resumes; from the third time on over plain HTTP. A process that dies is taken for one that stalled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from pydantic import ValidationError

from slipway.errors import ERROR_KINDS, Transient
from slipway.processes import end, identify
from slipway.units import MIB, show_bytes, show_seconds
from slipway.weights.fetcher import FetchError, FetchOrder
from slipway.weights.manifest import ManifestFile

ATTEMPTS: Final = 4
XET_ATTEMPTS: Final = 2
LEAST_BYTES: Final = MIB
"""Less than this in the whole of `stall_s` is no progress: a trickle ends no shard in a lifetime."""

POLL_S: Final = 0.1
GRACE_S: Final = 2.0
_LINES: Final = 100


@dataclass(frozen=True, slots=True)
class Watch:
    """How a fetch is watched.

    Attributes:
        stall_s: For how long nothing may be written.
        tell: Called now and then with the bytes that are on disk.
    """

    stall_s: float
    tell: Callable[[int], None]


def fetch_watched(order: FetchOrder, watch: Watch) -> int:
    """Carry out an order, in as many attempts as it takes and may take.

    Returns:
        How often the fetch had to be started again.

    Raises:
        SlipwayError: As the fetch told.
        OSError: If the disk cannot be written.
        Transient: If the last attempt stalled, too.
    """
    files = order.files
    for attempt in range(ATTEMPTS):
        left = tuple(file for file in files if _size(order.model_dir / file.path) != file.size_bytes)
        transport = order.transport if attempt < XET_ATTEMPTS else "http"
        if _attempt(order.model_copy(update={"files": left, "transport": transport}), files, watch):
            return attempt
    raise Transient(
        f"Fetching {order.repo} stalled {ATTEMPTS} times: less than {show_bytes(LEAST_BYTES)} came in "
        f"{show_seconds(watch.stall_s)}, over plain HTTP, too.",
        remedy="Run again when the network is better, what came is kept; or allow more with weights.stall_timeout_s.",
    )


def bytes_there(order: FetchOrder, files: Sequence[ManifestFile]) -> int:
    """Bytes written so far: what arrives is seen there, whatever the transport."""
    whole = sum(_size(order.model_dir / file.path) for file in files)
    parts = (path for path in order.incoming.rglob("*") if path.suffix in {".part", ".incomplete"})
    return whole + sum(map(_size, parts))


def _size(path: Path) -> int:
    """Bytes of a file written so far; it may have its final length before it has its content."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_size if status.st_mode & 0o222 == 0 else min(status.st_size, status.st_blocks * 512)


def _attempt(order: FetchOrder, files: Sequence[ManifestFile], watch: Watch) -> bool:
    """Run the fetch until it ends or stalls; whether it ended well."""
    with _started(order) as (process, lines):
        seen, since_s = bytes_there(order, files), time.monotonic()
        while process.poll() is None:
            now = bytes_there(order, files)
            watch.tell(now)
            left = sum(file.size_bytes for file in files) - seen
            if now - seen >= max(min(LEAST_BYTES, left), 1):
                seen, since_s = now, time.monotonic()
            elif time.monotonic() - since_s > watch.stall_s:
                return False
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
    watch.tell(bytes_there(order, files))
    if process.returncode != 0:
        _raise_told(lines)
    return process.returncode == 0


@contextmanager
def _started(order: FetchOrder) -> Iterator[tuple[subprocess.Popen[bytes], list[bytes]]]:
    """The fetch as a process that is gone when the block is left, and what it prints."""
    file = order.incoming / "order.json"
    file.write_text(order.model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "slipway.weights.fetcher", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_environment(order)},
        start_new_session=True,
    )
    identity = identify(process.pid)
    lines: list[bytes] = []
    reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            end(identity, grace_s=GRACE_S)
        cast("IO[bytes]", process.stdin).close()
        process.wait()
        reader.join(GRACE_S)
        cast("IO[bytes]", process.stdout).close()
        file.unlink(missing_ok=True)


def _environment(order: FetchOrder) -> dict[str, str]:
    """What the client reads when it is imported; told to use plain HTTP, it knows nothing of Xet at all."""
    plain = {"HF_HUB_DISABLE_XET": "1"} if order.transport == "http" else {}
    return {"HF_XET_CACHE": str(order.incoming / ".xet"), "PYTHONPATH": os.pathsep.join(sys.path), **plain}


def _collect(process: subprocess.Popen[bytes], lines: list[bytes]) -> None:
    for line in cast("IO[bytes]", process.stdout):
        lines.append(line)
        del lines[:-_LINES]


def _raise_told(lines: Sequence[bytes]) -> None:
    """Raise the error that the fetch told; nothing if it died without a word."""
    for line in reversed(lines):
        with suppress(ValidationError):
            told = FetchError.model_validate_json(line)
            if told.kind in ERROR_KINDS:
                raise ERROR_KINDS[told.kind](told.message, remedy=told.remedy)
            raise OSError(told.errno, told.message)
