"""A volume as seen from outside containers: what was committed, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import modal
from modal.types import FileEntryType

from slipway.errors import Misconfigured
from slipway.platforms.modal import handles
from slipway.platforms.modal.errors import translated
from slipway.platforms.naming import checked_name, checked_path
from slipway.platforms.port import VolumeEntry


class ModalVolume:
    """The port's `Volume` at Modal, of version 1: its commits are whole, and few jobs write at the same time."""

    def __init__(self, name: str) -> None:
        self.name = checked_name("volume", name)
        self._volume = handles.volume(name)

    def read(self, path: str) -> bytes:
        """The committed bytes of one file."""
        name = _file_name(path)
        with translated(f"reading {name} of volume {self.name}"):
            return b"".join(self._volume.read_file(name))

    def write(self, path: str, data: bytes) -> None:
        """Store one file and commit it, atomically."""
        name = _file_name(path)
        with translated(f"writing {name} to volume {self.name}"), self._volume.batch_upload(force=True) as batch:
            batch.put_file(BytesIO(data), f"/{name}")

    def entries(self, prefix: str = "") -> Iterator[VolumeEntry]:
        """Every committed file below `prefix`, sorted by path."""
        start = checked_path(prefix).as_posix()
        with translated(f"listing {start} of volume {self.name}"):
            try:
                found = self._volume.listdir("/" if start == "." else start, recursive=True)
            except (modal.exception.NotFoundError, FileNotFoundError):
                found = []
        files = [VolumeEntry(entry.path.lstrip("/"), entry.size) for entry in found if entry.type is FileEntryType.FILE]
        return iter(sorted(files, key=lambda entry: entry.path))

    def remove(self, path: str) -> None:
        """Remove one file, or a directory with all in it, and commit."""
        name = _file_name(path)
        with translated(f"removing {name} from volume {self.name}"):
            self._volume.remove_file(name, recursive=True)

    def free_bytes(self) -> None:
        """Modal does not tell: the figures that a container sees there are placeholders."""


def _file_name(path: str) -> str:
    name = checked_path(path).as_posix()
    if name == ".":
        raise Misconfigured(f"{path!r} names no file.", remedy="Give the path of a file inside the volume.")
    return name
