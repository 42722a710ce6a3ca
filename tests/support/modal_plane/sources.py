"""Mounted sources as a directory: materialised once, compiled once, linked into every container."""

from __future__ import annotations

import asyncio
import compileall
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from py_compile import PycInvalidationMode

from modal_proto import api_pb2

from tests.support.modal_plane.blobs import Blobs
from tests.support.modal_plane.names import content_id
from tests.support.modal_plane.objects import Objects


@dataclass
class Sources:
    """Trees of files by the mounts that they come from."""

    root: Path
    objects: Objects
    blobs: Blobs
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def tree(self, mount_ids: list[str]) -> Path:
        """A directory with every file of the mounts, at its absolute path below it."""
        path = self.root / content_id("tr", *sorted(mount_id.encode() for mount_id in mount_ids))
        async with self._making:
            if not path.exists():
                files = [file for mount_id in mount_ids for file in self.objects.mounts.get(mount_id)]
                await asyncio.to_thread(self._make, path, files)
        return path

    def _make(self, path: Path, files: list[api_pb2.MountFile]) -> None:
        fresh = path.with_suffix(".making")
        (fresh / "root").mkdir(parents=True)
        for file in files:
            target = fresh / file.filename.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.blobs.content(file.sha256_hex), target)
            target.chmod(file.mode or 0o644)
        compileall.compile_dir(
            fresh, quiet=2, stripdir=str(fresh), prependdir="/",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
        fresh.rename(path)


def link_root(tree: Path, target: Path) -> None:
    """Give a container a `/root` of its own, with what is mounted there."""
    shutil.copytree(tree / "root", target, copy_function=os.link)


def outside_root(tree: Path) -> Iterator[tuple[Path, str]]:
    """What is mounted elsewhere: each file, or the topmost directory of it that the host does not have."""
    seen: set[Path] = set()
    for file in sorted(path for path in tree.rglob("*") if path.is_file()):
        relative = file.relative_to(tree)
        if relative.parts[0] in ("root", "pkg", "__pycache__"):
            continue
        ancestors = [*reversed(relative.parents[:-1]), relative]
        place = next((path for path in ancestors if not Path("/", path).exists()), relative)
        if place not in seen:
            seen.add(place)
            yield tree / place, f"/{place}"
