"""A volume as seen from outside jobs: what was committed, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from slipway.errors import Misconfigured
from slipway.platforms.local.generations import Generations, walk
from slipway.platforms.naming import checked_name, checked_path
from slipway.platforms.port import VolumeEntry


class LocalVolume:
    """The port's `Volume` in `volumes/<name>` below the platform's directory."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = checked_name("volume", name)
        self.generations = Generations(root / "volumes" / name)

    def committed(self) -> AbstractContextManager[Path]:
        """The directory of the newest state, kept for the block; for looking at it, not for writing."""
        return self.generations.pinned()

    def read(self, path: str) -> bytes:
        """The committed bytes of one file."""
        with self.committed() as newest:
            return _file_inside(newest, path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Store one file and commit it, atomically."""
        self.generations.publish({_file_name(path): partial(Path.write_bytes, data=data)})

    def entries(self, prefix: str = "") -> Iterator[VolumeEntry]:
        """Every committed file below `prefix`, sorted by path."""
        start = checked_path(prefix)
        with self.committed() as newest:
            inside = newest.resolve()
            found = [
                VolumeEntry(path, file.stat().st_size)
                for path in sorted((start / below).as_posix() for below in walk(newest / start))
                if (file := newest / path).is_file() and file.resolve().is_relative_to(inside)
            ]
        return iter(found)

    def remove(self, path: str) -> None:
        """Remove one file, or a directory with all in it, and commit."""
        name = _file_name(path)
        with self.committed() as newest:
            gone = {file for file in walk(newest) if file == name or file.startswith(f"{name}/")}
        if not gone:
            raise FileNotFoundError(f"{path} is not in volume {self.name}.")
        self.generations.publish({}, gone)

    def free_bytes(self) -> int:
        """Room left on the file system."""
        return shutil.disk_usage(self.generations.root).free


def _file_name(path: str) -> str:
    name = checked_path(path).as_posix()
    if name == ".":
        raise Misconfigured(f"{path!r} names no file.", remedy="Give the path of a file inside the volume.")
    return name


def _file_inside(newest: Path, path: str) -> Path:
    """The file at a path, if links on the way do not lead out of the volume."""
    file = (newest / checked_path(path)).resolve()
    if not file.is_relative_to(newest.resolve()):
        raise Misconfigured(
            f"{path!r} is a link that leaves the volume.", remedy="Store the file itself in the volume."
        )
    if not file.is_file():
        raise FileNotFoundError(f"{path} is not in the volume.")
    return file
