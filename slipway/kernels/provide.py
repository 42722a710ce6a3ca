"""Kernels for an engine that is about to start: unpacked to local disk, and afterwards the proof of their use.

A cache that is not there, or does not fit, stops nothing: the engine compiles, and the miss is told with what
differs. Nothing is believed because it was unpacked: what counts is that no file is new when the engine serves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from slipway.errors import SlipwayError
from slipway.files import locked
from slipway.kernels.cache import Marker, differing, marker_path
from slipway.kernels.directories import files_below, root_for
from slipway.kernels.machine import describe_machine
from slipway.kernels.pack import describe, unpack

SHOWN: Final = 3
"""New files that a sentence names."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels as an engine was given them.

    Attributes:
        root: Root of the directories.
        given: Size of every file that was there before the engine started, by path.
        seconds: What unpacking took.
        compile_s: What compiling had taken.
        miss: Why the engine must compile, empty when it need not.
    """

    root: Path
    given: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    compile_s: float = 0.0
    miss: str = ""

    def new_files(self) -> list[str]:
        """Files that were not given: each is something the engine compiled although it should not have."""
        return sorted(files_below(self.root).keys() - self.given.keys())

    def faults(self) -> tuple[str, ...]:
        """What had to be compiled although it was made beforehand, or why nothing could be given: a sentence each."""
        if self.miss:
            return (f"none were given: {self.miss}",)
        new = self.new_files()
        more = f", and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
        return (f"{len(new)} files were compiled anew: {', '.join(new[:SHOWN])}{more}",) if new else ()

    def told(self, start_s: float | None = None) -> str:
        """Whether they are used, in a few words.

        Args:
            start_s: What the start took that they were given for. Compiling them had taken another start and the
                compilers' time, so the difference is what they save.
        """
        if self.miss:
            return f"kernels: none given ({self.miss})"
        new = self.new_files()
        use = f"{len(new)} new since: {', '.join(new[:SHOWN])}" if new else "none new since"
        saved_s = self.compile_s - start_s if start_s else 0.0
        saved = f"; about {saved_s:.0f} s saved" if saved_s >= 1 else ""
        return f"kernels: {len(self.given)} files unpacked in {self.seconds:.1f} s, {use}{saved}"


def provide(volume_dir: Path, key: str, roots: Path) -> Kernels:
    """Give the kernels of a key to the engine that will be started next.

    Args:
        volume_dir: The mounted kernel volume.
        key: Digest of the kernel key.
        roots: Local directory below which the roots lie.
    """
    root = root_for(key, roots)
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    began_s = time.monotonic()
    try:
        marker = Marker.model_validate_json((volume_dir / marker_path(key)).read_bytes())
    except FileNotFoundError:
        return Kernels(root, miss=f"no cache for key {key[:12]} in the volume")
    except ValidationError:
        return Kernels(root, miss=f"the marker of {key[:12]} cannot be read")
    if miss := _why_unfit(marker):
        return Kernels(root, miss=miss)
    try:
        with locked(root.parent / f".{key}.lock"):
            _unpack_unless_there(volume_dir / key, root, marker)
    except (SlipwayError, OSError) as error:
        return Kernels(root, miss=str(error))
    sizes = {path: file.size_bytes for path, file in marker.contents.items()}
    return Kernels(root, sizes, time.monotonic() - began_s, marker.compile_s)


def _unpack_unless_there(directory: Path, root: Path, marker: Marker) -> None:
    """Another engine of this host may use them already; then its files are left alone."""
    present = files_below(root)
    if marker.contents and all(present.get(path) == file.size_bytes for path, file in marker.contents.items()):
        return
    (name, expected), *_ = marker.files.items()
    if describe(directory / name) != expected:
        raise OSError(f"{name} differs from its manifest")
    unpack(directory / name, root, marker.contents)


def _why_unfit(marker: Marker) -> str:
    """What differs between this machine and the one the cache was made on; empty when nothing does."""
    here = describe_machine()
    if not here or not marker.made_on:
        return ""
    told = [f"{n}: {marker.made_on.get(n)} then, {here.get(n)} here" for n in differing(marker.made_on, here)]
    return f"made on another machine: {'; '.join(told)}" if told else ""
