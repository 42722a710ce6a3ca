"""The local directories that kernels lie in: who uses one, and who removes those that nobody needs any more.

    <roots>/<key>/          files of one key
    <roots>/.<key>.used     locked by whoever uses them, and touched when they are given out
    <roots>/.lock           held while any of that changes

A server holds its key's lock for as long as it lives, so what it runs on is never removed or replaced under it. A
host keeps the key that was used last and the one before it, on which a roll back starts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from slipway.errors import Busy
from slipway.files import locked, try_lock

KEPT: Final = 2
CHANGE_TIMEOUT_S: Final = 300.0
"""Longer than unpacking takes: 2 s for the 82 MiB that were measured."""

_LOCK: Final = ".lock"


@contextlib.contextmanager
def changing(roots: Path) -> Iterator[None]:
    """Keep others from giving out, replacing or removing directories meanwhile.

    Raises:
        Transient: If another process does so for longer than `CHANGE_TIMEOUT_S`.
    """
    roots.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(roots / _LOCK, timeout_s=CHANGE_TIMEOUT_S):
        yield


def use(root: Path, *, alone: bool = False) -> IO[bytes]:
    """Use a directory until the file that comes back is closed, or this process ends. Call it while `changing`.

    Args:
        root: The directory of one key.
        alone: Nobody else may use it, for its files are to change.

    Raises:
        Busy: If somebody changes its files, or uses them while they are to change.
    """
    used = root.with_name(f".{root.name}.used").open("ab")
    if not try_lock(used.fileno(), shared=not alone):
        used.close()
        raise Busy(
            f"Another process of this machine uses the kernels of {root.name[:12]} in {root.parent}.",
            remedy="Wait for it: it makes them, or a server runs on them.",
        )
    os.utime(used.fileno())
    return used


def tidy(roots: Path) -> None:
    """Remove all keys but those that were used last, and what dead processes left. Call it while `changing`."""
    for key in _by_last_use(roots)[KEPT:]:
        with contextlib.suppress(Busy), use(roots / key, alone=True):
            for path in (roots / key, *roots.glob(f".{key}.*")):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _by_last_use(roots: Path) -> list[str]:
    """Every key of which anything is there, the one that was given out last first."""
    names = {path.name.removeprefix(".").partition(".")[0] for path in roots.iterdir() if path.name != _LOCK}
    return sorted(names, key=lambda key: _used_at(roots / f".{key}.used"), reverse=True)


def _used_at(used: Path) -> float:
    try:
        return used.stat().st_mtime
    except FileNotFoundError:
        return 0.0
