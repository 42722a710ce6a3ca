"""The files of a volume: what is committed, and copies of it that containers work on.

A commit carries over what differs from the state that the copy was made of: files changed, added and removed
there; of two writers of one file the last commit wins. Committed files are replaced, never written in place,
so a copy may share them as long as it is mounted read-only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Stamp = tuple[int, int, int, int]


@dataclass
class Copy:
    """A container's view of a volume.

    Attributes:
        source: The committed directory, or the part of it that `sub_path` names.
        path: Where the copy is.
        read_only: Whether it is mounted so.
        base: Every file as it was copied, by relative path.
    """

    source: Path
    path: Path
    read_only: bool
    base: dict[str, Stamp] = field(default_factory=dict)

    def refresh(self) -> None:
        """Make the copy what is committed now. The directory itself stays: it is mounted."""
        self.source.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        for entry in list(self.path.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        copy = os.link if self.read_only else shutil.copy2
        shutil.copytree(self.source, self.path, symlinks=True, copy_function=copy, dirs_exist_ok=True)
        self.base = dict(_stamps(self.path))

    def commit(self) -> None:
        """Carry over what the container has changed since the copy was made."""
        if self.read_only:
            return
        now = dict(_stamps(self.path))
        for name in sorted(now):
            if now[name] != self.base.get(name):
                replace(self.path / name, self.source / name)
        for name in self.base.keys() - now.keys():
            (self.source / name).unlink(missing_ok=True)
        for directory in _directories(self.path):
            (self.source / directory).mkdir(parents=True, exist_ok=True)
        self.base = now

    def inodes(self) -> set[tuple[int, int]]:
        """Device and inode of the directory and of everything in it."""
        statuses = [path.lstat() for path in (self.path, *self.path.rglob("*"))]
        return {(status.st_dev, status.st_ino) for status in statuses}


def replace(source: Path, target: Path) -> None:
    """Put a file in the place of another at once, so that links to the old one keep the old bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.arriving")
    shutil.copy2(source, fresh, follow_symlinks=False)
    fresh.replace(target)


def _stamps(root: Path) -> Iterator[tuple[str, Stamp]]:
    for directory, _, files in os.walk(root):
        for name in files:
            path = Path(directory) / name
            status = path.lstat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_mode)
            yield str(path.relative_to(root)), stamp


def _directories(root: Path) -> Iterator[Path]:
    for directory, names, _ in os.walk(root):
        yield from (Path(directory, name).relative_to(root) for name in names)
