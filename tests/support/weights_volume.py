"""A volume for tests of the weights jobs: what is committed is seen outside and by later mounts, nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from slipway.errors import Misconfigured
from slipway.platforms.port import JobContext, Progress, VolumeEntry
from slipway.weights import layout


class VolumeDouble:
    """The port's `Volume` over a directory of `tmp_path`, with mounts that are copies of it.

    `committed` is a link that is swung to a new copy by each commit, so a process killed in one does no harm.
    """

    def __init__(self, root: Path) -> None:
        self.name = "weights"
        self.committed = root / "committed"
        self._root = root
        if not self.committed.is_symlink():
            self.swing_to(self.new_directory())

    def new_directory(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._root))

    def swing_to(self, state: Path) -> None:
        following = self._root / "following"
        following.unlink(missing_ok=True)
        following.symlink_to(state)
        following.replace(self.committed)

    def mount(self) -> MountDouble:
        path = self.new_directory()
        shutil.copytree(self.committed, path, symlinks=True, dirs_exist_ok=True)
        return MountDouble(self, path)

    def read(self, path: str) -> bytes:
        return (self.committed / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        (self.committed / path).parent.mkdir(parents=True, exist_ok=True)
        (self.committed / path).write_bytes(data)

    def entries(self, prefix: str = "") -> Iterator[VolumeEntry]:
        files = (path for path in (self.committed / prefix).rglob("*") if path.is_file())
        for path in sorted(files):
            yield VolumeEntry(path.relative_to(self.committed).as_posix(), path.stat().st_size)

    def remove(self, path: str) -> None:
        (self.committed / path).unlink()

    def free_bytes(self) -> int | None:
        return None


class MountDouble:
    """The port's `MountedVolume`: counts its commits, and forgets what was not committed."""

    def __init__(self, volume: VolumeDouble, path: Path) -> None:
        self.path = path
        self.commits = 0
        self.on_commit: Callable[[], None] = lambda: None
        self._volume = volume

    def commit(self) -> None:
        self.commits += 1
        state = self._volume.new_directory()
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # transfers go on meanwhile
                target = state / path.relative_to(self.path)
                if path.is_dir() and not path.is_symlink():
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target, follow_symlinks=False)
        self._volume.swing_to(state)
        self.on_commit()

    def reload(self) -> None:
        """As Modal does it: refused while anything below the mount is open, or mapped."""
        if left := sorted(_open_below(self.path)):
            raise Misconfigured(f"The volume is busy: {left[0]} is open.", remedy="Close it before reloading.")
        shutil.rmtree(self.path)
        shutil.copytree(self._volume.committed, self.path, symlinks=True)


def _open_below(path: Path) -> set[str]:
    """Files below a directory that this process has open or mapped."""
    links = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.add(str(descriptor.readlink()))
    mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return {name for name in links | mapped if name.startswith(f"{path.resolve()}/")}


class JobDouble:
    """One job on a fresh mount: its context, and what it reported."""

    def __init__(self, volume: VolumeDouble) -> None:
        self.volume = volume
        self.mount = volume.mount()
        self.reports: list[Progress] = []
        self.context = JobContext({layout.MOUNT: self.mount}, self.reports.append)
