"""Kernels for an engine that is about to start: unpacked to local disk, and afterwards the proof of their use.

A cache that is not there, or does not fit, stops nothing: the engine compiles, and the miss is told with what
differs. Nothing is believed because it was unpacked: what counts is that no file is new when the engine serves, and
that none was written again. Triton compiles a kernel anew for a batch of another size or an address that is aligned
otherwise; which of these come, no load can foresee. Such a variant takes a fraction of a second: it is told, and is
no fault as long as its kernel was given.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from slipway.errors import SlipwayError
from slipway.kernels.cache import Marker, differing, marker_path
from slipway.kernels.directories import VARIABLES, Stamp, files_below, root_for
from slipway.kernels.machine import describe_machine
from slipway.kernels.pack import describe, unpack
from slipway.kernels.roots import changing, tidy, use

SHOWN: Final = 3
"""New files that a sentence names."""

_TRITON: Final = VARIABLES["TRITON_CACHE_DIR"]
_BOOKS: Final = ".ninja_"
"""What ninja notes of its work; where there was any, other files tell."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels as an engine was given them.

    Attributes:
        root: Root of the directories.
        given: Every file that was there before the engine started, by path.
        seconds: What unpacking took.
        compile_s: What compiling had taken.
        miss: Why the engine must compile, empty when it need not.
        used: Keeps others from changing the files, for as long as it is open.
    """

    root: Path
    given: dict[str, Stamp] = field(default_factory=dict)
    seconds: float = 0.0
    compile_s: float = 0.0
    miss: str = ""
    used: IO[bytes] | None = field(default=None, repr=False, compare=False)

    def new_files(self) -> list[str]:
        """Files that the engine wrote although it should not have: not given, or written again in their place."""
        return [path for path in self._written() if not self._is_variant(path)]

    def variants(self) -> list[str]:
        """Files of further variants of Triton kernels that were given."""
        return [path for path in self._written() if self._is_variant(path)]

    def _written(self) -> list[str]:
        now = files_below(self.root)
        return sorted(
            path for path, stamp in now.items() if self.given.get(path) != stamp and not _name(path).startswith(_BOOKS)
        )

    def _is_variant(self, path: str) -> bool:
        return path.startswith(f"{_TRITON}/") and path not in self.given and _kernel(path) in self._triton_kernels()

    def _triton_kernels(self) -> set[str]:
        return {_kernel(path) for path in self.given if path.startswith(f"{_TRITON}/")}

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
        more = self.variants()
        use += f", {len(more)} of variants of Triton kernels" if more else ""
        saved_s = self.compile_s - start_s if start_s else 0.0
        saved = f"; about {saved_s:.0f} s saved" if saved_s >= 1 else ""
        return f"kernels: {len(self.given)} files unpacked in {self.seconds:.1f} s, {use}{saved}"


def provide(volume_dir: Path, key: str, roots: Path) -> Kernels:
    """Give the kernels of a key to the engine that will be started next, and remove what no engine needs any more.

    Args:
        volume_dir: The mounted kernel volume.
        key: Digest of the kernel key.
        roots: Local directory below which the roots lie.
    """
    root = root_for(key, roots)
    began_s = time.monotonic()
    try:
        marker = _fitting(volume_dir, key)
        with changing(roots):
            _unpack_unless_there(volume_dir / key, root, marker)
            used = use(root)
            tidy(roots)
    except (_Miss, SlipwayError, OSError) as error:
        return Kernels(root, miss=str(error), used=_used_all_the_same(root))
    there = files_below(root)
    given = {path: there[path] for path in marker.contents if path in there}
    return Kernels(root, given, time.monotonic() - began_s, marker.compile_s, used=used)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _kernel(path: str) -> str:
    """The kernel's name in a file of Triton's: `alloc_extend` of `<digest>/__grp__alloc_extend.json`."""
    return _name(path).removeprefix("__grp__").partition(".")[0]


class _Miss(Exception):
    """There is nothing that this machine can use, and why."""


def _fitting(volume_dir: Path, key: str) -> Marker:
    """The marker of a cache that fits this machine.

    Raises:
        _Miss: If there is none.
    """
    try:
        marker = Marker.model_validate_json((volume_dir / marker_path(key)).read_bytes())
    except FileNotFoundError:
        raise _Miss(f"no cache for key {key[:12]} in the volume") from None
    except ValidationError:
        raise _Miss(f"the marker of {key[:12]} cannot be read") from None
    if unfit := _why_unfit(marker):
        raise _Miss(unfit)
    return marker


def _used_all_the_same(root: Path) -> IO[bytes] | None:
    """An engine that was given nothing compiles into the same directory; None where that cannot be held for it."""
    with contextlib.suppress(SlipwayError, OSError), changing(root.parent):
        return use(root)
    return None


def _unpack_unless_there(directory: Path, root: Path, marker: Marker) -> None:
    """Another engine of this host may use them already; then its files are left alone.

    Raises:
        Busy: If they are not those of the marker, and yet another engine uses them.
    """
    present = {path: stamp.size_bytes for path, stamp in files_below(root).items()}
    if marker.contents and all(present.get(path) == file.size_bytes for path, file in marker.contents.items()):
        return
    (name, expected), *_ = marker.files.items()
    if describe(directory / name) != expected:
        raise OSError(f"{name} differs from its manifest")
    with use(root, alone=True):
        unpack(directory / name, root, marker.contents)


def _why_unfit(marker: Marker) -> str:
    """What differs between this machine and the one the cache was made on; empty when nothing does."""
    here = describe_machine()
    if not here or not marker.made_on:
        return ""
    told = [f"{n}: {marker.made_on.get(n)} then, {here.get(n)} here" for n in differing(marker.made_on, here)]
    return f"made on another machine: {'; '.join(told)}" if told else ""
