"""A volume inside a job: a snapshot of what was committed when it was mounted.

    volumes/<name>/views/<id>/data      what the job sees: a link to the state itself when it is read-only,
                                        otherwise a directory of its own

The view is locked by the process that has it; the next mount removes views that nobody holds. On this host
nothing stops a job from writing into a read-only mount: that needs a mount namespace, and so privileges.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from slipway.errors import Misconfigured
from slipway.files import try_lock
from slipway.platforms.local.generations import Generations, made_room, place, remove_unheld, walk
from slipway.platforms.local.volumes import LocalVolume
from slipway.platforms.naming import new_id

Fingerprint = tuple[int, int, int, int]
"""Inode, size, time of change and mode: what differs between a file and a later one in its place."""


def mount(volume: LocalVolume, *, read_only: bool) -> ReadOnlyMount | WritableMount:
    """A view of the volume for this process, until it is closed or the process dies."""
    kind = ReadOnlyMount if read_only else WritableMount
    return kind(volume)


class ReadOnlyMount:
    """The port's `MountedVolume` for readers: the committed state itself."""

    def __init__(self, volume: LocalVolume) -> None:
        self._generations = volume.generations
        self._view, self._view_lock = _new_view(volume.generations)
        self.path = self._view / "data"
        newest, self._held = self._generations.hold()
        self.path.symlink_to(newest)

    def commit(self) -> None:
        """Refuse: there is nothing that could be published."""
        raise Misconfigured(f"{self.path} is mounted read-only.", remedy="Mount it with read_only=False.")

    def reload(self) -> None:
        """See what others have committed since."""
        newest, held = self._generations.hold()
        following = self._view / "following"
        following.symlink_to(newest)
        following.replace(self.path)
        os.close(self._held)
        self._held = held

    def close(self) -> None:
        """Give the view back."""
        os.close(self._held)
        _remove_view(self._view, self._view_lock)


class WritableMount:
    """The port's `MountedVolume` for writers: a private directory."""

    def __init__(self, volume: LocalVolume) -> None:
        self._generations = volume.generations
        self._view, self._view_lock = _new_view(volume.generations)
        self.path = self._view / "data"
        self._base = self._fill()

    def _fill(self) -> Mapping[str, Fingerprint]:
        self.path.mkdir()
        with self._generations.pinned() as newest:
            for file in walk(newest):
                place(newest / file, made_room(self.path / file))
        return _fingerprints(self.path)

    def commit(self) -> None:
        """Publish what was written below `path`. Of two writers of one file, the last commit wins.

        Other threads of the job may go on writing: what they change meanwhile is for the next commit.
        """
        now = _fingerprints(self.path)
        changed, removed = self._difference(now)
        if changed or removed:
            self._generations.publish({file: partial(_place_if_there, self.path / file) for file in changed}, removed)
        self._base = now

    def reload(self) -> None:
        """See what others have committed since."""
        changed, removed = self._difference(_fingerprints(self.path))
        if changed or removed:
            raise Misconfigured(
                f"{self.path} has uncommitted changes, for example in {min(changed | removed)}.",
                remedy="Commit before reloading.",
            )
        shutil.rmtree(self.path)
        self._base = self._fill()

    def _difference(self, now: Mapping[str, Fingerprint]) -> tuple[set[str], set[str]]:
        """Paths whose files were added or changed, and paths whose files were removed, since the base."""
        changed = {file for file, fingerprint in now.items() if self._base.get(file) != fingerprint}
        return changed, self._base.keys() - now.keys()

    def close(self) -> None:
        """Drop what was not committed, and the view."""
        _remove_view(self._view, self._view_lock)


def _new_view(generations: Generations) -> tuple[Path, int]:
    """A directory locked by this process; those of dead processes are removed on the way."""
    views = generations.root / "views"
    with generations.lock():
        views.mkdir(exist_ok=True)
        for left in views.iterdir():
            remove_unheld(left)
        view = views / new_id(str(os.getpid()))
        view.mkdir()
        descriptor = os.open(view, os.O_RDONLY | os.O_DIRECTORY)
        try_lock(descriptor)
    return view, descriptor


def _remove_view(view: Path, descriptor: int) -> None:
    shutil.rmtree(view)
    os.close(descriptor)


def _place_if_there(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # moved by another thread of the job
        place(source, target)


def _fingerprints(directory: Path) -> dict[str, Fingerprint]:
    return {
        file: (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode)
        for file, status in walk(directory).items()
    }
